"""A home folder for the tests that ask for one; a small workspace folder, and where its index lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer import database_of


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without git's configuration."""
    home = tmp_path_factory.mktemp("home").resolve()
    for name in list(os.environ):
        if name.startswith("GIT_") or name == "XDG_CONFIG_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace folder with one file."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "ok.py").write_text("def ok(): return 1\n")
    return root


@pytest.fixture
def database(tmp_path: Path, root: Path) -> Path:
    """Where the index of the workspace folder lies."""
    return database_of(root, tmp_path / "cache")
