"""Real Emacs in a real terminal, with the real server: grey text is shown, typed through, accepted and undone."""

from __future__ import annotations

import re
import time

import pytest

from tests.editors.conftest import Start
from tests.editors.emacs_driver import Emacs
from tests.editors.unfinished import TYPED
from tests.editors.waiting import eventually, first_line

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module", params=["28", "30"])
def session(request: pytest.FixtureRequest, start: Start) -> Emacs:
    """Open a real file in this version of Emacs."""
    return start(request.param)


@pytest.fixture
def editor(session: Emacs) -> Emacs:
    """Return to the file as it was opened, in a new line where something is missing."""
    session.back()
    return session


def test_grey_text_appears_after_the_cursor(editor: Emacs) -> None:
    """What is drawn is what was typed and the grey text; the text itself and the cursor are where they were."""
    grey = editor.suggestion()
    eventually(lambda: editor.row() == f"    {TYPED}{first_line(grey)}", "the grey text on the screen")
    assert editor.column() == len(f"    {TYPED}")
    assert editor.line() == f"    {TYPED}"


def test_tab_accepts_exactly_the_grey_text_and_undo_takes_it_back(editor: Emacs) -> None:
    """The server hears of it, and one undo brings the typed text back."""
    grey = editor.suggestion()
    before, accepted = editor.text(), editor.accepted()
    editor.press("Tab")
    after = before.replace(f"    {TYPED}\n", f"    {TYPED}{grey}\n")
    eventually(lambda: editor.text() == after, "the accepted text")
    assert editor.line().endswith(f"{TYPED}{grey}".split("\n")[-1])
    eventually(lambda: editor.accepted() == accepted + 1, "the report of the acceptance")
    editor.press("C-_")
    eventually(lambda: editor.text() == before, "the text before it")


def test_typing_what_it_says_keeps_it(editor: Emacs) -> None:
    """The line of the screen is the same at every look while its first line is typed."""
    grey = first_line(editor.suggestion())
    eventually(lambda: editor.row().endswith(grey), "the grey text on the screen")
    seen = f"    {TYPED}{grey}"
    for count, character in enumerate(grey[:-1], 1):
        editor.type(character)
        typed = f"    {TYPED}{grey[:count]}"
        deadline = time.monotonic() + 60
        while editor.column() < len(typed):  # every look on the way has to see the same
            assert editor.row().startswith(seen)
            assert time.monotonic() < deadline
        assert editor.row().startswith(seen)
    eventually(lambda: editor.line() == f"    {TYPED}{grey[:-1]}", "the typed text")


def test_typing_something_else_takes_it_away(editor: Emacs) -> None:
    """No grey text from before is left after what does not agree with it."""
    grey = editor.suggestion()
    editor.type("#")
    eventually(lambda: editor.line().endswith("#"), "the typed character")
    eventually(lambda: grey[1:] not in editor.grey(), "the end of the old suggestion")


def test_a_word_then_the_rest_of_the_line(editor: Emacs) -> None:
    """Parts are accepted one after the other, and undone one after the other."""
    grey = first_line(editor.suggestion())
    word = re.match(r"\w+", grey)
    assert word
    editor.press("M-Right")
    eventually(lambda: editor.line() == f"    {TYPED}{word[0]}", "the accepted word")
    eventually(lambda: editor.row().startswith(f"    {TYPED}{grey}"), "the rest in grey")
    editor.press("M-e")
    eventually(lambda: editor.line() == f"    {TYPED}{grey}", "the accepted line")
    editor.press("C-_")
    eventually(lambda: editor.line() == f"    {TYPED}{word[0]}", "the line taken back")
    editor.press("C-_")
    eventually(lambda: editor.line() == f"    {TYPED}", "the word taken back")


