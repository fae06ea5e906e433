"""Take the pictures of README.md in the terminal: Emacs and Neovim with grey text from the real server.

    python -m tests.editors.pictures

`tests/editors/test_vscode.py` takes those of VS Code, into the folder `PICTURES` of `tests/editors/vscode_driver.py`.
"""

import subprocess
import tempfile
from pathlib import Path

from engine.model_folders.locations import CACHE_VARIABLE
from syntax.children import child_environment, python_command
from tests.editors import emacs_driver, neovim_driver
from tests.editors.emacs_driver import Emacs
from tests.editors.terminal import Terminal
from tests.editors.unfinished import PLACE, TYPED, make_project
from tests.editors.waiting import eventually

EDITORS = Path(__file__).parents[2] / "editors"
CACHE = EDITORS.parent / "tests" / ".cache" / "mellum-lsp"
COLUMNS, ROWS = 84, 22
PLAIN = "vim.o.termguicolors, vim.o.number, vim.o.laststatus = true, true, 2\n"


def shows_grey_text(terminal: Terminal) -> bool:
    """Whether more than what was typed stands in the cursor's line, to the end of the call."""
    return f"{TYPED}Wrapper(" in terminal.row() and terminal.row().endswith(")")


def draw_emacs(home: Path) -> None:
    """Set up as its README says."""
    file = make_project(home / "project")
    editor = Emacs(emacs_driver.emacs("30"), home, file, CACHE, place=PLACE, columns=COLUMNS, rows=ROWS)
    try:
        editor.ready()
        editor.open_line()
        editor.type(TYPED)
        eventually(lambda: shows_grey_text(editor), "grey text", seconds=300)
        editor.draw(EDITORS / "emacs" / "screenshot.svg", "Emacs")
    finally:
        editor.close()


def draw_neovim(home: Path) -> None:
    """Set up as its README says, without the plugin."""
    file = make_project(home / "project")
    configuration = home / ".config" / "nvim" / "init.lua"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(PLAIN + neovim_driver.configurations(neovim_driver.BUILT_IN)[0])
    command = [*("env", f"--chdir={file.parent}", *neovim_driver.environment(home), f"{CACHE_VARIABLE}={CACHE}")]
    command += [str(neovim_driver.neovim("0.12")), f"+{PLACE}", file.name]
    terminal = Terminal(command, emacs_driver.environment(home, CACHE), COLUMNS, ROWS)
    try:
        eventually(lambda: file.name in "".join(terminal.screen()[-2:]), "the opening of the file")
        terminal.press("o")
        terminal.type(TYPED)
        eventually(lambda: shows_grey_text(terminal), "grey text", seconds=300)
        terminal.draw(EDITORS / "neovim" / "screenshot.svg", "Neovim")
    finally:
        terminal.close()


def main() -> None:
    """Draw one after the other."""
    environment = child_environment({CACHE_VARIABLE: str(CACHE)})
    subprocess.run(python_command("lsp_server.cli", "setup"), env=environment, check=True)
    for draw in (draw_emacs, draw_neovim):
        with tempfile.TemporaryDirectory(prefix="picture-") as folder:
            draw(Path(folder).resolve())


if __name__ == "__main__":
    main()
