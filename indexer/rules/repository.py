"""The git repository of a file, found without git: its top folder, and the files of its own rules."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from indexer.rules.consulted import Consulted, Unreadable
from indexer.rules.git_configuration import Configuration, configuration


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with files."""

    top: Path
    exclude: Path
    """Rules of this repository that are not part of it: `info/exclude`, which linked worktrees share."""
    configuration: Configuration


def repository_at(folder: Path, consulted: Consulted) -> Repository | None:
    """The repository whose files begin in a folder; None where there is no `.git`, or none that git would take.

    `.git` may be a file that leads elsewhere: in a linked worktree and in a submodule.
    """
    git_folder = folder / ".git"
    if not consulted.has(str(git_folder)):
        return None
    if git_folder.is_file():
        target = _content(git_folder, consulted)
        if not target.startswith("gitdir:"):
            return None
        git_folder = Path(os.path.realpath(folder / target.removeprefix("gitdir:").lstrip()))
    common = git_folder
    if shared := _content(git_folder / "commondir", consulted):
        common = Path(os.path.realpath(git_folder / shared))
    parts = (git_folder / "HEAD", common / "objects", common / "refs")
    if not all(consulted.has(str(part)) for part in parts):
        return None
    return Repository(folder, common / "info" / "exclude", configuration(consulted, folder, git_folder, common))


def _content(file: Path, consulted: Consulted) -> str:
    try:
        return os.fsdecode(consulted.read(str(file)) or b"").rstrip("\r\n")
    except Unreadable:
        return ""
