"""Real Emacs in a real terminal, set up as editors/emacs/README.md says, with the real server: keys in, screen out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.availability import or_skipped, program
from tests.editors.debian import CannotInstallError
from tests.editors.emacs_install import install
from tests.editors.figures import FLICKERS, LINES, PAUSE, keep, measured, read_notes, recorded_server

pytestmark = [pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "editors" / "emacs" / "README.md"
PACKAGE = README.parent
FILES = [PACKAGE / f"mellum{part}.el" for part in ("-settings", "-connection", "-document", "-overlay", "")]
"""Of the package, each before those that require it."""
EDITS = Path(__file__).with_name("emacs_edits.el")
EMACS_30 = REPOSITORY / "tests" / ".cache" / "emacs"

# What the user is about to write, once more, in a file that already has it: no model should be in doubt here.
MISSING = "    w = TextWrapper(width=width, **kwargs)\n    return w.fill(text)\n"
TYPED = "w = Text"

# Another language server in the same buffer: it complains of each file that is opened.
OTHER_SERVER = """
from lsprotocol import types
from pygls.lsp.server import LanguageServer
server = LanguageServer("other", "1")
@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
def opened(ls, params):
    where = types.Range(types.Position(0, 0), types.Position(0, 3))
    found = [types.Diagnostic(where, "the other server was here", types.DiagnosticSeverity.Warning)]
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(params.text_document.uri, found))
server.start_io()
"""

# The real server, which also tells what it takes a document's text to be.
TELLING_SERVER = """
import sys
sys.path.insert(0, {repository!r})
from lsp_server import server
create = server.create_server
def create_server():
    made = create()
    @made.feature("test/text")
    def text(ls, params):
        return ls.session.documents.open_document(params.uri).text
    return made
server.create_server = create_server
sys.exit(server.serve_stdio())
"""

# Notes each key, and each redisplay of another line or grey text.
WATCH = """
(setq mellum-deadline 5000 mellum-confidence 0.1)
(defvar test-seen nil)
(defvar test-frame nil)
(defun test-note (&rest note)
  (push (append note (list :time (* 1000 (float-time)))) test-seen))
