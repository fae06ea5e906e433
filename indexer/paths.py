"""What a file's path says of it: which module it is, which folder it lies in, what it tests."""

from __future__ import annotations

import re

_INDEX_FILES = frozenset({"__init__", "index", "mod", "lib", "main"})
_TEST = re.compile(r"^(?:test_|tests?$)|_test$|[._-](?:test|spec)$|Tests?$", re.IGNORECASE)


def folder_of(path: str) -> str:
    """The folder; empty at the top."""
    return path.rpartition("/")[0]


def module_of(path: str) -> str:
    """The name by which imports know a file: its own, or its folder's for files such as `__init__.py`."""
    *folders, name = path.split("/")
    stem = name.partition(".")[0]
    return folders[-1] if stem in _INDEX_FILES and folders else stem


def packages_of(path: str) -> list[str]:
    """The folders above a module, the innermost last."""
    *folders, name = path.split("/")
    return folders[:-1] if name.partition(".")[0] in _INDEX_FILES else folders


def subject_of(path: str) -> str:
    """A file's name without what marks it as a test: the same for a test and what it tests."""
    return _TEST.sub("", path.rpartition("/")[2].partition(".")[0]).lower()
