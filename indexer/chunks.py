"""A file cut into pieces that make sense alone: its top-level definitions, long ones into overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from syntax import identifiers, parser_for

LONGEST = 60  # lines
_OVERLAP = 10
_LARGEST_FILE = 200_000  # code points, about 60 ms; what is beyond is not looked at


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines of a file, and the names in them."""

    text: str
    names: frozenset[str]


def chunks_of(text: str, language: str) -> list[Chunk]:
    """Cut a file at its top-level nodes, or into windows of lines where its language has no grammar."""
    lines = text[:_LARGEST_FILE].splitlines(keepends=True)
    pieces = ("".join(lines[first:last]) for first, last in _line_ranges(lines, language))
    return [Chunk(piece, identifiers(piece, language)) for piece in pieces if piece.strip()]


def _line_ranges(lines: list[str], language: str) -> Iterator[tuple[int, int]]:
    """First line and the line behind the last, of neighbours that together stay within the longest chunk."""
    start = 0
    for end in [*_ends_of_nodes(lines, language), len(lines)]:
        if end - start < LONGEST // 2 and end < len(lines):
            continue
        while end - start > LONGEST:
            yield start, start + LONGEST
            start += LONGEST - _OVERLAP
        yield start, end
        start = end


def _ends_of_nodes(lines: list[str], language: str) -> list[int]:
    """The lines behind which a top-level node ends."""
    parser = parser_for(language)
    if parser is None:
        return []
    root = parser.parse("".join(lines).encode("utf-8", "replace")).root_node
    return [node.end_point[0] + 1 for node in root.children]
