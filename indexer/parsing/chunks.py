"""A file cut into chunks that make sense alone: between its definitions, long ones into overlapping windows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

LONGEST = 40  # lines
_SHORTEST = 12
_OVERLAP = 8
_WORD = re.compile(r"[^\W\d]\w+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines of a file, and the names in them. Lines count from 0; the last one is included."""

    first: int
    last: int
    names: frozenset[str]
    """In lower case, so that a search finds a name in any case."""


def chunks_of(lines: list[str], ends: Iterable[int], names: Sequence[Collection[str]] | None = None) -> list[Chunk]:
    """Cut a file after the lines `ends`. `names` are the names on each line; by default, all its words."""
    chunks = []
    for first, stop in _ranges(len(lines), ends):
        found = names[first:stop] if names is not None else map(_WORD.findall, lines[first:stop])
        lowered = frozenset({name.lower() for some in found for name in some})
        if lowered or any(line.strip() for line in lines[first:stop]):
            chunks.append(Chunk(first, stop - 1, lowered))
    return chunks


def _ranges(count: int, ends: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First line and the line after the last; short neighbours are joined while they fit into the longest chunk."""
    start = 0
    for end in [*sorted({end + 1 for end in ends if end + 1 < count}), count]:
        if end - start < _SHORTEST and end < count:
            continue
        while end - start > LONGEST:
            yield start, start + LONGEST
            start += LONGEST - _OVERLAP
        if end > start:
            yield start, end
        start = end
