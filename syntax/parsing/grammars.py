"""The grammars themselves, which are native code that any text may bring down or hold up for minutes.

So only processes that may die import this module: the one of `grammar_process.py`, the index's readers, and what
trains and measures.
"""

from __future__ import annotations

import threading
import time
from functools import cache
from importlib import import_module

import tree_sitter

from syntax.languages import language_named


class TooSlow(Exception):
    """A text took longer than it may."""


def parser_for(name: str) -> tree_sitter.Parser | None:
    """Find this thread's parser for a language, made on first need; None where no grammar is installed."""
    grammar = language_named(name).grammar
    if grammar is None:
        return None
    parsers: dict[str, tree_sitter.Parser] = _of_this_thread.__dict__.setdefault("parsers", {})
    if grammar not in parsers:
        loaded = _load(grammar)
        if loaded is None:
            return None
        parsers[grammar] = tree_sitter.Parser(loaded)
    return parsers[grammar]


def grammar_of(name: str) -> tree_sitter.Language | None:
    """Load the grammar of a language on first need; None where none is installed."""
    grammar = language_named(name).grammar
    return _load(grammar) if grammar is not None else None


def allow(seconds: float) -> None:
    """From now on, let this process parse and search trees for so many seconds of its own time."""
    global _until
    _until = time.process_time() + seconds


def is_late(*_: object) -> bool:
    """Whether that time is over. A parser asks thousands of times a second; a scanner that hangs never does.

    Queries cannot be given it: tree-sitter 0.26 crashes with any progress callback of a query.
    """
    return time.process_time() > _until


def parse(parser: tree_sitter.Parser, source: bytes, old: tree_sitter.Tree | None = None) -> tree_sitter.Tree:
    """Parse a text. Raises TooSlow when the time that was allowed is over."""
    is_parsed = False

    def read(offset: int, point: tree_sitter.Point) -> bytes | bytearray:
        piece = source[offset : offset + _PIECE]
        return piece if is_parsed else _lent(piece)  # a query, which asks for a node's text, takes bytes alone

    try:
        if old is None:
            return parser.parse(read, progress_callback=is_late)
        return parser.parse(read, old, progress_callback=is_late)
    except ValueError:
        parser.reset()
        raise TooSlow from None
    finally:
        is_parsed = True


def _lent(piece: bytes) -> bytearray:
    """Copy a piece of a text into one buffer of this thread, and return that buffer.

    A parser has read a piece before it asks for the next. tree-sitter 0.26.1 leaks a reference to each object that it
    is given: with a new object for each piece, a process would lose the size of the text at each keystroke.
    """
    lent: bytearray = _of_this_thread.__dict__.setdefault("lent", bytearray())
    try:
        lent[:] = piece
    except BufferError:  # it still holds the piece before
        lent = _of_this_thread.lent = bytearray(piece)
    return lent


@cache
def _load(grammar: str) -> tree_sitter.Language | None:
    module, function = grammar.split(":")
    try:
        return tree_sitter.Language(getattr(import_module(module), function)())
    except ImportError:
        return None


_until = float("inf")
_PIECE = 1 << 16  # bytes
_of_this_thread = threading.local()  # a parser has a state of its own, and reads from memory of its own
