"""The leaves of a syntax tree as far as brackets, quotes and comments go.

A tree-sitter tree of unfinished code is full of errors, but its leaves are the language's tokens all the same: a
bracket in a string or a comment is no bracket leaf. That is all that is needed here, and it holds while somebody types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from syntax.languages import language_named, parser_for

COMMENT = "/*"
"""Stands for an open block comment among what is open."""

CLOSERS = {"(": ")", "[": "]", "{": "}", "${": "}", "#{": "}"}
QUOTES = frozenset({'"', "'", "`", '"""', "'''"})
_DELIMITERS = frozenset(CLOSERS) | frozenset(CLOSERS.values()) | QUOTES | {'f"'}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A token of the language."""

    start: int
    """In bytes, like the end."""
    end: int
    kind: str
    """A delimiter as it stands among what is open, "comment", or ""."""

    def end_without_newline(self, source: bytes) -> int:
        """Where it ends; some grammars count the newline in."""
        return self.end - source.endswith(b"\n", self.start, self.end)


def leaves(source: bytes, start: int, language: str) -> Iterator[Leaf]:
    """The leaves of a text that end behind byte `start`."""
    parser = parser_for(language)
    return _tree_leaves(parser.parse(source), source, start) if parser else _plain_leaves(source, start, language)


def _tree_leaves(tree: tree_sitter.Tree, source: bytes, start: int) -> Iterator[Leaf]:
    pending = [tree.root_node]
    while pending:
        node = pending.pop()
        first, last = node.start_byte, node.end_byte
        if last <= start or first == last:
            continue
        kind = node.type
        if kind.endswith("comment"):
            is_open = source.startswith(b"/*", first) and not (last - first > 3 and source.endswith(b"*/", first, last))
            yield Leaf(first, last, COMMENT if is_open else "comment")
        elif node.child_count:
            pending.extend(reversed(node.children))
        elif source.startswith(b"/*", first):
            yield Leaf(first, last, COMMENT)  # no comment, because it has no end yet
        elif kind in ("string_start", "string_end"):
            written = source[first:last].decode("utf-8", "replace").lower()
            quote = written[-3:] if written[-3:] in QUOTES else written[-1:]
            if kind == "string_start":
                yield Leaf(first, last, f"f{quote}" if {"f", "t"} & set(written) else quote)
            else:  # the end of a raw string takes in backslashes before it
                yield Leaf(last - len(quote), last, quote)
        elif kind == "'" and node.parent is not None and node.parent.type in ("lifetime", "label"):
            yield Leaf(first, last, "")
        elif kind in _DELIMITERS:
            yield Leaf(first, last, kind)
        else:
            is_prefixed_quote = kind[-1:] in ('"', "'") and kind[:-1].isalnum()  # such as C's L"
            yield Leaf(first, last, kind[-1] if is_prefixed_quote else "")


def _plain_leaves(source: bytes, start: int, language: str) -> Iterator[Leaf]:
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
                    yield Leaf(position, end, "comment")
        elif byte in wanted:
            if byte in b"\"'":
                quote = 0 if quote == byte else quote or byte
            if position >= start:
                yield Leaf(position, end, chr(byte))
        position = end
