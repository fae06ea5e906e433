"""Blank the kernels of other cards in a library of CUDA's, so that it takes half the space.

A library holds each kernel once for every kind of card, in containers of the section `.nv_fatbin`. What the driver
picks for a card is found by headers, which stay: only the machine code of other cards becomes zeros, which compress to
nothing. A container that has nothing for the card is left alone.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_MAGIC = struct.pack("<I", 0xBA55ED50)
_CONTAINER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of what follows it
_ENTRY = struct.Struct("<HHIQ")  # kind, version, bytes of this header, bytes of the code
_ARCHITECTURE_AT = 28  # in an entry: the compute capability without its dot, uint32
_LEAST_HEADER, _LARGEST_HEADER = 32, 4096


def blank_other_cards(library: Path, capability: str) -> int:
    """Overwrite the code that a card of this compute capability, such as `9.0`, never runs; returns how many bytes."""
    wanted = int(capability.replace(".", ""))
    blanked = 0
    with library.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        at = data.find(_MAGIC)
        while at >= 0:
            entries = _entries(data, at)
            if any(architecture == wanted for architecture, _, _ in entries):
                for architecture, start, length in entries:
                    if architecture != wanted:
                        data[start : start + length] = bytes(length)
                        blanked += length
            at = data.find(_MAGIC, entries[-1][1] + entries[-1][2] if entries else at + len(_MAGIC))
    return blanked


def _entries(data: mmap.mmap, at: int) -> list[tuple[int, int, int]]:
    """Each entry's architecture, and where its code begins and how long it is; none where there is no container."""
    if at + _CONTAINER.size > len(data):
        return []
    _, version, header, length = _CONTAINER.unpack_from(data, at)
    place, end = at + header, at + header + length
    if version != 1 or header != _CONTAINER.size or end > len(data):
        return []
    entries: list[tuple[int, int, int]] = []
    while place + _LEAST_HEADER <= end:
        _, _, size, code = _ENTRY.unpack_from(data, place)
        if not _LEAST_HEADER <= size <= _LARGEST_HEADER or place + size + code > end:
            return []
        (architecture,) = struct.unpack_from("<I", data, place + _ARCHITECTURE_AT)
        entries.append((architecture, place + size, code))
        place += size + code
    return entries if place == end else []
