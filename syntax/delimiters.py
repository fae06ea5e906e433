"""Which brackets, quotes and comments are open at a place in a text, by the leaves of its syntax tree.

A tree-sitter tree of unfinished code is full of errors, but its leaves are the language's tokens all the same: a
bracket in a string or a comment is no bracket leaf. That is all that is needed here, and it holds while somebody types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import tree_sitter

from syntax.languages import language_named, parser_for
from syntax.statements import indentation

COMMENT = "/*"
"""Stands for an open block comment among what is open."""

_CLOSERS = {"(": ")", "[": "]", "{": "}", "${": "}", "#{": "}"}
_QUOTES = frozenset({'"', "'", "`", '"""', "'''"})
_MULTILINE = frozenset({"`", '"""', "'''"})
_CLOSED_BY_LINE = frozenset({"'", '"', 'f"', "f'", ""})
_SHORT = 1500  # code points
_STATEMENTS_ABOVE = 2
_WINDOW = 16_000  # code points; from further up, only an open string of that length would be missed
_SURELY_CODE = re.compile(
    r"^(?:@\w+$|@\w+[.(]|import \w+$|#include|(?:async |export |pub |public |static |final |abstract |default )*"
    r"(?:(?:def|function|func|fn|void|int|char) \w+\(|func \(|(?:class|struct|impl|interface|enum|trait) \w+.*[:{]$))"
    r"|^[A-Za-z_][\w.]* = ",
    re.MULTILINE,
)

Stack = tuple[str, ...]
"""What is open, the innermost last: opening brackets and quotes (an `f` before those of f-strings), or COMMENT."""


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


@dataclass(frozen=True, slots=True)
class _Leaf:
    start: int  # bytes
    end: int
    kind: str  # a delimiter as it stands in a Stack, "comment", or ""


@dataclass(frozen=True, slots=True)
class _Before:
    """What matters of the text before the cursor; see Delimiters."""

    at_line_start: Stack
    at_cursor: Stack
    columns: tuple[int, ...]
    statement: str
    code: str
    above: tuple[str, ...]
    in_comment: bool


class Delimiters:
    """Follows a text that grows at its end: first what stands before the cursor, then what is generated."""

    def __init__(self, before: str, language: str) -> None:
        self._language = language
        found = _read_before(before[_window_start(before) :], language)
        self.is_whole = len(before) <= _WINDOW
        """Whether all of the text before the cursor was looked at."""
        self.at_line_start = found.at_line_start
        """What is open where the cursor's line starts."""
        self.at_cursor = found.at_cursor
        """What is open at the cursor."""
        self.columns = found.columns
        """How far the line is indented on which each of those was opened."""
        self.code = found.code
        """The cursor's statement as far as it stands before the cursor, from its first line on, without comments.

        A statement in this sense begins on a line where nothing is open, or a brace is what was opened last.
        """
        self.above = found.above
        """Up to two statements above it, likewise, the nearest last."""
        self.in_comment = found.in_comment
        """Whether the cursor stands at the end of a comment that ends with its line."""
        self._before = _encoded(_shortened(found.statement, found.at_cursor))

    def read(self, generated: str) -> Reading:
        """Walk over text that may stand behind the cursor."""
        return _read(self._before, generated, self.at_cursor, self._language)


@lru_cache(maxsize=8)  # the policy and the trim of one suggestion ask for the same
def _read_before(window: str, language: str) -> _Before:
    source = _encoded(window)
    stack: Stack = ()
    previous_end = 0
    at_line_start = stack
    columns: tuple[int, ...] = ()
    statements = [0]
    comments: list[_Leaf] = []
    for leaf in (*_leaves(source, 0, language), _Leaf(len(source), len(source), "")):
        if newline := source.rfind(b"\n", previous_end, leaf.start) + 1:
            stack = at_line_start = at_line_end(stack)
            if _may_begin_statement(stack):
                statements.append(newline)
        step = _step(leaf.kind, stack)
        if step is not None:
            columns = columns[: len(stack)]
            stack = step[0]
            if len(stack) > len(columns):
                columns = (*columns, _indentation_at(source, leaf.start))
            columns = columns[: len(stack)]
        if leaf.kind == "comment":
            comments.append(leaf)
        previous_end = _without_newline(leaf, source)
        if b"\n" in source[leaf.start : previous_end]:  # a comment or string of several lines
            at_line_start = stack
    *above, code = [
        _without(comments, source, start, end)
        for start, end in pairwise([*statements[-1 - _STATEMENTS_ABOVE :], len(source)])
    ]
    last = comments[-1] if comments else None
    in_comment = last is not None and last.end == len(source) and not source.endswith((b"*/", b"\n"))
    statement = source[statements[-1] :].decode("utf-8")
    return _Before(at_line_start, stack, columns[: len(stack)], statement, code, tuple(above), in_comment)


def _indentation_at(source: bytes, position: int) -> int:
    start = source.rfind(b"\n", 0, position) + 1
    return indentation(source[start:position].decode("utf-8", "replace"))


def _without(comments: list[_Leaf], source: bytes, start: int, end: int) -> str:
    """Decode a part of the source without the comments in it."""
    parts, position = [], start
    for comment in comments:
        if start <= comment.start < end:
            parts.append(source[position : comment.start])
            position = _without_newline(comment, source)
    return b"".join([*parts, source[position:end]]).decode("utf-8")


def _shortened(statement: str, at_cursor: Stack) -> str:
    """Text behind which the leaves are the same, but 10 times faster to parse."""
    if len(statement) <= _SHORT:
        return statement
    start = statement.find("\n", len(statement) - _SHORT) + 1 or len(statement) - _SHORT
    opener = at_cursor[-1] if at_cursor and (at_cursor[-1] == COMMENT or is_quote(at_cursor[-1])) else ""
    return f"{opener}\n{statement[start:]}" if opener not in _CLOSED_BY_LINE else f"{opener}{statement[start:]}"


