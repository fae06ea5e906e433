"""Real Neovim with the real server: grey text is shown, typed through, accepted, undone, and switched off."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynvim", reason="pynvim is missing: run `pip install -e '.[dev]'`")

from tests.editors.neovim_driver import (
    BUILT_IN,
    PARTS,
    PLUGIN,
    READY,
    STATE,
    Editor,
    first_word,
    opened,
    server_of,
)
from tests.editors.unfinished import TYPED
from tests.editors.waiting import eventually, first_line, seconds_at_rest

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_cache: Path
) -> Iterator[Editor]:
    """Open a real file in Neovim, with the server attached and the model loaded."""
    home, workspace = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("workspace")
    with opened(request.param, home, workspace, model_cache) as editor:
        eventually(lambda: editor.nvim.exec_lua(READY), "the loading of the model", seconds=300)
        yield editor


@pytest.fixture
def editor(session: Editor) -> Editor:
    """Return to the file as it was opened, in normal mode, with the cursor above what is missing."""
    session.press("<Esc>")
    eventually(lambda: session.mode() == "n", "normal mode")
    session.nvim.command("silent undo 0")
    session.nvim.api.win_set_cursor(0, (session.place, 0))
    return session


every_setup = pytest.mark.parametrize(
    "session",
    [("0.12", BUILT_IN), ("0.12", PLUGIN), ("0.11", PLUGIN)],
    ids=["0.12-built-in", "0.12-plugin", "0.11-plugin"],
    indirect=True,
    scope="module",
)
plugin_setups = pytest.mark.parametrize(
    "session", [("0.12", PLUGIN), ("0.11", PLUGIN)], ids=["0.12-plugin", "0.11-plugin"], indirect=True, scope="module"
)


@every_setup
def test_grey_text_appears_after_the_cursor(editor: Editor) -> None:
    """What is drawn on the line is what was typed and the grey text, and the text itself is as it was typed."""
    grey = editor.suggestion()
    assert editor.on_screen() == f"    {TYPED}{first_line(grey)}"
    assert editor.line() == f"    {TYPED}"


@every_setup
def test_tab_accepts_exactly_the_grey_text(editor: Editor) -> None:
    """Tab inserts the grey text, moves the cursor to its end, and tells the server."""
    grey = editor.suggestion()
    before, told = editor.lines(), editor.answers("workspace/executeCommand")
    editor.press("<Tab>")
    accepted = [*before[: editor.place], *f"    {TYPED}{grey}".split("\n"), *before[editor.place + 1 :]]
    eventually(lambda: editor.lines() == accepted, "the accepted text")
    assert editor.before_cursor().endswith(f"{TYPED}{grey}".split("\n")[-1])
    eventually(lambda: editor.answers("workspace/executeCommand") == told + 1, "the report of the acceptance")


@every_setup
def test_typing_what_it_says_keeps_it(editor: Editor) -> None:
    """The line looks the same while its next word is typed, and after the server's next answer, which may only go on
    where the first one's time was up; Tab accepts the rest.
    """
    grey = first_line(editor.suggestion())
    seen, answers = editor.on_screen(), editor.answers("textDocument/inlineCompletion")
    word = first_word(grey)
    editor.press(word)
    eventually(lambda: editor.line() == f"    {TYPED}{word}", "the typed word")
    eventually(lambda: editor.on_screen() == seen, "the same line on the screen")
    eventually(lambda: editor.answers("textDocument/inlineCompletion") > answers, "the next answer")
    eventually(lambda: editor.on_screen().startswith(seen), "the same line on the screen, still")
    seen = editor.on_screen()
    editor.press("<Tab>")
    eventually(lambda: editor.lines()[editor.place] == seen, "the accepted text")


@every_setup
def test_typing_something_else_takes_it_away(editor: Editor) -> None:
    """No grey text from before is left after text that does not agree with it."""
    grey = editor.suggestion()
    editor.press("#")
    eventually(lambda: editor.line().endswith("#"), "the typed character")
    eventually(lambda: grey[1:] not in editor.grey(), "the end of the old suggestion")


@every_setup
def test_an_emoji_before_the_cursor_moves_nothing(editor: Editor) -> None:
    """Characters that are two units long in UTF-16 are counted as the editor counts them."""
    typed = f"'🙂🙂'; {TYPED}"
    editor.press(f"o{typed}")
    grey = eventually(editor.grey, "grey text", seconds=300)
    editor.press("<Tab>")
    eventually(lambda: editor.lines()[editor.place] == f"    {typed}{first_line(grey)}", "the accepted text")


@every_setup
def test_leaving_insert_mode_clears_it(editor: Editor) -> None:
    """Nothing grey is left in normal mode, nor comes late."""
    editor.suggestion()
    editor.press("<Esc>")
    eventually(lambda: editor.mode() == "n" and not editor.grey(), "the end of the suggestion")
    assert editor.on_screen() == f"    {TYPED}"


@every_setup
def test_tab_is_a_tab_without_a_suggestion(editor: Editor) -> None:
    """In a buffer that the server does not know, Tab does what it always did."""
    editor.nvim.command("enew")
    editor.press("ia<Tab>b")
    eventually(lambda: editor.line() == "a\tb", "the Tab")
    editor.nvim.command("bwipeout!")


@every_setup
def test_tab_right_after_a_keystroke_doubles_nothing(editor: Editor) -> None:
    """A Tab that comes 20 ms after a key, before the suggestion is renewed, accepts what is left of it."""
    grey = editor.suggestion()
    editor.press(grey[:2])
    time.sleep(0.02)  # not for a condition: this is how fast the user is
    editor.press("<Tab>")
    eventually(lambda: editor.lines()[editor.place] == f"    {TYPED}{first_line(grey)}", "the accepted text")
    assert editor.before_cursor().endswith(f"{TYPED}{grey}".split("\n")[-1])


@plugin_setups
def test_tab_right_after_something_else_is_a_tab(editor: Editor) -> None:
    """A suggestion that was not followed is not accepted, however fast Tab comes."""
    editor.suggestion()
    editor.press("#<Tab>")
    eventually(lambda: re.fullmatch(rf"    {TYPED}#\s+", editor.line()), "the Tab")


@plugin_setups
def test_a_word_then_the_rest_of_the_line(editor: Editor) -> None:
    """Parts are accepted one after the other, and undone one after the other."""
    grey = first_line(editor.suggestion())
    word = first_word(grey)
    editor.press("<M-Right>")
    eventually(lambda: editor.line() == f"    {TYPED}{word}", "the accepted word")
    eventually(lambda: editor.nvim.exec_lua(PARTS), "the report of the part")
    eventually(editor.grey, "the rest in grey")
    line = editor.on_screen()
    editor.press("<M-C-Right>")
    eventually(lambda: editor.line() == line, "the accepted line")
    editor.press("<Esc>u")
    eventually(lambda: editor.line() == f"    {TYPED}{word}", "the line taken back")


@plugin_setups
def test_health_help_and_statusline(editor: Editor) -> None:
    """All is well: nothing in :checkhealth is an error, :help finds the page, the statusline says that it is ready."""
    editor.nvim.command("checkhealth mellum_lsp")
    report = "\n".join(editor.lines())
    editor.nvim.command("bwipeout!")
    assert "ERROR" not in report, report
    assert report.count("OK") >= 3, report
    editor.nvim.command("helptags ALL")
    editor.nvim.command("help :Mellum")
    assert editor.nvim.funcs.expand("%:t") == "mellum.txt"
    editor.nvim.command("bwipeout!")
    eventually(lambda: editor.nvim.exec_lua("return require('mellum_lsp').statusline()") == "Mellum", "the state")


@plugin_setups
def test_the_commands_show_what_they_say(editor: Editor) -> None:
    """The status is the server's sentence; the context has the prompt; the models are listed."""
    editor.nvim.command("Mellum status")
    assert "smollm2" in editor.nvim.exec_lua("return vim.fn.execute('1messages')").lower()
    for command, wanted in (("context", "textwrap.py"), ("model", "smollm2")):
        editor.nvim.command(f"Mellum {command}")
        eventually(lambda: wanted in "\n".join(editor.lines()).lower(), f"what :Mellum {command} shows")  # noqa: B023
        editor.nvim.command("bwipeout!")


