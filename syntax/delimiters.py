"""Which brackets, quotes and comments are open at a place in a text, and in what is generated there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from syntax.leaves import COMMENT, leaves
from syntax.walk import Stack, at_line_end, is_quote, step, walk

_CLOSED_BY_LINE = frozenset({"'", '"', 'f"', "f'", ""})
_SHORT = 1500  # code points
_STATEMENTS_ABOVE = 2
_WINDOW = 16_000  # code points; from further up, only an open string of that length would be missed
_WINDOW_STEP = 4_000
_SURELY_CODE = re.compile(
    r"^(?:@\w+$|@\w+[.(]|import \w+$|#include|(?:async |export |pub |public |static |final |abstract |default )*"
    r"(?:(?:def|function|func|fn|void|int|char) \w+\(|func \(|(?:class|struct|impl|interface|enum|trait) \w+.*[:{]$))"
    r"|^[A-Za-z_][\w.]* = ",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Delimiter:
    """A bracket or quote in the text that was walked over."""

    offset: int
    """In code points from the start of that text."""
    text: str
    open_after: Stack
    closes: bool
    is_stray: bool = False
    """A closer of nothing: broken code, or something opened above the window that is looked at."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in a text behind the cursor; offsets in code points from the cursor."""

    delimiters: list[Delimiter]
    comments: list[tuple[int, int]]
    """Start and end; the start is negative for a comment that the cursor stands in."""

    def open_at(self, offset: int, at_cursor: Stack) -> Stack:
        """What is open right before an offset, when `at_cursor` is at the cursor."""
        found = at_cursor
        for delimiter in self.delimiters:
            if delimiter.offset >= offset:
                break
            found = delimiter.open_after
        return found


class Delimiters:
    """Follows a text that grows at its end: first what stands before the cursor, then what is generated."""

    def __init__(self, before: str, language: str) -> None:
        self._language = language
        source = _encoded(before[_window_start(before) :])
        found = walk(source, language)
        self.is_whole = len(before) <= _WINDOW
        """Whether all of the text before the cursor was looked at."""
        self.at_line_start = found.at_line_start
        """What is open where the cursor's line starts."""
        self.at_cursor = found.at_end
        """What is open at the cursor."""
        self.columns = found.columns
        """How far the line is indented on which each of those was opened."""
        *above, self.code = found.statements(source, 1 + _STATEMENTS_ABOVE)
        """The cursor's statement as far as it stands before the cursor, from its first line on, without comments.

        A statement in this sense begins on a line where nothing is open, or a brace is what was opened last.
        """
        self.above = tuple(above)
        """Up to two statements above it, likewise, the nearest last."""
        last = found.comments[-1] if found.comments else None
        self.in_comment = last is not None and last.end == len(source) and not source.endswith((b"*/", b"\n"))
        """Whether the cursor stands at the end of a comment that ends with its line."""
        statement = source[found.beginnings[-1].start :].decode("utf-8")
        self._before = _encoded(_shortened(statement, found.at_end))

    def read(self, generated: str) -> Reading:
        """Walk over text that may stand behind the cursor."""
        return _read(self._before, generated, self.at_cursor, self._language)


def _shortened(statement: str, at_cursor: Stack) -> str:
    """Text behind which the leaves are the same, but 10 times faster to parse."""
    if len(statement) <= _SHORT:
        return statement
    start = statement.find("\n", len(statement) - _SHORT) + 1 or len(statement) - _SHORT
    opener = at_cursor[-1] if at_cursor and (at_cursor[-1] == COMMENT or is_quote(at_cursor[-1])) else ""
    return f"{opener}\n{statement[start:]}" if opener not in _CLOSED_BY_LINE else f"{opener}{statement[start:]}"


@lru_cache(maxsize=16)  # the rules of one trim ask for the same
def _read(before: bytes, generated: str, stack: Stack, language: str) -> Reading:
    start = len(before)
    source = before + _encoded(generated)
    delimiters: list[Delimiter] = []
    comments: list[tuple[int, int]] = []
    known_bytes, known = start, 0

    def characters(position: int) -> int:
        nonlocal known_bytes, known
        if position < known_bytes:
            return -len(source[position:start].decode("utf-8", "replace"))
        known += len(source[known_bytes:position].decode("utf-8", "replace"))
        known_bytes = position
        return known

    previous_end = start
    for leaf in leaves(source, start, language):
        if source.find(b"\n", previous_end, leaf.start) >= 0:
            stack = at_line_end(stack)
        previous_end = leaf.end_without_newline(source)
        if leaf.kind == "comment":
            first = characters(leaf.start)
            if stack[-1:] == (COMMENT,):
                stack = stack[:-1]
                delimiters.append(Delimiter(characters(max(leaf.end - 2, start)), "*/", stack, closes=True))
            comments.append((first, characters(leaf.end)))
        elif leaf.start >= start and (found := step(leaf.kind, stack)) is not None:
            stack, closes, is_stray = found
            delimiters.append(Delimiter(characters(leaf.start), leaf.kind, stack, closes, is_stray))
    return Reading(delimiters, comments)


def _window_start(before: str) -> int:
    """Where to begin to read: at the first line that surely is code, and not text in a string or comment.

    In steps, so that it stays the same while somebody types.
    """
    cut = max(len(before) - _WINDOW, 0) // _WINDOW_STEP * _WINDOW_STEP
    found = _SURELY_CODE.search(before, cut) if cut else None
    return found.start() if found else cut


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
