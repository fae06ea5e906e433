"""Real Emacs beside other things: other files, a second Emacs, a server that dies, no model, Eglot, company."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.editors.conftest import Start
from tests.editors.emacs_driver import needs_package
from tests.editors.figures import FLICKERS, LINES, PAUSE, keep, measured, read_notes, recorded_server
from tests.editors.unfinished import PLACE, TYPED, make_project
from tests.editors.waiting import eventually

pytestmark = [pytest.mark.slow]

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

# Notes each key, and each redisplay of another line or grey text.
WATCH = """
(setq mellum-deadline 5000 mellum-eagerness "always")
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


def test_a_file_with_crlf_keeps_it(start: Start, tmp_path: Path) -> None:
    """What is accepted gets the line ends of the file, and all others stay."""
    file = make_project(tmp_path / "project", "\r\n")
    original = file.read_bytes()
    editor = start("28", file, PLACE)
    editor.ready()
    editor.open_line()
    grey = editor.suggestion()
    editor.press("Tab")
    eventually(lambda: f"    {TYPED}{grey}\n" in editor.text(), "the accepted text")
    editor.press("C-x", "C-s")
    eventually(lambda: len(file.read_bytes()) > len(original), "the saved file")
    accepted = f"    {TYPED}{grey}\n".replace("\n", "\r\n").encode()
    written = file.read_bytes()
    lines = [*original.splitlines(keepends=True), *accepted.splitlines(keepends=True)]
    assert sorted(written.splitlines(keepends=True)) == sorted(lines)


def test_a_second_emacs_on_the_same_project(start: Start, tmp_path: Path) -> None:
    """Two editors, two servers, one project."""
    file = make_project(tmp_path / "project")
    both = [start("28", file, PLACE) for _ in range(2)]
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
