"""VS Code shows each shape of an answer that fits the text, and accepts exactly that; nothing else changes the line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.shapes_server import CALL, SHAPES, take_the_place_of_ours, write
from tests.editors.waiting import eventually

pytest.importorskip("playwright.sync_api", reason="playwright is missing: run `pip install -e '.[dev]'`")

from tests.editors.vscode_driver import VSCODE, Host, Window, answered, since

pytestmark = [pytest.mark.slow]

SHOWN = {
    "snippet": "    foo(a, b)",
    "from the start": "    foo(a, b)",
    "over the bracket": "    foo(a, b)",
    "lines": "    foo(a, b,\n        c)",
}
"""What the line becomes."""


@pytest.fixture(scope="module")
def host(vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """VS Code whose server answers in every shape."""
    home = tmp_path_factory.mktemp("home")
    take_the_place_of_ours(home / "shapes")
    host = Host(VSCODE, vsix, home, {}, server=home / "shapes" / "mellum-lsp")
    yield host
    host.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is open, with a file for each shape."""
    folder = tmp_path_factory.mktemp("project")
    for shape in SHAPES:
        write(folder, shape)
    return folder


@pytest.fixture(scope="module")
def window(host: Host, browser: Any, folder: Path) -> Iterator[Window]:
    """A window on the folder."""
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    window = Window(page, host.address(folder=str(folder)))
    window.says("Mellum is ready")
    yield window
    page.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_shown_and_accepted_or_nothing_is(window: Window, host: Host, folder: Path, shape: str) -> None:
    """The file is what Tab makes of the text."""
    file = write(folder, shape)
    window.open(file, 2)
    window.press("ArrowLeft")
    told = len(host.notes())
    window.command("Mellum: Suggest Now")

    def is_answered() -> bool:
        notes = since(host, told)
        return any(note.get("method") == "textDocument/inlineCompletion" for note in notes) and answered(notes)

    eventually(is_answered, "an answer")
    whole = SHOWN.get(shape)
    if whole is None:
        window.page.wait_for_timeout(500)  # for what must not come
        assert not window.look().grey
        assert window.look().typed == CALL
    else:
        eventually(lambda: window.look().grey.startswith("b"), "grey text")  # VS Code draws each of its lines by itself
        window.press("Tab")
        eventually(lambda: not window.look().grey, "the accepted text")
        window.save()
        assert file.read_text() == f"# shape: {shape}\n{whole}\n"
