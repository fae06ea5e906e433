"""The brackets, quotes and comments among the leaves of a text; here without a grammar, by its characters alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from syntax.languages import language_named

COMMENT = "/*"
"""Stands for an open block comment among what is open."""

CLOSERS = {"(": ")", "[": "]", "{": "}", "${": "}", "#{": "}", "$(": ")"}
QUOTES = frozenset({'"', "'", "`", '"""', "'''"})
DELIMITERS = frozenset(CLOSERS) | frozenset(CLOSERS.values()) | QUOTES | {'f"'}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A token of the language."""

    start: int
    """In bytes, like the end."""
    end: int
    kind: str
    """A delimiter as it stands among what is open, a word that begins or ends blocks, "comment", or ""."""

    def end_without_newline(self, source: bytes) -> int:
        """Where it ends; some grammars count the newline in."""
        return self.end - source.endswith(b"\n", self.start, self.end)


_WORD = re.compile(rb"\w+(?::(?!:)|[?!])?")
_NO_KEYWORD_AFTER = (b".", b":", b"@", b"$")

ReadLeaves = Callable[[bytes, int, str], Iterator[Leaf]]
"""Finds the leaves of a text, in the language named last, that end after a byte."""


def plain_leaves(source: bytes, start: int, language: str) -> Iterator[Leaf]:
    """Without a grammar: brackets and quotes that no backslash precedes, outside of the comments of a line."""
    row = language_named(language)
    leader = row.comment.encode() if row.comment else None
    wanted = b"()[]{}\"'" if leader and row.blocks != "indentation" else b'()[]{}"'
    words = row.block_words
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
        elif words and (found := _WORD.match(source, position)):
            end = found.end()
            word = found[0].decode("ascii", "replace")
            if position >= start and word in words and source[position - 1 : position] not in _NO_KEYWORD_AFTER:
                yield Leaf(position, end, word)
        position = end


def block_words(line: str, language: str) -> list[tuple[int, str]]:
    """Words of one line that begin or end blocks, or stand between their heads and bodies, and where they stand."""
    words, quotes = language_named(language).block_words, 0
    found = []
    source = line.encode("utf-8", "replace")
    for leaf in plain_leaves(source, 0, language):
        quotes += leaf.kind in ("'", '"')
        if leaf.kind in words and not quotes % 2:
            found.append((len(source[: leaf.start].decode("utf-8", "replace")), leaf.kind))
    return found
