"""Tensors of a safetensors file: a JSON header that is checked against the file, then rows read as float32.

The layout is that of the safetensors README: the header's size in 8 bytes, JSON, then data without holes. numpy has no
bfloat16, and the library reads no slices of it without torch: hence this module.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from export.architecture import ExportError
from export.sources.files.flat_file import FlatFile, StoredTensor, widen
from export.sources.source import Floats, span

_MOST_HEADER_BYTES = 32 << 20  # a thousand tensors take 0.1 MB
_MOST_AXES = 8
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_OTHER_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16"), 2),
    **dict.fromkeys(("I32", "U32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}


class SafetensorsFile:
    """One open file. Raises no error but ExportError, for any content of the file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = FlatFile(path)
        try:
            self.tensors: Mapping[str, StoredTensor] = _read_header(self._file)
        except BaseException:
            self._file.close()
            raise

    def rows(self, name: str, rows: slice) -> Floats:
        """Read rows of an existing tensor, as float32."""
        stored = self.tensors[name]
        if stored.dtype not in _BYTES:
            raise ExportError(f"{name:.80} is stored as {stored.dtype}; give weights in float32, float16 or bfloat16")
        start, stop = span(rows, stored.shape[0] if stored.shape else 1)
        data = self._file.read(stored.offset + start * stored.row_bytes, (stop - start) * stored.row_bytes)
        return widen(data, stored.dtype).reshape(stop - start, *stored.shape[1:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_header(file: FlatFile) -> dict[str, StoredTensor]:
    """Read the header, and check that the data after it are complete and that each byte belongs to one tensor."""
    if file.size < 8:
        raise ExportError(f"{file.name} is truncated: it has {file.size} bytes; get the file again")
    (size,) = struct.unpack("<Q", file.read(0, 8).tobytes())
    if size > min(file.size - 8, _MOST_HEADER_BYTES):
        raise ExportError(
            f"{file.name} is no safetensors file, or truncated: its header would take {size} of {file.size} bytes; "
            "get the file again"
        )
    try:
        entries = json.loads(file.read(8, size).tobytes().decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"The header of {file.name} is damaged ({error!s:.80}); get the file again") from error
    if not isinstance(entries, dict):
        raise ExportError(f"The header of {file.name} is damaged (no object); get the file again")
    entries.pop("__metadata__", None)
    found = {name: _entry(file, name, entry, 8 + size) for name, entry in entries.items()}
    spans = sorted((tensor.offset, tensor.offset + length) for tensor, length in found.values())
    edges = [(8 + size, 8 + size), *spans, (file.size, file.size)]
    for (_, end), (start, _) in pairwise(edges):
        if start != end:
            how = "truncated or overlong" if start == file.size else "damaged (its tensors overlap or leave holes)"
            raise ExportError(f"{file.name} is {how}; get the file again")
    return {name: tensor for name, (tensor, _) in found.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that JSON allows twice; a header does not."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _entry(file: FlatFile, name: str, entry: object, data: int) -> tuple[StoredTensor, int]:
    """The position of a tensor, and its length in bytes."""
    damaged = ExportError(f"The header of {file.name} is damaged (at {name:.80}); get the file again")
    if not isinstance(entry, dict):
        raise damaged
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or (dtype not in _BYTES and dtype not in _OTHER_BYTES):
        raise ExportError(f"{name:.80} has the type {dtype!r:.40}; give weights in float32, float16 or bfloat16")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > _MOST_AXES:
        raise damaged
    start, end = offsets
    width = _BYTES.get(dtype) or _OTHER_BYTES[dtype]
    if end - start != math.prod(shape) * width:
        raise damaged
    if data + end > file.size:
        raise ExportError(f"{file.name} is truncated: {name:.80} ends after the file; get the file again")
    return StoredTensor(dtype, tuple(shape), data + start, math.prod(shape[1:]) * width), end - start


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)
