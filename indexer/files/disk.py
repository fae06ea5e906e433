"""Access to paths of a workspace: nothing here blocks, follows a link, or opens anything but a regular file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_OPEN = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):  # each system has some of them
    _OPEN |= getattr(os, _flag, 0)
_LATEST = (1 << 63) - 1
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFile(OSError):
    """The path names something other than a regular file."""

    def __init__(self, mode: int) -> None:
        super().__init__(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, no file")


def read_regular(file: Path | str, most: int) -> tuple[os.stat_result, bytes]:
    """Read a regular file: its state before the read, and at most `most` + 1 bytes of its content.

    Raises OSError, also for a name that is impossible on this system, and NotAFile for anything but a regular file.
    """
    _check(look(file))  # before it is opened: to open some devices is to use them
    descriptor = os.open(file, _OPEN)
    try:
        state = os.fstat(descriptor)
        _check(state)
        parts, left = [], most + 1
        while left > 0 and (part := os.read(descriptor, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    return state, b"".join(parts)


def look(path: Path | str) -> os.stat_result:
    """The state at a path, of a link itself, not of its target. Raises OSError, for impossible names too."""
    try:
        return os.lstat(path)
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise OSError(errno.ENOENT, str(error)) from error


def modified(state: os.stat_result) -> int:
    """When a file was modified, in nanoseconds of 64 bits, into which dates after the year 2262 are clipped."""
    return max(-_LATEST, min(state.st_mtime_ns, _LATEST))


def is_folder(path: Path | str) -> bool:
    """Whether a path is a folder, and no link."""
    try:
        return stat.S_ISDIR(look(path).st_mode)
    except OSError:
        return False


def is_utf8(name: str) -> bool:
    """Whether a name can be written as UTF-8, which the index and its messages use."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def said(error: BaseException) -> str:
    """An error in a few words."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _check(state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise NotAFile(state.st_mode)
