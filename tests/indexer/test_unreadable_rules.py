"""Ignore files that are no plain text: nothing is read where a rule cannot be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.files.walk import walk
from indexer.rules.consulted import LARGEST
from indexer.rules.exclusion import Rules
from tests.indexer.repositories import paths, repository
from tests.indexer.test_walk import lay

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files, or wants a privilege for them")
def test_only_regular_files_are_opened(tmp_path: Path, own_home: Path) -> None:
    root = repository(tmp_path / "root", {"a/x.py": "", "b/x.py": "", "c/x.py": "", "d/x.py": "", "rules": "x.py\n"})
    os.mkfifo(root / "a" / ".gitignore")
    (root / "b" / ".gitignore").mkdir()
    (root / "c" / ".gitignore").symlink_to(root / "rules")  # git does not follow it
    (root / "d" / ".aiignore").symlink_to(root / "rules")
    rules = Rules(root)
    assert {found.path for found in walk(rules)} == {"a/x.py", "b/x.py", "c/x.py"}
    assert not rules.has_changed()
    assert paths(root) == {"a/x.py", "b/x.py", "c/x.py"}
    (own_home / ".gitignore").symlink_to(root / "rules")  # the user's own, which git follows
    lay(own_home, {".gitconfig": "[core]\nexcludesFile = ~/.gitignore\n"})
    assert paths(root) == set()


def test_where_rules_cannot_be_read_nothing_is(tmp_path: Path) -> None:
    root = lay(tmp_path, {"a/x.py": "", "b/x.py": ""})
    (root / "a" / ".gitignore").write_bytes(b"#" * (LARGEST + 1))
    (root / "b" / ".aiignore").write_bytes(b"[a-z]\n" * 50_000)
    assert paths(root) == set()
    assert Rules(root).why_not("a/x.py") == f"a/.gitignore cannot be read: it has more than {LARGEST:,} bytes"
    assert "lines with wildcards" in str(Rules(root).why_not("b/x.py"))
    if sys.platform != "win32" and os.getuid() != 0:
        (root / "b" / ".aiignore").chmod(0)
        assert Rules(root).why_not("b/x.py") == "b/.aiignore cannot be read: Permission denied"


def unusable_link(file: Path) -> None:
    file.symlink_to("nowhere")


def link_to_itself(file: Path) -> None:
    file.symlink_to(file.name)


def utf16_without_a_mark(file: Path) -> None:
    file.write_bytes("private.py\n".encode("utf-16-le"))


def utf32(file: Path) -> None:
    file.write_bytes("private.py\n".encode("utf-32"))


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, utf16_without_a_mark, utf32]
    + ([unusable_link, link_to_itself, os.mkfifo] if sys.platform != "win32" else []),
    ids=lambda make: make.__name__,
)
def test_rules_for_ai_that_cannot_be_understood_hide_all(tmp_path: Path, make: Callable[[Path], object]) -> None:
    root = lay(tmp_path, {"a/private.py": "", "b.py": ""})
    before = Rules(root)
    assert {found.path for found in walk(before)} == {"a/private.py", "b.py"}
    asked = Rules(root)
    assert asked.why_not("a/private.py") is None
    make(root / "a" / ".aiignore")
    assert before.has_changed()
    assert asked.has_changed()
    rules = Rules(root)
    assert str(rules.why_not("a/private.py")).startswith("a/.aiignore cannot be read: it is no ")
    assert not rules.has_changed()
    assert paths(root) == {"b.py"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_rules_for_ai_may_be_written_by_powershell(tmp_path: Path, encoding: str) -> None:
    root = lay(tmp_path, {"private.py": "", "b.py": ""})
    (root / ".aiignore").write_text("private.py\r\n", encoding=encoding, newline="")
    assert paths(root) == {"b.py"}
