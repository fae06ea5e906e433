"""A file cut into pieces that make sense alone: between its definitions, long ones into overlapping windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tree_sitter

from syntax import identifiers, identifiers_in

LONGEST = 40  # lines
_SHORTEST = 12
_OVERLAP = 8


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines of a file, and the names in them. Lines count from 0; the last one is included."""

    first: int
    last: int
    names: frozenset[str]
    """In lower case: who looks for a name does not always remember its case."""


def chunks_of(
    lines: list[str], ends: Iterable[int], tree: tree_sitter.Tree | None, source: bytes, language: str
) -> list[Chunk]:
    """Cut a file behind the lines `ends`. Without a tree, names are the words of its lines."""
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line.encode("utf-8", "replace")) + 1)
    chunks = []
    for first, behind in _ranges(len(lines), ends):
        if tree is not None:
            names = identifiers_in(tree, source, language, (offsets[first], min(offsets[behind], len(source))))
        else:
            names = identifiers("\n".join(lines[first:behind]), language)
        if names or any(line.strip() for line in lines[first:behind]):
            chunks.append(Chunk(first, behind - 1, frozenset({name.lower() for name in names})))
    return chunks


def _ranges(count: int, ends: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First line and the line behind the last, of neighbours that together stay within the longest chunk."""
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