(add-hook 'pre-command-hook
          (lambda ()
            (when (eq this-command 'self-insert-command)
              (test-note :key (string last-command-event)))))
(add-hook 'pre-redisplay-functions
          (lambda (window)
            (with-current-buffer (window-buffer window)
              (when (bound-and-true-p mellum-mode)
                (let ((frame (list :typed (buffer-substring-no-properties (line-beginning-position) (point))
                                   :grey (or (and mellum--showing (car (nth mellum--index mellum--items))) ""))))
                  (unless (equal frame test-frame)
                    (setq test-frame frame)
                    (apply #'test-note frame)))))))
"""

Answer = TypeVar("Answer")


def eventually(look: Callable[[], Answer], what: str, seconds: float = 120) -> Answer:
    """Return what `look` sees as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return seen


def first_line(text: str) -> str:
    """Return what stands before the first line break."""
    return text.split("\n")[0]


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


class Emacs:
    """An Emacs in a terminal, and what a person would do to it and see in it."""

    def __init__(self, command: str, home: Path, file: Path, cache: Path, init: str = "", place: int = 1) -> None:
        self._place = place
        self._environment = environment(home, cache)
        self._socket = home / "socket"
        self._tmux = f"mellum-{uuid.uuid4().hex}"
        self._client = shutil.which("emacsclient") or "emacsclient"
        folder = home / ".emacs.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "early-init.el").write_text(NO_COMPILING)
        install_it = shown_in_readme("sh")[0].replace("emacs ", f"{command} ", 1)
        subprocess.run(
            ["sh", "-ec", install_it], cwd=REPOSITORY, env=self._environment, check=True, capture_output=True
        )
        (folder / "init.el").write_text(
            f'(setq server-name "{self._socket}" inhibit-startup-screen t\n'
            "      make-backup-files nil auto-save-default nil create-lockfiles nil)\n"
            f"(menu-bar-mode -1)\n(server-start)\n{shown_in_readme('elisp')[0]}\n{init}\n"
        )
        self.begun = time.monotonic()
        self._call("new-session", "-d", "-x", "110", "-y", "30", command, "-nw", f"+{place}", str(file))
        eventually(lambda: self._socket.exists(), "the start of Emacs")
        eventually(lambda: self._shows(file), "the opening of the file")

    def _shows(self, file: Path) -> bool:
        try:
            return self.eval("(buffer-name (window-buffer))") == file.name
        except subprocess.CalledProcessError:  # it listens before it has read all of its init.el
            return False

    def _call(self, *words: str) -> str:
        """Run a tmux command."""
        command = ["tmux", "-L", self._tmux, "-f", "/dev/null", *words]
        return subprocess.run(
            command, env=self._environment, check=True, capture_output=True, text=True, timeout=180
        ).stdout

    def close(self) -> None:
        """End Emacs, and the terminal with it."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.eval("(let ((kill-emacs-hook nil)) (kill-emacs))", check=False)
        with contextlib.suppress(subprocess.SubprocessError):
            self._call("kill-server")

    def type(self, text: str) -> None:
        """Type text, character by character."""
        self._call("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys, in tmux' notation."""
        self._call("send-keys", *keys)

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

    def screen(self) -> list[str]:
        """Return what the terminal shows."""
        return self._call("capture-pane", "-p").split("\n")[:30]

    def row(self) -> str:
        """Return the line of the terminal that the cursor is in, grey text included."""
        return self.screen()[int(self._call("display-message", "-p", "#{cursor_y}"))].rstrip()

    def column(self) -> int:
        """Return the column of the terminal's cursor."""
        return int(self._call("display-message", "-p", "#{cursor_x}"))

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


def project(folder: Path, line_ends: str = "\n", missing: str = MISSING) -> tuple[Path, int]:
    """Make a project with a real file in it, from which a passage is missing; returns the file, and the line above."""
    (folder / ".git").mkdir(parents=True)
    before, after = Path(textwrap.__file__).read_text().split(missing)
    file = folder / "textwrap.py"
    file.write_text(before + after, newline=line_ends)
    return file, before.count("\n")


Start = Callable[..., Emacs]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[Start]:
    """Start Emacs, as often as is wanted; all are ended at the end."""
    started: list[Emacs] = []

    def begin(version: str = "28", file: Path | None = None, place: int = 0, init: str = "", **kind: object) -> Emacs:
        if file is None:
            file, place = project(tmp_path_factory.mktemp("workspace") / "project")
        cache = kind.get("cache", model_cache)
        assert isinstance(cache, Path)
        home = kind.get("home", tmp_path_factory.mktemp("home"))
        assert isinstance(home, Path)
        started.append(Emacs(emacs(version), home, file, cache, init, place))
        return started[-1]

    with or_skipped():
        program("tmux", "tmux")
    try:
        yield begin
    finally:
        for editor in started:
            editor.close()


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


def test_a_file_with_crlf_keeps_it(start: Start, tmp_path: Path) -> None:
    """What is accepted gets the line ends of the file, and all others stay."""
    file, place = project(tmp_path / "project", "\r\n")
    original = file.read_bytes()
    editor = start("28", file, place)
    editor.ready()
    editor.open_line()
    grey = editor.suggestion()
    editor.press("Tab")
    eventually(lambda: f"    {TYPED}{grey}\n" in editor.text(), "the accepted text")
    editor.press("C-x", "C-s")
    eventually(lambda: len(file.read_bytes()) > len(original), "the saved file")
    accepted = f"    {TYPED}{grey}\n".replace("\n", "\r\n").encode()
    assert file.read_bytes().replace(accepted, b"") == original


def test_a_second_emacs_on_the_same_project(start: Start, tmp_path: Path) -> None:
    """Two editors, two servers, one project."""
    file, place = project(tmp_path / "project")
    both = [start("28", file, place) for _ in range(2)]
    for editor in both:
        editor.ready()
    for editor in both:
        editor.open_line()
        assert editor.suggestion()
    assert both[0].server().pid != both[1].server().pid


def test_a_killed_server_comes_back(start: Start) -> None:
    """Emacs says that it has ended, and the next change starts it again."""
    editor = start()
    editor.ready()
    editor.open_line()
    editor.suggestion()
    killed = editor.server().pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: any("The server has ended" in line for line in editor.screen()), "the message on the screen")
    assert not editor.grey()
    assert "Mellum!" in "".join(editor.screen())
    editor.press("BSpace", "t")
    eventually(editor.grey, "grey text", seconds=300)
    assert editor.server().pid != killed


def test_without_a_model_it_says_what_to_do(start: Start, tmp_path: Path) -> None:
    """The sentence with the mend is on the screen, and again when asked for."""
    editor = start(cache=tmp_path / "empty")
    eventually(lambda: editor.status() == "no-model", "the end of the search for a model")
    eventually(lambda: editor.says("mellum-lsp setup"), "the mend")
    editor.command("mellum-status")
    eventually(lambda: "mellum-lsp setup" in "".join(editor.screen()[-5:]), "the mend in the echo area")


def test_without_the_program_it_says_so(start: Start) -> None:
    """Typing goes on as ever."""
    editor = start(init='(setq mellum-server-command (list "no-such-program"))')
    eventually(lambda: editor.says("There is no program no-such-program"), "the message")
    editor.open_line()
    editor.type(TYPED)
    eventually(lambda: editor.line().endswith(TYPED), "the typed text")


def test_switched_off_nothing_is_computed(start: Start) -> None:
    """No server is left, none is started by typing, nothing is shown; switched on, all is as before."""
    editor = start()
    editor.ready()
    editor.open_line()
    editor.suggestion()
    server = editor.server()
    emacs_process = server.parent()
    assert emacs_process is not None
    editor.command("mellum-toggle")
    eventually(lambda: not server.is_running(), "the end of the server")
    assert not editor.grey()
    editor.type("Wrapper")
    eventually(lambda: editor.line().endswith("Wrapper"), "the typed text")
    editor.command("mellum-status")
    eventually(lambda: "switched off" in "".join(editor.screen()[-5:]), "the status")
    assert not [child for child in emacs_process.children() if "mellum" in " ".join(child.cmdline())]
    assert editor.eval("(not mellum--connection)") == "t"
    assert not editor.grey()
    editor.command("mellum-toggle")
    editor.ready()
    editor.type("(")
    eventually(editor.grey, "grey text", seconds=300)


@pytest.mark.parametrize("version", ["28", "30"])
def test_figures_of_a_typed_function(version: str, start: Start, tmp_path: Path) -> None:
    """Type a function: how soon grey text is there, whether it flickers, and what was asked; kept for the table."""
    notes = recorded_server(tmp_path / "bin")
    editor = start(version, home=tmp_path, init=WATCH)
    editor.open_line()
    editor.suggestion()
    opening = time.monotonic() - editor.begun
    editor.back()
    editor.eval("(setq test-seen nil)")
    told = len(read_notes(notes))
    for line in LINES:
        for character in line:
            editor.type(character)
            time.sleep(PAUSE)  # not for a condition: this is how fast the user is
        editor.press("Enter")
    eventually(lambda: "\n".join(f"    {line}" for line in LINES) in editor.text(), "the typed text")
    watched = json.loads(editor.eval("(progn (require 'json) (json-encode (vconcat (reverse test-seen))))"))
    figures = measured(watched, read_notes(notes)[told:], opening)
    keep(f"Emacs {version}", figures, watched)
    assert figures[FLICKERS] == 0


@pytest.mark.parametrize("version", ["28", "30"])
def test_beside_eglot(version: str, start: Start, tmp_path: Path) -> None:
    """Another server's diagnostics and our grey text are in one buffer, and both survive the other's edits."""
    if version == "28":
        needs_package("eglot")
    script = tmp_path / "other.py"
    script.write_text(OTHER_SERVER)
    editor = start(
        version,
        init=f"""
        (require 'eglot)
        (setq eglot-server-programs '((python-mode . ("{sys.executable}" "{script}"))))
        (add-hook 'python-mode-hook #'eglot-ensure)
        """,
    )
    editor.ready()
    eventually(lambda: editor.eval("(length (flymake-diagnostics))") == "1", "the other server's diagnostic")
    editor.open_line()
    grey = editor.suggestion()
    editor.press("Tab")
    eventually(lambda: f"    {TYPED}{grey}\n" in editor.text(), "the accepted text")
    assert editor.eval("(not (eglot-current-server))") == "nil"
    assert "the other server was here" in editor.eval("(flymake-diagnostic-text (car (flymake-diagnostics)))")


def test_a_company_menu_hides_it(start: Start) -> None:
    """One thing at a time: with the menu open, no grey text, and Tab is the menu's."""
    needs_package("company")
    editor = start(init="(require 'company) (add-hook 'prog-mode-hook #'company-mode) (setq company-idle-delay nil)")
    editor.ready()
    editor.open_line()
    editor.suggestion("w = TextWrapper(wid")
    editor.command("company-dabbrev-code")
    eventually(lambda: editor.eval("(not company-candidates)") == "nil", "the menu")
    eventually(lambda: not editor.grey(), "the end of the grey text")
    editor.type("t")
    eventually(lambda: editor.line().endswith("widt"), "the typed text")
    assert not editor.grey()


@pytest.mark.parametrize("version", ["28", "30"])
def test_the_server_has_the_text_of_the_buffer(version: str, tmp_path: Path, model_cache: Path) -> None:
    """After edits of every kind, several of them unannounced, the server's text is the buffer's."""
    script = tmp_path / "telling.py"
    script.write_text(TELLING_SERVER.format(repository=str(REPOSITORY)))
    file, _ = project(tmp_path / "project")
    done = subprocess.run(
        [
            *(emacs(version), "-Q", "--batch", "--eval", NO_COMPILING, "-L", str(PACKAGE), "-l", str(EDITS)),
            *(sys.executable, str(script), str(file)),
        ],
        env=environment(tmp_path, model_cache),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize("version", ["28", "30"])
def test_it_compiles_without_a_warning(version: str, tmp_path: Path) -> None:
    """The byte compiler and checkdoc have nothing to say of any file."""
    assert set(FILES) == set(PACKAGE.glob("*.el"))
    for file in FILES:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    names = " ".join(f'"{file.name}"' for file in FILES)
    check = f"(dolist (file '({names})) (byte-compile-file file) (checkdoc-file file))"
    done = subprocess.run(
        [emacs(version), "-Q", "--batch", "--eval", NO_COMPILING, "-L", ".", "-l", "checkdoc", "--eval", check],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if "Lisp directory" not in line and not line.startswith("Wrote")]
    assert not said


def test_package_lint_has_nothing_to_say() -> None:
    """What the archives of packages ask for is there."""
    needs_package("package-lint")
    words = ["--batch", "-f", "package-initialize", "-l", "package-lint"]
    words += ["--eval", '(setq package-lint-main-file "mellum.el")', "-f", "package-lint-batch-and-exit"]
    files = [file.name for file in FILES]
    done = subprocess.run([emacs("28"), *words, *files], cwd=PACKAGE, capture_output=True, text=True)
    # an old package-lint knows no Emacs 28
    said = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if "mellum" in line]
    assert [line for line in said if "uninstallable in all released Emacs versions" not in line] == []
