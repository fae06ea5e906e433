"""Repositories that git itself made, and what is seen in them by git and by the index."""

from __future__ import annotations

import subprocess
from pathlib import Path

from indexer import why_not
from indexer.files.walk import walk
from indexer.rules.exclusion import Rules
from tests.indexer.test_walk import lay


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user with a name."""
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    return subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True, text=True
    ).stdout


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with files, none of them committed."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", ".")
    return lay(folder, files)


def by_git(folder: Path) -> set[str]:
    """The Python files that git would show."""
    listed = git(folder, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    return {path for path in listed if path.endswith(".py")}


def paths(root: Path) -> set[str]:
    """The files that are indexed. Asked for one by one, the rules say the same."""
    found = {one.path for one in walk(Rules(root))}
    there = {file.relative_to(root).as_posix() for file in root.rglob("*.py") if not file.is_symlink()}
    assert {path for path in there if why_not(root / path, root) is None} == found
    return found
