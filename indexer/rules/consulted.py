"""The small files that rules come from, existing or not, and whether one of them has changed since."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from itertools import chain

LARGEST = 4_000_000  # bytes of an ignore file or of a configuration

Stamp = tuple[int, ...] | None
"""By which a changed file is known; None where there is no file."""
_NO_FILE: Stamp = (-1,)
Look = Callable[[str], Stamp]


class Unreadable(Exception):
    """A file exists and cannot be read; the reason, as a clause."""


class Consulted:
    """Reads small files, and remembers which; `is_told` says whether a watcher reports changes of a file."""

    def __init__(self, is_told: Callable[[str], bool] = lambda file: False) -> None:
        self._is_told = is_told
        self._told: dict[tuple[str, Look], Stamp] = {}
        self._untold: dict[tuple[str, Look], Stamp] = {}

    def read(self, file: str, *, follow: bool = True, strict: bool = False) -> bytes | None:
        """Read a regular file; None where there is none. `follow`: a symbolic link counts as what it leads to.

        A folder, a pipe or a device is not opened. `strict`: it is there, and cannot be read, as what a broken link
        leads to. Raises Unreadable.
        """
        look = _entry if strict else _content if follow else _content_unless_link
        stamp = self._look(file, look)
        if stamp is None:
            return None
        if stamp == _NO_FILE:
            raise Unreadable("it is no file, and leads to none")
        try:
            with os.fdopen(os.open(file, _flags(follow=follow)), "rb") as opened:
                if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):  # it has changed meanwhile
                    return None
                data = opened.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error
        if len(data) > LARGEST:
            raise Unreadable(f"it has more than {LARGEST:,} bytes")
        return data

    def has_file(self, file: str) -> bool:
        """Whether a regular file of this name exists, or a link to one."""
        return self._look(file, _content) is not None

    def has_entry(self, file: str) -> bool:
        """Whether anything of this name exists, even a broken link."""
        return self._look(file, _entry) is not None

    def has(self, path: str) -> bool:
        """Whether a file or folder of this name exists, or a link to one."""
        return self._look(path, _presence) is not None

    def has_none(self, files: Iterable[str], *, strict: bool = False) -> None:
        """Take note of files that are not there, as a listing has shown, and of which a watcher tells.

        They are no regular files; `strict`: there is nothing of their names.
        """
        self._told.update({(file, _entry if strict else _content): None for file in files})

    def untold(self) -> frozenset[str]:
        """The files whose changes no watcher reports."""
        return frozenset(file for file, _ in self._untold)

    def has_changed(self, *, untold: bool, most: int | None = None) -> bool:
        """Whether one of them, or of the untold, has appeared, changed or gone, or there are too many. Reads none."""
        if most is not None and len(self._told) + len(self._untold) > most:
            return True
        kept = self._untold.items() if untold else chain(self._untold.items(), self._told.items())
        return any(look(file) != known for (file, look), known in kept)

    def _look(self, file: str, look: Look) -> Stamp:
        kept = self._told if self._is_told(file) else self._untold
        stamp = look(file)
        kept.setdefault((file, look), stamp)  # the first state, from which the rules were made
        return stamp


def _content(file: str, *, follow: bool = True) -> Stamp:
    try:
        state = os.stat(file, follow_symlinks=follow)  # noqa: PTH116 - thousands of times, where a Path is slow
    except (OSError, ValueError):
        return None
    return (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino) if stat.S_ISREG(state.st_mode) else None


def _content_unless_link(file: str) -> Stamp:
    return _content(file, follow=False)


def _entry(file: str) -> Stamp:
    """The state of a regular file; `_NO_FILE` for anything else of this name."""
    if (content := _content(file)) is not None:
        return content
    try:
        os.lstat(file)
    except PermissionError:
        pass
    except (OSError, ValueError):
        return None
    return _NO_FILE


def _presence(path: str) -> Stamp:
    try:
        return (stat.S_IFMT(os.stat(path).st_mode),)  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _flags(*, follow: bool) -> int:
    """Do not wait for the other end of a pipe, and translate no line ends; not every system knows all of these."""
    names = ["O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_NOINHERIT", *([] if follow else ["O_NOFOLLOW"])]
    return os.O_RDONLY | sum(getattr(os, name, 0) for name in names)
