"""Tensors in a file, read by offset and size. Nothing is mapped: a file that shrinks gives an error, not a crash."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.architecture import ExportError


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The position of a tensor in its file."""

    dtype: str
    shape: tuple[int, ...]
    """As in transformers, rows first."""
    offset: int
    """From the start of the file, in bytes."""
    row_bytes: int


class FlatFile:
    """An open file; any thread may read bytes at any offset."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._file = path.open("rb", buffering=0)
            self.size = path.stat().st_size
        except OSError as error:
            raise ExportError(f"{path} cannot be read ({error.strerror})") from error
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> NDArray[np.uint8]:
        """Read exactly `size` bytes. Raises ExportError, before it allocates anything, if the file has fewer."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ExportError(f"{self.name} is truncated: it ends at byte {self.size}; get the file again")
        values = np.empty(size, np.uint8)
        view = memoryview(values.data)
        with self._lock:
            try:
                self._file.seek(offset)
                done = 0
                while done < size:
                    count = self._file.readinto(view[done:])
                    if not count:
                        raise ExportError(f"{self.name} became shorter while it was read; get the file again")
                    done += count
            except OSError as error:
                raise ExportError(f"{self.name} cannot be read ({error.strerror})") from error
        return values

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def widen(values: NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    """Bytes of little-endian `F32`, `F16` or `BF16` as float32; bfloat16 is the upper half of a float32."""
    if dtype == "F32":
        return values.view("<f4").astype(np.float32, copy=False)
    if dtype == "F16":
        return values.view("<f2").astype(np.float32)
    wide: NDArray[Any] = values.view("<u2").astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)
