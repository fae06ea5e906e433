"""Files that are mapped into memory, guarded: to read a page that another process has cut off would end this one.

On Linux this process takes a lease: another one that wants to write to such a file waits for 45 seconds, or until the
lease is given up; until then every page is there. Elsewhere, and on file systems without leases, sizes are compared.
"""

from __future__ import annotations

import os
import signal
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path

if sys.platform == "linux":
    import fcntl


class Guard:
    """Files that must stay as they are while they are in use: until one of them is found changed, or this is gone."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Begin to guard. Raises OSError where a file cannot be opened."""
        self._files: list[_Guarded] = []
        self._changed: Path | None = None
        for file in files:
            self._files.append(_Guarded(file))

    def changed(self) -> Path | None:
        """The first file that was changed, or is about to be: none may be read any more. Takes 6 microseconds.

        None while all may be read. A process that waits to write goes on then.
        """
        if self._changed is None:
            self._changed = next((one.path for one in self._files if one.is_changed()), None)
            if self._changed is not None:
                self._files.clear()
        return self._changed


class _Guarded:
    """An open file; it is closed, and its lease given up, when nothing refers to this any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._descriptor)
        self._has_lease = _lend(self._descriptor)
        self._size = os.fstat(self._descriptor).st_size

    def is_changed(self) -> bool:
        if os.fstat(self._descriptor).st_size != self._size:
            return True
        if sys.platform == "linux" and self._has_lease:
            return fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK
        return False


def _lend(descriptor: int) -> bool:
    """Get a lease; False where there is none to be had: on other file systems, or of files of another user."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # instead of SIGIO, which would end this process
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True
