"""Real Neovim beside other things: other files, a second Neovim, no model, options; and its figures."""

import json
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("pynvim", reason="pynvim is missing: run `pip install -e '.[dev]'`")

from tests.editors.figures import FLICKERS, LINES, PAUSE, keep, measured, read_notes, recorded_server
from tests.editors.neovim_driver import (
    BUILT_IN,
    PLUGIN,
    README,
    READY,
    Editor,
    configurations,
    environment,
    install_plugin,
    neovim,
    opened,
    server_of,
)
from tests.editors.unfinished import MISSING, TYPED
from tests.editors.waiting import eventually

pytestmark = [pytest.mark.slow]

WATCH = """
vim.lsp.config('mellum', { settings = { mellum = { deadline = 5000, eagerness = "always" } } })
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


NEIGHBOURS = Path(__file__).with_name("neovim_neighbours.lua").read_text()
PATIENT = "vim.lsp.config('mellum', { settings = { mellum = { deadline = 5000, eagerness = 'always' } } })"
EVERY_SETUP = pytest.mark.parametrize(
    "setup", [("0.12", BUILT_IN), ("0.12", PLUGIN), ("0.11", PLUGIN)], ids=["0.12-built-in", "0.12", "0.11"]
)
ONE_OF_EACH = pytest.mark.parametrize("setup", [("0.12", PLUGIN), ("0.11", PLUGIN)], ids=lambda setup: setup[0])


def is_ready(editor: Editor) -> bool:
    """Whether the model is loaded."""
    return bool(editor.nvim.exec_lua(READY))


@EVERY_SETUP
def test_a_bracket_that_is_closed_already_is_not_closed_twice(
    setup: tuple[str, str], tmp_path: Path, model_cache: Path
) -> None:
    """Whenever it came: before the suggestion was asked for, or while it was typed through."""
    with opened(setup, tmp_path / "home", tmp_path / "workspace", model_cache, PATIENT + NEIGHBOURS) as editor:
        eventually(lambda: is_ready(editor), "the loading of the model", seconds=300)
        whole = f"    {MISSING.split(chr(10))[0].strip()}"
        for first, then in (("w = TextWrapper(", ""), ("w = Text", "Wrapper(")):
            editor.press(f"o{first}")
            grey = eventually(editor.grey, "grey text", seconds=300)
            assert "kwargs" in grey
            editor.press(then)
            eventually(lambda: "TextWrapper()" in editor.line(), "the closed bracket")
            editor.press("<Tab>")
            eventually(lambda: editor.lines()[editor.place] == whole, "the accepted text")
            editor.press("<Esc>u")
            eventually(lambda: editor.mode() == "n", "normal mode")
            editor.nvim.command("silent undo 0")
            editor.nvim.api.win_set_cursor(0, (editor.place, 0))


@ONE_OF_EACH
def test_tab_is_the_menus_where_there_is_no_grey_text(
    setup: tuple[str, str], tmp_path: Path, model_cache: Path
) -> None:
    """Its key opens the menu, Tab goes to the next entry."""
    with opened(setup, tmp_path / "home", tmp_path / "workspace", model_cache, NEIGHBOURS) as editor:
        eventually(lambda: is_ready(editor), "the loading of the model", seconds=300)
        editor.nvim.command("Mellum toggle")
        editor.press("ow = TextWr<C-Space>")
        eventually(lambda: editor.nvim.funcs.pumvisible(), "the menu")
        editor.press("<Tab><CR>")
        eventually(lambda: editor.line() == "    w = TextWrapper", "the entry of the menu")


@ONE_OF_EACH
def test_a_file_with_crlf_keeps_it(setup: tuple[str, str], tmp_path: Path, model_cache: Path) -> None:
    """What is accepted gets the line ends of the file, and all others stay."""
    file = tmp_path / "workspace" / "textwrap.py"
    with opened(setup, tmp_path / "home", tmp_path / "workspace", model_cache, line_ends="\r\n") as editor:
        original = file.read_bytes()
        grey = editor.suggestion()
        editor.press("<Tab>")
        eventually(lambda: f"    {TYPED}{grey}" in "\n".join(editor.lines()), "the accepted text")
        editor.press("<Esc>")
        eventually(lambda: editor.mode() == "n", "normal mode")
        editor.nvim.command("write")
    accepted = f"    {TYPED}{grey}\n".replace("\n", "\r\n").encode()
    assert accepted in file.read_bytes()
    written = file.read_bytes()
    lines = [*original.splitlines(keepends=True), *accepted.splitlines(keepends=True)]
    assert sorted(written.splitlines(keepends=True)) == sorted(lines)


@ONE_OF_EACH
def test_a_second_neovim_on_the_same_project(setup: tuple[str, str], tmp_path: Path, model_cache: Path) -> None:
    """Two editors, two servers, one project."""
    workspace = tmp_path / "workspace"
    with (
        opened(setup, tmp_path / "one", workspace, model_cache, "vim.o.swapfile = false\n") as one,
        opened(setup, tmp_path / "two", workspace, model_cache, "vim.o.swapfile = false\n") as two,
    ):
        for editor in (one, two):
            assert editor.suggestion()
        assert server_of(one).pid != server_of(two).pid


@ONE_OF_EACH
def test_without_a_model_it_says_what_to_do(setup: tuple[str, str], tmp_path: Path) -> None:
    """The mend is in `:Mellum status`, and the statusline says that something is wrong."""
    with opened(setup, tmp_path / "home", tmp_path / "workspace", tmp_path / "empty") as editor:
        status = "return require('mellum_lsp.status').message()"
        eventually(lambda: "mellum-lsp setup" in editor.nvim.exec_lua(status), "the mend", seconds=300)
        assert editor.nvim.exec_lua("return require('mellum_lsp').statusline()") == "Mellum!"


@EVERY_SETUP
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


def test_the_readme_of_the_project_shows_what_was_tested() -> None:
    """Both READMEs have the same configuration without the plugin."""
    assert configurations(BUILT_IN)[0] in (README.parents[2] / "README.md").read_text()
