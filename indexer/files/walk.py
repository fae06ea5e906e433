"""Every file of a workspace folder that may be read, with the date and size that show a change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from indexer.files.disk import is_utf8, modified, said
from indexer.files.text import LARGEST
from indexer.problems import Problems
from indexer.rules.exclusion import Rules
from indexer.rules.ignore_files import FOR_AI

MOST_FILES = 50_000
"""A workspace with more files is mostly a home folder or a disk: its deepest files are left out."""


class Found(NamedTuple):
    """A file on disk."""

    path: str
    """Relative to the workspace folder, with forward slashes."""
    modified: int
    """Nanoseconds."""
    size: int


def walk(rules: Rules, problems: Problems | None = None) -> Iterator[Found]:
    """Find files, nearest to the root first, at most MOST_FILES.

    Links, pipes, sockets and devices are no files. What cannot be read is left out and reported to `problems`.
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
            except Exception as error:  # an error of any kind costs this folder alone
                problems.add("folder", folder, _left_out(rules, folder or ".", error))
                continue
            for one in found:
                yield one
                count += 1
                if count == MOST_FILES:
                    return
        folders = deeper


def _look_into(rules: Rules, folder: str, deeper: list[str], problems: Problems) -> list[Found]:
    """The files of one folder; the folders in it that may be read are added to `deeper`."""
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
        except Exception as error:  # an error of any kind costs this entry alone
            problems.add("entry", folder, _left_out(rules, path, error))
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one: an ignore file may be a link."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _left_out(rules: Rules, path: str, error: Exception) -> str:
    return f"{rules.root / path} is left out of the index: {said(error)}."
