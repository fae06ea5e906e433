"""Emacs's package: what the compiler and the linters say, and that the server has the text of the buffer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.editors.emacs_driver import NO_COMPILING, PACKAGE, REPOSITORY, emacs, environment, needs_package
from tests.editors.unfinished import make_project

pytestmark = [pytest.mark.slow]

FILES = [PACKAGE / f"mellum{part}.el" for part in ("-settings", "-connection", "-document", "-overlay", "-request", "")]
"""Of the package, each before those that require it."""
EDITS = Path(__file__).with_name("emacs_edits.el")

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


@pytest.mark.parametrize("version", ["28", "30"])
def test_the_server_has_the_text_of_the_buffer(version: str, tmp_path: Path, model_cache: Path) -> None:
    """After edits of every kind, several of them unannounced, the server's text is the buffer's."""
    script = tmp_path / "telling.py"
    script.write_text(TELLING_SERVER.format(repository=str(REPOSITORY)))
    file = make_project(tmp_path / "project")
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
