"""The path of the file that the indexer process reads now, on disk: after a crash the next process knows the cause."""

from __future__ import annotations

import os
from pathlib import Path

from indexer.files.disk import read_regular

_LONGEST = 1 << 16  # bytes


class Journal:
    """One path, written before each file is read, which takes some microseconds."""

    def __init__(self, file: Path) -> None:
        """Open it, and read what the last process left there. Raises OSError, also where it is no regular file."""
        try:
            data = read_regular(file, _LONGEST)[1]
        except FileNotFoundError:
            data = b""
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        left = data.partition(b"\0")[0].decode("utf-8", "replace")
        self.suspects = frozenset({left} if left else ())
        """The file that an earlier process was reading when it died."""

    def begin(self, path: str) -> None:
        """Note that this process reads a file."""
        self._write(path.encode("utf-8", "replace"))

    def end(self) -> None:
        """Note that this process reads no file."""
        self._write(b"")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, path: bytes) -> None:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, path[: _LONGEST - 1] + b"\0")
