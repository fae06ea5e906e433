"""Real Emacs with lsp-mode 10, whose own inline completion shows the real server's suggestions, without our package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.editors import debian
from tests.editors.availability import or_skipped
from tests.editors.conftest import Start
from tests.editors.emacs_driver import shown_in_readme
from tests.editors.figures import read_notes, recorded_server
from tests.editors.unfinished import TYPED
from tests.editors.waiting import eventually

pytestmark = [pytest.mark.slow]

LSP_MODE = Path(__file__).parents[1] / ".cache" / "lsp-mode"
INSTALLED = """
(add-to-list 'package-directory-list "%s")
(package-initialize)
(add-hook 'prog-mode-hook #'lsp)
(setq lsp-auto-guess-root t lsp-enabled-clients '(mellum))
"""
"""lsp-mode as Debian installs it, without other servers, and without asking which project a file belongs to."""
READY = """(equal "ready" (ignore-errors (lsp-get (lsp-request "mellum/status" nil) :state)))"""


@pytest.mark.parametrize("version", ["28", "30"])
def test_its_own_inline_completion_shows_and_accepts(version: str, start: Start, tmp_path: Path) -> None:
    """As the README sets it up: grey text appears, Tab accepts exactly that, and the server is told."""
    with or_skipped():
        packages = debian.unpack("elpa-lsp-mode", LSP_MODE) / "usr" / "share" / "emacs" / "site-lisp" / "elpa-src"
    [ours] = [block for block in shown_in_readme("elisp") if "lsp-register-client" in block]
    notes = recorded_server(tmp_path / "bin")
    editor = start(version, home=tmp_path, setup=INSTALLED % packages + ours)
    eventually(lambda: editor.eval(READY) == "t", "the loading of the model", seconds=300)
    editor.open_line()
    editor.type(TYPED)
    # without the margin that Emacs 30 has in a terminal
    eventually(lambda: editor.row().strip().startswith(TYPED) and editor.row().strip() != TYPED, "grey text")
    drawn = editor.row().strip()
    assert editor.line() == f"    {TYPED}"
    editor.press("Tab")
    eventually(lambda: editor.line() == f"    {drawn}", "the accepted text")
    told = "workspace/executeCommand"
    eventually(lambda: any(note.get("method") == told for note in read_notes(notes)), "the report of the acceptance")
    assert editor.eval('(get-buffer "*Warnings*")') == "nil"
