"""Our child processes import and run nothing from the current folder."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from syntax.children import child_environment, find_program, import_path, python_command, run_python, start_python

_EVIL = "import pathlib, sys\npathlib.Path(r'{mark}').write_text('ran')\n"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with modules under names that a child imports; returns the file that they would write."""
    mark = tmp_path / "mark"
    folder = tmp_path / "workspace"
    folder.mkdir()
    for name in ("json", "runpy", "indexer", "syntax", "pip", "psutil", "tree_sitter", "sitecustomize"):
        (folder / f"{name}.py").write_text(_EVIL.format(mark=mark))
    monkeypatch.chdir(folder)
    return mark


@pytest.mark.parametrize("search_path", [None, "", ".", os.pathsep])
def test_a_child_imports_nothing_of_the_current_folder(
    planted: Path, monkeypatch: pytest.MonkeyPatch, search_path: str | None
) -> None:
    if search_path is not None:
        monkeypatch.setenv("PYTHONPATH", search_path)
        monkeypatch.setattr(sys, "path", [str(Path.cwd()), "", *sys.path])
    child = start_python("pip", "--version", stdout=subprocess.PIPE, text=True)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert said.startswith("pip ")
    assert not planted.exists()


def test_a_child_finds_what_its_parent_finds() -> None:
    assert set(import_path()) >= {entry for entry in sys.path if "site-packages" in entry}
    done = subprocess.run([*python_command("indexer"), "--no-such"], capture_output=True, text=True, check=False)
    assert "No module named" not in done.stderr


@pytest.mark.parametrize("place", ["stdlib", "platlib"])
def test_a_child_works_in_a_folder_of_python_itself(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sysconfig.get_path(place))
    assert run_python("pip", "--version").stdout.startswith("pip ")


def test_children_have_telemetry_switched_off() -> None:
    assert child_environment()["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_program_is_never_taken_from_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "planted"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", *os.environ["PATH"].split(os.pathsep)]))
    assert find_program("planted") is None
