"""Every file of a workspace folder that may be read, with what tells whether it has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from indexer.disk import is_utf8, modified, said
from indexer.ignore import Rules
from indexer.ignored import FOR_AI
from indexer.problems import Problems
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


def walk(rules: Rules, problems: Problems | None = None) -> Iterator[Found]:
    """Find files, nearest to the root first, at most MOST_FILES.

    Links, pipes, sockets and devices are no files. What cannot be looked at is left out, and said to `problems`.
    """
    problems = problems or Problems(lambda sentence: None)
    folders, count = [""], 0
    while folders:
        deeper: list[str] = []
        for folder in folders:
            try:
                found = _look_into(rules, folder, deeper, problems)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it has just been removed
            except Exception as error:  # whatever is wrong with one folder costs that folder
                problems.add("folder", folder, _left_out(rules, folder or ".", error))
                continue
            for one in found:
                yield one
                count += 1
                if count == MOST_FILES:
                    return
        folders = deeper


def _look_into(rules: Rules, folder: str, deeper: list[str], problems: Problems) -> list[Found]:
    """The files of one folder; the folders in it that are to be looked into go to `deeper`."""
    with os.scandir(f"{rules.root}/{folder}") as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    files = {entry.name for entry in entries if entry.name == FOR_AI or _is_file(entry)}
    if (reason := rules.why_not_inside(folder, files)) is not None:
        if not folder:  # else, the workspace folder is empty without a reason
            problems.add("folder", folder, f"{rules.root} is left out of the index: it is {reason}.")
        return []
    found = []
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if not is_utf8(entry.name):
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            problems.add("name", name, f"{rules.root}/{name} is left out of the index: its name is not UTF-8.")
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if rules.why_not_folder(path) is None:
                    deeper.append(path)
            elif entry.is_file(follow_symlinks=False) and rules.why_not_file(path) is None:
                state = entry.stat(follow_symlinks=False)
                if state.st_size <= LARGEST:
                    found.append(Found(path, modified(state), state.st_size))
        except FileNotFoundError:
            continue
        except Exception as error:  # whatever is wrong with one entry costs that entry
            problems.add("entry", folder, _left_out(rules, path, error))
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, perhaps through a link, as ignore files may be."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _left_out(rules: Rules, path: str, error: Exception) -> str:
    return f"{rules.root / path} is left out of the index: {said(error)}."
