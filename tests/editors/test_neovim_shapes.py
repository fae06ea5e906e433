"""Neovim shows each shape of an answer that fits the text, and accepts exactly that; nothing else changes the line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynvim", reason="pynvim is missing: run `pip install -e '.[dev]'`")

from tests.editors.neovim_driver import BUILT_IN, PLUGIN, Editor, opened
from tests.editors.shapes_server import CALL, SHAPES, take_the_place_of_ours, write
from tests.editors.waiting import eventually

pytestmark = [pytest.mark.slow]

SHOWN = {
    "no range": "    foo(a, b)",
    "snippet": "    foo(a, b)",
    "from the start": "    foo(a, b)",
    "over the bracket": "    foo(a, b)",
    "lines": "    foo(a, b,\n        c)",
}
"""What the line becomes. Neovim 0.12 also shows a text that goes another way; it must not be accepted."""


ATTACHED = "return #vim.lsp.get_clients({ bufnr = 0, name = 'mellum' }) > 0"
PLUGINS = [("0.12", PLUGIN), ("0.11", PLUGIN)]


@pytest.fixture(scope="module", params=[("0.12", BUILT_IN), *PLUGINS], ids=lambda one: one[0])
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_cache: Path
) -> Iterator[tuple[str, Editor]]:
    """A Neovim whose server answers in every shape, and its version."""
    home, workspace = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("workspace")
    take_the_place_of_ours(home / "bin")
    with opened(request.param, home, workspace, model_cache) as editor:
        yield request.param[0], editor


def ask(editor: Editor, folder: Path, shape: str) -> None:
    """Have a suggestion asked for before the bracket, and answered."""
    editor.press("<Esc>")
    eventually(lambda: editor.mode() == "n", "normal mode")
    answers = editor.answers("textDocument/inlineCompletion")
    editor.nvim.command(f"edit! {write(folder, shape)}")
    editor.nvim.api.win_set_cursor(0, (2, CALL.index(")")))
    eventually(lambda: editor.nvim.exec_lua(ATTACHED), "a server for the file")
    editor.press("i")
    eventually(lambda: editor.answers("textDocument/inlineCompletion") > answers, "the answer")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_shown_and_accepted_or_nothing_is(session: tuple[str, Editor], tmp_path: Path, shape: str) -> None:
    """The buffer is what Tab makes of the text."""
    version, editor = session
    whole = SHOWN.get(shape)
    if shape == "snippet" and version == "0.11":
        whole = None  # the plugin's own drawing takes plain text only
    ask(editor, tmp_path, shape)
    if whole is not None:
        assert editor.grey().startswith("b")
    elif shape != "something else" or version == "0.11":
        assert not editor.grey()
    assert editor.line() == CALL
    editor.press("<Tab>")
    if whole is None:  # it is a Tab, or nothing
        editor.press("<Esc>")
        eventually(lambda: editor.mode() == "n", "normal mode")
        assert "".join(editor.line().split()) == "".join(CALL.split())
    else:
        eventually(lambda: "\n".join(editor.lines()[1:]) == whole, "the accepted text")


@pytest.mark.parametrize("session", PLUGINS, ids=lambda one: one[0], indirect=True)
def test_of_two_candidates_the_one_that_is_shown_is_accepted(session: tuple[str, Editor], tmp_path: Path) -> None:
    """The keys go to the next one, back, and round."""
    _, editor = session
    ask(editor, tmp_path, "two")

    def shown() -> str:
        return editor.grey().split(" ")[0]  # Neovim 0.12 adds which of how many it is

    eventually(lambda: shown() == "b", "the first candidate")
    for keys, grey in (("<M-n>", "c"), ("<M-p>", "b"), ("<M-p>", "c"), ("<M-n>", "b"), ("<M-n>", "c")):
        editor.press(keys)
        eventually(lambda: shown() == grey, "the other candidate")  # noqa: B023
    editor.press("<Tab>")
    eventually(lambda: editor.line() == CALL.replace(")", "c)"), "the accepted text")
