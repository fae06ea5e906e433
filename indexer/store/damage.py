"""What an error means for an index: damage, a full disk, a folder that cannot be written, or something else."""

from __future__ import annotations

import enum
import errno
import shutil
import sqlite3
import time
from pathlib import Path

from indexer.files.disk import look
from indexer.store.database import Damaged

_REMOVE_WITHIN = 10.0  # seconds for other processes to close a damaged file (Windows)
_MOVED = 1032  # SQLITE_READONLY_DBMOVED, which Python does not name before 3.12
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class Trouble(enum.Enum):
    """What to do about an error."""

    DAMAGED = enum.auto()
    """Make the index anew."""
    GONE = enum.auto()
    """The file was removed or replaced by another process: open it again."""
    BUSY = enum.auto()
    """Another process holds it: try again soon."""
    FULL = enum.auto()
    """The disk takes no more."""
    REFUSED = enum.auto()
    """The cache folder cannot be written."""
    OTHER = enum.auto()
    """An error of another kind."""


def trouble_of(error: BaseException) -> Trouble:
    """What an error of an index means for it."""
    if isinstance(error, OSError):
        return Trouble.FULL if error.errno in _FULL else Trouble.OTHER if error.errno in _SCARCE else Trouble.REFUSED
    if not isinstance(error, sqlite3.Error):
        return Trouble.OTHER
    extended = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, Damaged) or extended is None:
        return Trouble.DAMAGED
    if extended == _MOVED:
        return Trouble.GONE
    if extended == sqlite3.SQLITE_IOERR_SHORT_READ:  # a file ends before what is said to be in it
        return Trouble.DAMAGED
    match extended & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Trouble.BUSY
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return Trouble.FULL
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return Trouble.REFUSED
        case sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_INTERRUPT | sqlite3.SQLITE_MISUSE:
            return Trouble.OTHER
    return Trouble.DAMAGED


def remove_database(database: Path) -> None:
    """Remove an index, or anything else of its name. On Windows it waits until all readers have closed it."""
    until = time.monotonic() + _REMOVE_WITHIN
    for name in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        while True:
            try:
                name.unlink(missing_ok=True)
                break
            except (PermissionError, IsADirectoryError):  # which one a folder raises depends on the system
                if name.is_dir() and not name.is_symlink():
                    shutil.rmtree(name)
                    break
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


def identity(database: Path) -> tuple[int, int] | None:
    """Device and inode, by which an index differs from a later one of its name; None where there is none."""
    try:
        state = look(database)
    except OSError:
        return None
    return state.st_dev, state.st_ino
