"""A real Emacs in a real terminal, set up as editors/emacs/README.md says: typed into, and looked at."""

import contextlib
import os
import re
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

import psutil

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.availability import or_skipped, program
from tests.editors.debian import CannotInstallError
from tests.editors.emacs_install import install
from tests.editors.terminal import COLUMNS, ROWS, Terminal
from tests.editors.unfinished import TYPED
from tests.editors.waiting import eventually

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "editors" / "emacs" / "README.md"
PACKAGE = README.parent
EMACS_30 = REPOSITORY / "tests" / ".cache" / "emacs"


def emacs(version: str) -> str:
    """Return the command that starts this version of Emacs; skip, or fail where it should be there."""
    with or_skipped():
        return str(install(EMACS_30)) if version == "30" else program("emacs", "emacs-nox")


def needs_package(name: str) -> None:
    """Skip, or fail, where Debian's package of this Emacs package is not installed."""
    with or_skipped():
        if not list(Path("/usr/share/emacs/site-lisp/elpa-src").glob(f"{name}-[0-9]*")):
            raise CannotInstallError(f"Emacs has no {name}: install the package elpa-{name}.")


def environment(home: Path, cache: Path) -> dict[str, str]:
    """Return an environment with a home of its own, in which the server is on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "TMUX", "EMACS"))}
    path = os.pathsep.join([str(home / "bin"), sysconfig.get_path("scripts"), os.environ["PATH"]])
    return {
        **kept,
        "HOME": str(home),
        "PATH": path,
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        CACHE_VARIABLE: str(cache),
    }


def shown_in_readme(language: str) -> list[str]:
    """Return the blocks of the README that are in this language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks, f"{README} has no {language}"
    return blocks


NO_COMPILING = """(setq native-comp-jit-compilation nil native-comp-deferred-compilation nil
      native-comp-enable-subr-trampolines nil)
"""
"""To machine code, which would take the processor from what is tested."""


class Emacs(Terminal):
    """An Emacs in a terminal, and what a person would do to it and see in it."""

    def __init__(
        self,
        command: str,
        home: Path,
        file: Path,
        cache: Path,
        init: str = "",
        place: int = 1,
        setup: str | None = None,
        columns: int = COLUMNS,
        rows: int = ROWS,
    ) -> None:
        """Start it on a line of a file. `setup` stands in place of what the README puts into `init.el`."""
        self._place = place
        variables = environment(home, cache)
        self._socket = home / "socket"
        self._client = shutil.which("emacsclient") or "emacsclient"
        folder = home / ".emacs.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "early-init.el").write_text(NO_COMPILING)
        install_it = shown_in_readme("sh")[0].replace("emacs ", f"{command} ", 1)
        subprocess.run(["sh", "-ec", install_it], cwd=REPOSITORY, env=variables, check=True, capture_output=True)
        (folder / "init.el").write_text(
            f'(setq server-name "{self._socket}" inhibit-startup-screen t\n'
            "      make-backup-files nil auto-save-default nil create-lockfiles nil)\n"
            f"(menu-bar-mode -1)\n(server-start)\n{setup or shown_in_readme('elisp')[0]}\n{init}\n"
        )
        self.begun = time.monotonic()
        super().__init__([command, "-nw", f"+{place}", str(file)], variables, columns, rows)
        eventually(lambda: self._socket.exists(), "the start of Emacs")
        eventually(lambda: self._shows(file), "the opening of the file")

    def _shows(self, file: Path) -> bool:
        try:
            return self.eval("(buffer-name (window-buffer))") == file.name
        except subprocess.CalledProcessError:  # it listens before it has read all of its init.el
            return False

    def close(self) -> None:
        """End Emacs, and the terminal with it."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.eval("(let ((kill-emacs-hook nil)) (kill-emacs))", check=False)
        with contextlib.suppress(subprocess.SubprocessError):
            super().close()

    def command(self, name: str) -> None:
        """Run an interactive command as a person would."""
        self.press("M-x")
        eventually(lambda: "M-x" in self.screen()[-1], "the minibuffer")
        self.type(name)
        self.press("Enter")

    def eval(self, form: str, check: bool = True) -> str:
        """Return the value of a Lisp form in the buffer that is shown, as text."""
        result = self._socket.with_name("result")  # emacsclient breaks long values
        whole = (
            "(with-current-buffer (window-buffer (selected-window))"
            f' (let ((value (format "%s" {form})) (coding-system-for-write (quote utf-8-unix)))'
            f' (write-region value nil "{result}" nil (quote silent)) nil))'
        )
        subprocess.run(
            [self._client, "--socket-name", str(self._socket), "--eval", whole],
            env=self._environment,
            check=check,
            capture_output=True,
            text=True,
            timeout=180,
        )
        return result.read_bytes().decode()

    def text(self) -> str:
        """Return the text of the buffer."""
        return self.eval("(save-restriction (widen) (buffer-string))")

    def line(self) -> str:
        """Return the line that point is in."""
        return self.eval("(buffer-substring (line-beginning-position) (line-end-position))")

    def grey(self) -> str:
        """Return the grey text, lines below included; nothing if there is none."""
        return self.eval('(or (and mellum--showing (car (nth mellum--index mellum--items))) "")')

    def says(self, words: str) -> bool:
        """Return whether these words are on the screen, or were said before."""
        return words in "".join(self.screen()) or words in self.eval(
            '(with-current-buffer "*Messages*" (buffer-string))'
        )

    def status(self) -> str:
        """Return the state that the server is in."""
        return self.eval("(plist-get mellum--status :state)")

    def server(self) -> psutil.Process:
        """Return the process of the server."""
        return psutil.Process(int(self.eval("(process-id (jsonrpc--process mellum--connection))")))

    def accepted(self) -> int:
        """Return how many suggestions the server knows to be accepted."""
        asked = "(jsonrpc-request mellum--connection :mellum/status (make-hash-table) :timeout 60)"
        return int(self.eval(f"(plist-get {asked} :accepted)"))

    def ready(self) -> None:
        """Wait until the model is loaded."""
        eventually(lambda: self.status() == "ready", "the loading of the model", seconds=300)

    def back(self) -> None:
        """Go back to the file as it was opened, and begin a new line at the place where something is missing."""
        self.ready()
        self.press("C-g", "C-g")
        self.eval(
            "(progn (mellum-dismiss) (revert-buffer t t t) (widen) (goto-char (point-min))"
            f" (forward-line {self._place - 1}) (setq buffer-undo-list nil))"
        )
        self.open_line()
        eventually(lambda: self.line() == "    ", "the new line")

    def open_line(self) -> None:
        """Begin a new, indented line below this one."""
        self.press("C-e", "Enter")

    def suggestion(self, typed: str = TYPED) -> str:
        """Write the beginning of what is missing, and return the grey text that appears."""
        self.type(typed)
        eventually(lambda: self.line().endswith(typed), "the typed text")
        return eventually(self.grey, "grey text", seconds=300)
