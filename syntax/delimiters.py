"""Which brackets and quotes are open at a place in a text, by the leaves of its syntax tree.

A tree-sitter tree of unfinished code is full of errors, but its leaves are the language's tokens all the same: a
bracket in a string or a comment is no bracket leaf. That is all that is needed here, and it holds while somebody types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from syntax.languages import parser_for

_CLOSERS = {"(": ")", "[": "]", "{": "}", "${": "}", "#{": "}"}
_QUOTES = frozenset({'"', "'", "`", '"""', "'''"})
_MULTILINE = frozenset({"`", '"""', "'''"})
_WINDOW = 24_000  # code points; from further up, only an open string of that length would be missed


@dataclass(frozen=True, slots=True)
class Delimiter:
    """A bracket or quote in the text that was walked over."""

    offset: int
    """In code points from the start of that text."""
    text: str
    open_after: tuple[str, ...]
    """What is open behind it, the innermost last: opening brackets and quotes (an `f` before those of f-strings)."""
    closes: bool
    is_stray: bool = False
    """A closer of nothing: broken code, or something opened above the window that is looked at."""


class Delimiters:
    """Follows a text that grows at its end: first what stands before the cursor, then what is generated."""

    def __init__(self, before: str, language: str) -> None:
        self._parser = parser_for(language)
        window = before[_window_start(before) :]
        self._source = _encoded(window)
        self._tree = self._parser.parse(self._source) if self._parser else None
        self._start = len(self._source)
        self.is_whole = len(before) <= _WINDOW
        """Whether all of the text before the cursor was looked at."""
        line_start = window.rfind("\n") + 1
        self.at_line_start: tuple[str, ...] = ()
        """What is open where the cursor's line starts."""
        self.at_cursor: tuple[str, ...] = ()
        """What is open at the cursor."""
        for delimiter in self._walk(0, ()):
            if delimiter.offset < line_start:
                self.at_line_start = delimiter.open_after
            self.at_cursor = delimiter.open_after
        self.at_line_start = at_line_end(self.at_line_start)
        if window[line_start:] == "":
            self.at_cursor = at_line_end(self.at_cursor)

    def in_generated(self, generated: str) -> list[Delimiter]:
        """Walk over generated text, which must begin with what was passed the last time."""
        source = self._source[: self._start] + _encoded(generated)
        if self._parser is not None and self._tree is not None:
            old, new = len(self._source), len(source)
            same = old if source.startswith(self._source) else self._start
            point = (0, 0)  # rows and columns are not read
            self._tree.edit(same, old, new, point, point, point)
            self._tree = self._parser.parse(source, self._tree)
        self._source = source
        return list(self._walk(self._start, self.at_cursor))

    def _walk(self, start: int, stack: tuple[str, ...]) -> Iterator[Delimiter]:
        """Yield the delimiters from byte `start` on."""
        source, line = self._source, start
        decoded, characters = start, 0
        tokens = _leaf_tokens(self._tree, source, start) if self._tree else _plain_tokens(source, start)
        for position, token in tokens:
            if b"\n" in source[line:position]:
                stack, line = at_line_end(stack), position
            top, is_stray, closes = stack[-1] if stack else "", False, True
            if is_quote(top):
                if token.lstrip("f") == top.lstrip("f"):
                    stack = stack[:-1]
                elif token in ("${", "#{") or (token == "{" and top.startswith("f")):
                    stack, closes = (*stack, token), False
                else:
                    continue  # text: unfinished strings have leaves like code
            elif token in _CLOSERS or is_quote(token):
                stack, closes = (*stack, token), False
            elif _CLOSERS.get(top) == token:
                stack = stack[:-1]
            else:
                is_stray = True
            characters += len(source[decoded:position].decode("utf-8", "replace"))
            decoded = position
            yield Delimiter(characters, token, stack, closes, is_stray)


def _window_start(before: str) -> int:
    """Where to begin to read: at the first line that begins in column 0, most likely outside of strings."""
    start = cut = max(len(before) - _WINDOW, 0)
    while cut and (start := before.find("\n", start) + 1):
        if before[start : start + 1].isalpha() or before[start : start + 1] in ("@", "_"):
            return start
    return cut


def _leaf_tokens(tree: tree_sitter.Tree, source: bytes, start: int) -> Iterator[tuple[int, str]]:
    """Delimiters among the leaves from byte `start` on, in order."""
    pending = [tree.root_node]
    while pending:
        node = pending.pop()
        if node.end_byte <= start:
            continue
        if node.child_count:
            pending.extend(reversed(node.children))
        elif node.start_byte >= start and not node.is_missing:
            kind = node.type
            if kind in ("string_start", "string_end"):
                written = source[node.start_byte : node.end_byte].decode("utf-8", "replace").lower()
                quote = written.lstrip("rbuft")
                kind = f"f{quote}" if quote in _QUOTES and {"f", "t"} & set(written) else quote
            if kind == "'" and node.parent is not None and node.parent.type in ("lifetime", "label"):
                continue
            if kind in _CLOSERS or is_quote(kind) or kind in (")", "]", "}"):
                yield node.start_byte, kind


def _plain_tokens(source: bytes, start: int) -> Iterator[tuple[int, str]]:
    """Where there is no grammar: every bracket and double quote that no backslash precedes."""
    for position in range(start, len(source)):
        token = chr(source[position])
        if token in '()[]{}"' and (position == 0 or source[position - 1] != 0x5C):
            yield position, token


def at_line_end(stack: tuple[str, ...]) -> tuple[str, ...]:
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