def test_the_next_candidate_and_back(editor: Emacs) -> None:
    """Asked for by a command, there may be several; M-n and M-p go from one to the other."""
    editor.type("import ")
    editor.command("mellum-complete")
    first = eventually(editor.grey, "grey text")
    editor.press("M-n")
    eventually(lambda: editor.grey() != first, "another suggestion")
    other = editor.grey()
    eventually(lambda: editor.row() == f"    import {first_line(other)}", "the other suggestion on the screen")
    editor.press("M-p")
    eventually(lambda: editor.grey() == first, "the first suggestion")
    editor.press("M-n", "Tab")
    eventually(lambda: f"    import {other}\n" in editor.text(), "the accepted text")


def test_the_only_candidate_stays(editor: Emacs) -> None:
    """M-n asks for more; where there is none, what was shown stays, perhaps longer."""
    grey = first_line(editor.suggestion())
    editor.press("M-n")
    eventually(lambda: editor.says("no other suggestion") or editor.grey() != grey, "the answer")
    assert editor.grey().startswith(grey)


def test_dismissed_is_gone_and_keys_are_their_own_again(editor: Emacs) -> None:
    """C-g takes grey text away and nothing else; then it quits, and Tab indents."""
    editor.suggestion()
    editor.press("C-g")
    eventually(lambda: not editor.grey(), "the end of the suggestion")
    assert editor.row() == f"    {TYPED}"
    editor.press("C-g")
    eventually(lambda: "Quit" in editor.screen()[-1] or "Quit" in editor.screen()[-2], "the Quit of C-g")
    editor.press("C-a", "C-k", "Tab")
    eventually(lambda: editor.line() == "    ", "the indentation by Tab")


def test_moving_away_takes_it_away(editor: Emacs) -> None:
    """Grey text is for where the cursor was."""
    editor.suggestion()
    editor.press("Up")
    eventually(lambda: not editor.grey(), "the end of the suggestion")


def test_an_emoji_before_the_cursor(editor: Emacs) -> None:
    """Positions after characters of two UTF-16 units are right, and what is accepted stands where it was shown."""
    typed = f'note = "😀😀"; {TYPED}'
    editor.type(typed)
    editor.command("mellum-complete")
    grey = eventually(editor.grey, "grey text")
    before = editor.text()
    editor.press("Tab")
    eventually(lambda: editor.text() == before.replace(typed, typed + grey), "the accepted text")


def test_within_a_line(editor: Emacs) -> None:
    """Grey text is drawn before what follows on the line, and accepting it keeps that."""
    editor.type("w = Text  # one")
    for _ in "  # one":
        editor.press("Left")
    editor.command("mellum-complete")
    grey = eventually(editor.grey, "grey text")
    assert editor.row().startswith(f"    w = Text{first_line(grey)}")
    assert editor.column() == len("    w = Text")
    editor.press("Tab")
    eventually(lambda: f"    w = Text{grey}" in editor.text(), "the accepted text")
    assert editor.text().count("# one") == 1


def test_a_closed_bracket_is_not_closed_twice(start: Start) -> None:
    """With electric-pair-mode, an accepted call has one closing bracket, whenever the other one came."""
    editor = start(init="(electric-pair-mode 1) (setq mellum-deadline 0)")
    editor.ready()
    editor.open_line()
    grey = first_line(editor.suggestion())
    call = re.match(r"\w+\(", grey)
    assert call
    editor.type(call[0])  # closed while grey text is shown
    eventually(lambda: editor.line() == f"    {TYPED}{call[0]})", "the closed bracket")
    eventually(lambda: editor.row() == f"    {TYPED}{grey}", "the same grey text, with one bracket")
    editor.press("Tab")
    eventually(lambda: editor.line() == f"    {TYPED}{grey}", "the accepted text")
    editor.open_line()
    editor.type("return w.fill(")  # closed before there is grey text
    eventually(lambda: editor.line() == "    return w.fill()", "the closed bracket")
    grey = eventually(editor.grey, "grey text", seconds=300)
    whole = f"    return w.fill({grey.removesuffix(')')})"
    eventually(lambda: editor.row() == whole, "the grey text before the bracket")
    editor.press("Tab")
    eventually(lambda: editor.line() == whole, "the accepted text")
    assert whole.count(")") == 1
