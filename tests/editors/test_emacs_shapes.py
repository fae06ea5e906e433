"""Emacs shows each shape of an answer that fits the text, and accepts exactly that; nothing else changes the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.editors.conftest import Start
from tests.editors.emacs_driver import Emacs
from tests.editors.shapes_server import CALL, SHAPES, take_the_place_of_ours, write
from tests.editors.waiting import eventually, first_line

pytestmark = [pytest.mark.slow]

SHOWN = {
    "no range": "    foo(a, b)",
    "from the start": "    foo(a, b)",
    "over the bracket": "    foo(a, b)",
    "lines": "    foo(a, b,\n        c)",
}
"""What the line becomes; a snippet is not taken for text, and a text that goes another way is not shown."""


@pytest.fixture(scope="module", params=["28", "30"])
def session(request: pytest.FixtureRequest, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Emacs:
    """An Emacs whose server answers in every shape, and never by itself."""
    home = tmp_path_factory.mktemp("home")
    take_the_place_of_ours(home / "bin")
    init = "(setq mellum-idle-delay nil)"
    editor = start(request.param, write(home / "project", "null"), 2, home=home, init=init)
    editor.ready()
    return editor


def ask(editor: Emacs, folder: Path, shape: str) -> None:
    """Ask for a suggestion before the bracket."""
    file = write(folder, shape)
    editor.eval(f'(progn (find-file "{file}") (goto-char (point-max)) (search-backward ")"))')
    editor.eval("(mellum-complete)")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_shown_and_accepted_or_nothing_is(session: Emacs, tmp_path: Path, shape: str) -> None:
    """The line on the screen is what Tab makes of the text."""
    ask(session, tmp_path, shape)
    session.accepted()  # answered after the suggestion
    assert session.eval("(not mellum--request)") == "t"
    whole = SHOWN.get(shape)
    assert bool(session.grey()) is (whole is not None)
    eventually(lambda: session.row() == first_line(whole or CALL), "the line on the screen")
    assert session.line() == CALL
    if whole is not None:
        session.press("Tab")
        eventually(lambda: session.text() == f"# shape: {shape}\n{whole}\n", "the accepted text")


def test_the_answer_to_a_cancelled_request_is_not_shown(session: Emacs, tmp_path: Path) -> None:
    """What was dismissed stays away, even if the server answers on being told so."""
    ask(session, tmp_path, "late")
    assert session.eval("(not mellum--request)") == "nil"
    session.press("C-g")
    eventually(lambda: session.eval("(not mellum--request)") == "t", "the end of the request")
    session.accepted()  # answered after the suggestion
    assert not session.grey()
    assert session.row() == CALL
