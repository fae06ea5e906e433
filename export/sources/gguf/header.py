"""A GGUF file's header, read with every size checked against the file before it is believed.

The layout is that of ggml's docs/gguf.md: magic, version, counts, metadata, tensor descriptions, aligned data. The
`gguf` package maps the file and trusts these sizes; here a damaged or hostile file gives one sentence, at once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np

from export.architecture import ExportError
from export.sources.files.flat_file import FlatFile, StoredTensor

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_MOST_HEADER_BYTES = 256 << 20  # the largest vocabularies take 20 MB
_MOST_ENTRIES = 1 << 20  # of metadata, of tensors
_MOST_ITEMS = 1 << 22  # of an array; vocabularies have some hundred thousand
_MOST_AXES = 4
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}

# Types that gguf dequantizes to float32.
READABLE = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


@dataclass(frozen=True, slots=True)
class Header:
    """Everything before the data."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def read_header(file: FlatFile) -> Header:
    """Read and check the header. Raises no error but ExportError, for any content of the file."""
    cursor = _Cursor(file)
    if cursor.take(4) != _MAGIC:
        raise ExportError(f"{file.name} is no GGUF file; get the file again")
    version = cursor.number("<u4")
    if version not in _VERSIONS:
        raise ExportError(f"{file.name} is GGUF version {version}; only versions 2 and 3, little-endian, can be read")
    tensor_count, entry_count = (cursor.count(_MOST_ENTRIES) for _ in range(2))
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.string()
        if key in metadata:
            raise cursor.damaged(f"the key {key:.60} stands in it twice")
        metadata[key] = cursor.value(cursor.number("<u4"))
    described: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for _ in range(tensor_count):
        name = cursor.string()
        if name in described:
            raise cursor.damaged(f"the tensor {name:.60} stands in it twice")
        axes = cursor.number("<u4")
        if not 1 <= axes <= _MOST_AXES:
            raise cursor.damaged(f"the tensor {name:.60} has {axes} axes")
        shape = tuple(cursor.number("<u8") for _ in range(axes))[::-1]
        described[name] = (_dtype(cursor.number("<u4"), name), shape, cursor.number("<u8"))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise cursor.damaged(f"its alignment is {alignment!r:.40}")
    start = -(-cursor.position // alignment) * alignment
    return Header(metadata, {name: _located(file, name, start, *parts, alignment) for name, parts in described.items()})


def _dtype(number: int, name: str) -> str:
    try:
        return gguf.GGMLQuantizationType(number).name  # type: ignore[no-any-return]
    except ValueError as error:
        raise ExportError(f"The tensor {name:.60} has the unknown type {number}; get the GGUF file again") from error


def _located(
    file: FlatFile, name: str, start: int, dtype: str, shape: tuple[int, ...], offset: int, alignment: int
) -> StoredTensor:
    """Check that a tensor lies inside the file."""
    block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[dtype]]
    if offset % alignment or shape[-1] % block:
        raise ExportError(f"{file.name} is damaged (the tensor {name:.60} lies askew); get the file again")
    row_bytes = shape[-1] // block * block_bytes
    if start + offset + row_bytes * math.prod(shape[:-1]) > file.size:
        raise ExportError(f"{file.name} is truncated: the tensor {name:.60} ends after the file; get the file again")
    return StoredTensor(dtype, shape, start + offset, row_bytes)


class _Cursor:
    """Reads values in order from the start of a file; a size is checked before anything is allocated."""

    _STEP = 1 << 20

    def __init__(self, file: FlatFile) -> None:
        self._file = file
        self._buffer = b""
        self._start = 0  # of the buffer, in the file
        self.position = 0

    def damaged(self, how: str) -> ExportError:
        return ExportError(f"The header of {self._file.name} is damaged ({how}); get the file again")

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > min(self._file.size, _MOST_HEADER_BYTES):
            raise self.damaged("it does not end within the file")
        if end > self._start + len(self._buffer):
            wanted = min(max(size, self._STEP), self._file.size - self.position)
            self._buffer, self._start = self._file.read(self.position, wanted).tobytes(), self.position
        taken = self._buffer[self.position - self._start : end - self._start]
        self.position = end
        return taken

    def number(self, kind: str) -> Any:
        value = np.frombuffer(self.take(np.dtype(kind).itemsize), kind)[0]
        return float(str(value)) if kind == "<f4" else value.item()  # 1e-06 as it was meant, not 9.99999997e-07

    def count(self, most: int) -> int:
        (count,) = struct.unpack("<Q", self.take(8))
        if count > most:
            raise self.damaged(f"a count in it is {count}")
        return int(count)

    def string(self) -> str:
        (size,) = struct.unpack("<Q", self.take(8))
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise self.damaged("a text in it is not UTF-8") from error

    def value(self, kind: int) -> Any:
        """A number, a truth value, a text, or a list of one of them."""
        if kind == _STRING:
            return self.string()
        if kind == _BOOL:
            return self.take(1) != b"\0"
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _ARRAY:
            raise self.damaged(f"a value in it has the unknown type {kind}")
        kind, count = self.number("<u4"), self.count(_MOST_ITEMS)
        if kind in _NUMBERS:
            dtype = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
        if kind == _ARRAY:
            raise self.damaged("a list in it holds lists")
        return [self.value(kind) for _ in range(count)]
