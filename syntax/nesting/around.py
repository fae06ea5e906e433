"""What is open at a cursor and in text after it, found in leaves: those of a grammar, or those of plain characters."""

from __future__ import annotations

from dataclasses import dataclass, field

from syntax.nesting.leaves import COMMENT, ReadLeaves
from syntax.nesting.walk import DEEPEST, Stack, at_line_end, is_quote, step, walk

_CLOSED_BY_LINE = frozenset({"'", '"', 'f"', "f'", ""})
_SHORT = 1500  # code points
_STATEMENTS_ABOVE = 2


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
    """What was found in a text after the cursor; offsets in code points from the cursor."""

    delimiters: list[Delimiter]
    comments: list[tuple[int, int]]
    """Start and end; the start is negative for a comment that the cursor stands in."""
    words: list[tuple[int, str]] = field(default_factory=list)
    """Words that begin or end blocks, or stand between their heads and bodies, where they are none of a string."""

    def open_at(self, offset: int, at_cursor: Stack) -> Stack:
        """What is open right before an offset, when `at_cursor` is at the cursor."""
        found = at_cursor
        for delimiter in self.delimiters:
            if delimiter.offset >= offset:
                break
            found = delimiter.open_after
        return found


@dataclass(frozen=True, slots=True)
class Before:
    """What was found in a text that ends at the cursor."""

    at_line_start: Stack
    """What is open where the cursor's line starts."""
    at_cursor: Stack
    """What is open at the cursor."""
    columns: tuple[int, ...]
    """How far the line is indented on which each of those was opened."""
    above: tuple[str, ...]
    """Up to two statements above the cursor's, likewise, the nearest last."""
    code: str
    """The part of the cursor's statement before the cursor, from its first line on, without comments.

    A statement in this sense begins on a line where nothing is open, or a brace is what was opened last.
    """
    in_comment: bool
    """Whether the cursor stands at the end of a comment that ends with its line."""
    short: str
    """A text after which the leaves are the same as after all of it, but 10 times faster to parse."""


def read_before(source: bytes, language: str, leaves: ReadLeaves) -> Before:
    """Read the text before the cursor, in UTF-8."""
    found = walk(source, language, leaves)
    *above, code = found.statements(source, 1 + _STATEMENTS_ABOVE)
    last = found.comments[-1] if found.comments else None
    return Before(
        at_line_start=found.at_line_start,
        at_cursor=found.at_end,
        columns=found.columns,
        above=tuple(above),
        code=code,
        in_comment=last is not None
        and last.end == len(source)
        and not source.endswith((b"*/", b"\n"))
        and not _is_in_string(found.at_end),
        short=_shortened(source[found.beginnings[-1].start :].decode("utf-8"), found.at_end),
    )


def read_after(before: bytes, generated: str, stack: Stack, language: str, leaves: ReadLeaves) -> Reading:
    """Read text that may stand after the cursor; `before`: the short text, in UTF-8; `stack`: what is open there."""
    start = len(before)
    source = before + generated.encode("utf-8", "replace")
    deepest = len(stack) + DEEPEST
    delimiters: list[Delimiter] = []
    comments: list[tuple[int, int]] = []
    words: list[tuple[int, str]] = []
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
            stack = at_line_end(stack, language)
        previous_end = leaf.end_without_newline(source)
        if leaf.kind == "comment" and not _is_in_string(stack):
            first = characters(leaf.start)
            if stack[-1:] == (COMMENT,) and source.endswith(b"*/", leaf.start, previous_end):  # not `//` in it
                stack = stack[:-1]
                delimiters.append(Delimiter(characters(max(previous_end - 2, start)), "*/", stack, closes=True))
            comments.append((first, characters(leaf.end)))
        elif leaf.kind.isalpha():
            if leaf.start >= start and not _is_in_string(stack) and stack[-1:] != (COMMENT,):
                words.append((characters(leaf.start), leaf.kind))
        elif leaf.start >= start and (found := step(leaf.kind, stack)) is not None:
            if found[2] and leaf.kind == ")" and language == "shellscript":
                continue  # of a pattern of `case`
            stack, closes, is_stray = found
            if len(stack) > deepest:
                break  # no code nests so deeply
            delimiters.append(Delimiter(characters(leaf.start), leaf.kind, stack, closes, is_stray))
    return Reading(delimiters, comments, words)


def _is_in_string(stack: Stack) -> bool:
    """Whether a string was opened last. To a grammar, what follows a quote that is not closed yet is code again."""
    return bool(stack) and is_quote(stack[-1])


def _shortened(statement: str, at_cursor: Stack) -> str:
    if len(statement) <= _SHORT:
        return statement
    start = statement.find("\n", len(statement) - _SHORT) + 1 or len(statement) - _SHORT
    opener = at_cursor[-1] if at_cursor and (at_cursor[-1] == COMMENT or is_quote(at_cursor[-1])) else ""
    return f"{opener}\n{statement[start:]}" if opener not in _CLOSED_BY_LINE else f"{opener}{statement[start:]}"