def _without_newline(leaf: _Leaf, source: bytes) -> int:
    """Where a leaf ends; some grammars count the newline in."""
    return leaf.end - source.endswith(b"\n", leaf.start, leaf.end)


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
    for leaf in _leaves(source, start, language):
        if source.find(b"\n", previous_end, leaf.start) >= 0:
            stack = at_line_end(stack)
        previous_end = _without_newline(leaf, source)
        if leaf.kind == "comment":
            first = characters(leaf.start)
            if stack[-1:] == (COMMENT,):
                stack = stack[:-1]
                delimiters.append(Delimiter(characters(max(leaf.end - 2, start)), "*/", stack, closes=True))
            comments.append((first, characters(leaf.end)))
        elif leaf.start >= start and (step := _step(leaf.kind, stack)) is not None:
            stack, closes, is_stray = step
            delimiters.append(Delimiter(characters(leaf.start), leaf.kind, stack, closes, is_stray))
    return Reading(delimiters, comments)


def _step(kind: str, stack: Stack) -> tuple[Stack, bool, bool] | None:
    """Pass a leaf: what is open behind it, whether it closes, whether it is stray. None where it changes nothing."""
    top = stack[-1] if stack else ""
    if kind in ("", "comment") or top == COMMENT:
        return None
    if is_quote(top):
        if kind.lstrip("f") == top.lstrip("f"):
            return stack[:-1], True, False
        if kind in ("${", "#{") or (kind == "{" and top.startswith("f")):
            return (*stack, kind), False, False
        return None  # text: unfinished strings have leaves like code
    if kind in _CLOSERS or is_quote(kind) or kind == COMMENT:
        return (*stack, kind), False, False
    if _CLOSERS.get(top) == kind:
        return stack[:-1], True, False
    return stack, True, True


def _may_begin_statement(stack: Stack) -> bool:
    return not stack or (stack[-1] == "{" and not any(is_quote(token) for token in stack))


def _window_start(before: str) -> int:
    """Where to begin to read: at the first line that surely is code, and not text in a string or comment."""
    cut = max(len(before) - _WINDOW, 0)
    found = _SURELY_CODE.search(before, cut) if cut else None
    return found.start() if found else cut


def _leaves(source: bytes, start: int, language: str) -> Iterator[_Leaf]:
    """The leaves of a text that end behind byte `start`."""
    parser = parser_for(language)
    return _tree_leaves(parser.parse(source), source, start) if parser else _plain_leaves(source, start, language)


def _tree_leaves(tree: tree_sitter.Tree, source: bytes, start: int) -> Iterator[_Leaf]:
    pending = [tree.root_node]
    while pending:
        node = pending.pop()
        first, last = node.start_byte, node.end_byte
        if last <= start or first == last:
            continue
        kind = node.type
        if kind.endswith("comment"):
            is_open = source.startswith(b"/*", first) and not (last - first > 3 and source.endswith(b"*/", first, last))
            yield _Leaf(first, last, COMMENT if is_open else "comment")
        elif node.child_count:
            pending.extend(reversed(node.children))
        elif source.startswith(b"/*", first):
            yield _Leaf(first, last, COMMENT)  # no comment, because it has no end yet
        elif kind in ("string_start", "string_end"):
            written = source[first:last].decode("utf-8", "replace").lower()
            quote = written.lstrip("rbuft")
            yield _Leaf(first, last, f"f{quote}" if {"f", "t"} & set(written) and quote in _QUOTES else quote)
        elif kind == "'" and node.parent is not None and node.parent.type in ("lifetime", "label"):
            yield _Leaf(first, last, "")
        elif kind in _DELIMITERS:
            yield _Leaf(first, last, kind)
        else:
            is_prefixed_quote = kind[-1:] in ('"', "'") and kind[:-1].isalnum()  # such as C's L"
            yield _Leaf(first, last, kind[-1] if is_prefixed_quote else "")


_DELIMITERS = frozenset(_CLOSERS) | frozenset(_CLOSERS.values()) | _QUOTES | {'f"'}


def _plain_leaves(source: bytes, start: int, language: str) -> Iterator[_Leaf]:
    """Where there is no grammar: brackets and quotes that no backslash precedes, outside of the comments of a line."""
    row = language_named(language)
    leader = row.comment.encode() if row.comment else None
    wanted = b"()[]{}\"'" if leader and row.blocks != "indentation" else b'()[]{}"'
    quote, position = 0, 0
    while position < len(source):
        byte = source[position]
        end = position + 1
        if byte == 0x5C:
            end += 1
        elif byte == 0x0A:
            quote = 0
        elif leader and not quote and source.startswith(leader, position):
            if position == 0 or source[position - 1] in b" \t\n":
                end = source.find(b"\n", position)
                end = len(source) if end < 0 else end
                if end > start:
                    yield _Leaf(position, end, "comment")
        elif byte in wanted:
            if byte in b"\"'":
                quote = 0 if quote == byte else quote or byte
            if position >= start:
                yield _Leaf(position, end, chr(byte))
        position = end


def at_line_end(stack: Stack) -> Stack:
    """What stays open behind a line's end, which ends a string that cannot go on over it."""
    for depth, token in enumerate(stack):
        if is_quote(token) and token.lstrip("f") not in _MULTILINE:
            return stack[:depth]
    return stack


def is_quote(token: str) -> bool:
    """Whether an open delimiter is a quote."""
    return token.lstrip("f") in _QUOTES  # Python's f-strings keep their letter: braces in them are code


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
