"""What a file's path tells: its module, its folder, and the subject of a test."""

from __future__ import annotations

import re
from functools import lru_cache

_INDEX_FILES = frozenset({"__init__", "index", "mod", "lib", "main"})
_TEST = re.compile(r"^(?:test_|tests?$)|_test$|[._-](?:test|spec)$|Tests?$", re.IGNORECASE)
_REMEMBERED = 4096  # paths


def folder_of(path: str) -> str:
    """The file's folder; empty at the top."""
    return path.rpartition("/")[0]


@lru_cache(maxsize=_REMEMBERED)
def module_of(path: str) -> str:
    """The name by which imports know a file: its own, or its folder's for files such as `__init__.py`."""
    *folders, name = path.split("/")
    stem = name.partition(".")[0]
    return folders[-1] if stem in _INDEX_FILES and folders else stem


@lru_cache(maxsize=_REMEMBERED)
def packages_of(path: str) -> tuple[str, ...]:
    """The folders above a module, the innermost last."""
    *folders, name = path.split("/")
    return tuple(folders[:-1] if name.partition(".")[0] in _INDEX_FILES else folders)


def subject_of(path: str) -> str:
    """A file's name without the mark of a test, so that a test and the file that it tests have the same."""
    return _TEST.sub("", path.rpartition("/")[2].partition(".")[0]).lower()
