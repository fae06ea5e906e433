"""The house stays as it was planned: imports go one way, the code is formatted, linted and typed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.model_folders.locations import CACHE_VARIABLE

HOUSE = Path(__file__).parent.parent
ALLOWED = {
    "syntax": set(),
    "engine": {"syntax"},
    "indexer": {"syntax"},
    "export": {"engine", "syntax"},
    "lsp_server": {"engine", "indexer", "export", "syntax"},
    "training": {"engine", "indexer", "export", "syntax"},
}
LEARNS = "training"  # the only one that needs torch, and nothing that serves needs it


def imported_packages(file: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    forbidden = (set(ALLOWED) | {"evaluation", "tests"}) - ALLOWED[package] - {package}
    files = sorted((HOUSE / package).rglob("*.py"))
    assert files
    assert not {str(file.relative_to(HOUSE)): found for file in files if (found := imported_packages(file) & forbidden)}


def test_nothing_that_serves_imports_torch_or_transformers() -> None:
    # export/reference.py compares with them, where the extra `export` is installed; only tests and --verify import it
    reference = HOUSE / "export" / "reference.py"
    serving = set(ALLOWED) - {LEARNS}
    files = [file for package in serving for file in (HOUSE / package).rglob("*.py") if file != reference]
    assert not [file for file in files if imported_packages(file) & {"torch", "transformers", "optimum"}]


def test_only_processes_that_may_die_load_a_grammar() -> None:
    serving = [
        file for package in ("engine", "indexer", "lsp_server", "syntax") for file in (HOUSE / package).rglob("*.py")
    ]
    native = {str(file.relative_to(HOUSE)) for file in serving if "tree_sitter" in imported_packages(file)}
    assert native == {
        "indexer/parsing/outlines.py",
        "indexer/parsing/trees.py",
        "syntax/parsing/grammars.py",
        "syntax/parsing/identifiers.py",
    }
    loaded = (
        "import sys, lsp_server.completer, lsp_server.workspace.project_context, indexer.sync.sync_loop; "
        "print('tree_sitter' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("check", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_the_code_is(check: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *check], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_command_of_the_readme_suggests_what_really_stands_there(model_cache: Path) -> None:
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    written = re.search(r"mellum-lsp complete ((\S+):(\d+) --erase 1)$", readme, re.MULTILINE)
    assert written is not None
    command = [sys.executable, "-m", "lsp_server.cli", "complete", "--json", *written[1].split()]
    environment = {**os.environ, CACHE_VARIABLE: str(model_cache)}
    done = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=True)
    line = (HOUSE / written[2]).read_text(encoding="utf-8").splitlines()[int(written[3]) - 1]
    assert json.loads(done.stdout)["text"] == line.strip()
