"""Every file of a workspace folder that may be read, with what tells whether it has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from indexer.ignore import Rules, link_reason
from indexer.reading import LARGEST

MOST_FILES = 50_000
"""A workspace with more is mostly a home folder or a disk: what lies deepest is left out."""


class Found(NamedTuple):
    """A file on disk."""

    path: str
    """Relative to the workspace folder, with forward slashes."""
    modified: int
    """Nanoseconds."""
    size: int


def walk(rules: Rules) -> Iterator[Found]:
    """Find files, nearest to the root first, at most MOST_FILES. What cannot be listed is left out."""
    folders, count = [""], 0
    while folders:
        deeper: list[str] = []
        for folder in folders:
            entries = _entries(rules, folder)
            if rules.why_not_inside(folder, {name for name, entry in entries.items() if entry.is_file()}) is not None:
                continue
            for _, entry in sorted(entries.items()):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink() and link_reason(rules.root / path, rules.root) is not None:
                    continue
                if entry.is_dir():
                    if rules.why_not_folder(path) is None:
                        deeper.append(path)
                elif entry.is_file() and rules.why_not_file(path) is None and (found := _found(path, entry)):
                    yield found
                    count += 1
                    if count == MOST_FILES:
                        return
        folders = deeper


def _entries(rules: Rules, folder: str) -> dict[str, os.DirEntry[str]]:
    try:
        with os.scandir(f"{rules.root}/{folder}") as entries:
            return {entry.name: entry for entry in entries}
    except OSError:
        return {}


def _found(path: str, entry: os.DirEntry[str]) -> Found | None:
    try:
        state = entry.stat()
    except OSError:
        return None
    return Found(path, state.st_mtime_ns, state.st_size) if state.st_size <= LARGEST else None