@plugin_setups
def test_the_next_candidate_and_back(editor: Editor) -> None:
    """Where there is one candidate, <M-n> keeps it."""
    grey = editor.suggestion()
    editor.press("<M-n><M-p>")
    eventually(lambda: first_line(grey) in editor.on_screen(), "the same suggestion")
    editor.press("<Tab>")
    eventually(lambda: editor.lines()[editor.place].startswith(f"    {TYPED}{first_line(grey)}"), "the accepted text")


@plugin_setups
def test_a_killed_server_comes_back(editor: Editor) -> None:
    """Neovim says that it has ended and starts it again, and the next key brings grey text."""
    find = "local c = vim.lsp.get_clients({ name = 'mellum' })[1]; return c and c.id"
    killed = editor.nvim.exec_lua(find)
    process = server_of(editor)
    process.kill()
    eventually(lambda: editor.nvim.exec_lua(find) not in (None, killed), "another server")
    eventually(lambda: editor.nvim.exec_lua(READY), "the loading of the model", seconds=300)
    assert "it is started again" in editor.nvim.exec_lua("return vim.fn.execute('messages')")
    editor.nvim.command("messages clear")
    assert editor.suggestion()


@plugin_setups
def test_switched_off_nothing_is_computed(editor: Editor) -> None:
    """Nothing is shown, and the server computes nothing; switched on again, there is grey text."""
    process = server_of(editor)
    editor.nvim.command("Mellum toggle")
    eventually(lambda: editor.nvim.exec_lua(STATE) == "disabled", "the end of all inference")
    before = seconds_at_rest(process)
    editor.press(f"o{TYPED}")
    eventually(lambda: editor.line().endswith(TYPED), "the typed text")
    answers = editor.answers("textDocument/inlineCompletion")
    editor.press("W")
    eventually(lambda: editor.answers("textDocument/inlineCompletion") > answers, "an empty answer")
    assert seconds_at_rest(process) - before < 0.5
    assert editor.nvim.exec_lua(STATE) == "disabled"
    assert not editor.grey()
    assert editor.nvim.exec_lua("return require('mellum_lsp').statusline()") == "Mellum off"
    editor.press("<Esc>")
    eventually(lambda: editor.mode() == "n", "normal mode")
    editor.nvim.command("silent undo 0")
    editor.nvim.command("Mellum toggle")
    eventually(lambda: editor.nvim.exec_lua(READY), "the loading of the model", seconds=300)
    editor.nvim.api.win_set_cursor(0, (editor.place, 0))
    assert editor.suggestion()


@plugin_setups
def test_what_was_typed_too_early_is_completed(editor: Editor) -> None:
    """Where the server was asked before it had a model, it is asked again once it has, without another key."""
    editor.nvim.command("Mellum toggle")
    eventually(lambda: editor.nvim.exec_lua(STATE) == "disabled", "the end of all inference")
    answers = editor.answers("textDocument/inlineCompletion")
    editor.press(f"o{TYPED}")
    eventually(lambda: editor.answers("textDocument/inlineCompletion") > answers, "an empty answer")
    assert not editor.grey()
    editor.nvim.command("Mellum toggle")
    eventually(editor.grey, "grey text", seconds=300)
