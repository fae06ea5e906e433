"""Which brackets, quotes and comments are open at a place in a text, and in what is generated there."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from syntax.languages import has_grammar
from syntax.nesting.around import Before, Delimiter, Reading, read_after, read_before
from syntax.nesting.leaves import plain_leaves
from syntax.nesting.walk import DEEPEST, Stack
from syntax.parsing.grammar_process import GrammarProcess, NotRead

_WINDOW = 16_000  # code points; from further up, only an open string of that length would be missed
_WINDOW_STEP = 4_000
_WITHIN = 0.3  # seconds for the grammar, which takes 0.1 to 12 ms on a machine that is not overloaded
_FIRST_WITHIN = 0.5  # the first time that a language is asked about: its grammar has to be loaded
_WITHOUT = 4_000  # code points that are read where a grammar has failed: in Python, they take a few milliseconds
_SURELY_CODE = re.compile(
    r"^(?:@\w+$|@\w+[.(]|import \w+$|#include|(?:async |export |pub |public |static |final |abstract |default )*"
    r"(?:(?:def|function|func|fn|void|int|char) \w+\(|func \(|(?:class|struct|impl|interface|enum|trait) \w.*[:{]$))"
    r"|^[A-Za-z_][\w.]* = ",
    re.MULTILINE,
)

_PHP_TAG = re.compile(r"<\?(?:php\b|=)|\?>")

grammars = GrammarProcess("syntax")
"""Reads with grammars what stands around the cursor. `grammars.start()` ahead of the first request saves its start."""


_loaded: set[str] = set()


class Delimiters:
    """Follows a text that grows at its end: first what stands before the cursor, then what is generated."""

    def __init__(self, before: str, language: str) -> None:
        self._language = language
        found = _read_before(_window(before, language), language)
        self.is_whole = len(before) <= _WINDOW and len(found.at_cursor) < DEEPEST
        """Whether all of the text before the cursor was looked at."""
        self.at_line_start, self.at_cursor, self.columns = found.at_line_start, found.at_cursor, found.columns
        self.code, self.above, self.in_comment = found.code, found.above, found.in_comment
        self._short = _begun(found.short, before, language)

    @staticmethod
    def begin(before: str, language: str) -> None:
        """Have the same read in the background that is asked for soon: it takes 2 to 12 ms. Does not wait."""
        if has_grammar(language):
            grammars.begin("before", language, _window(before, language))

    def read(self, generated: str) -> Reading:
        """Read text that may stand after the cursor."""
        return _read_after(self._short, generated, self.at_cursor, self._language, grammars.lives)


def _read_before(text: str, language: str) -> Before:
    if not has_grammar(language):
        return read_before(text.encode("utf-8", "replace"), language, plain_leaves)
    try:
        return _before(_ask("before", language, text))
    except NotRead:
        return read_before(text[-_WITHOUT:].encode("utf-8", "replace"), language, plain_leaves)


@lru_cache(maxsize=16)  # the rules of one trim ask for the same
def _read_after(short: str, generated: str, stack: Stack, language: str, lives: int) -> Reading:
    """`lives` tells what was read without a grammar, before its process was there, from what is read with it."""
    if has_grammar(language):
        try:
            return _reading(_ask("after", language, short + generated, len(short), stack))
        except NotRead:
            pass
    return read_after(short.encode("utf-8", "replace"), generated, stack, language, plain_leaves)


def _ask(question: str, language: str, text: str, *more: Any) -> Any:
    within = _WITHIN if language in _loaded else _FIRST_WITHIN
    _loaded.add(language)
    return grammars.ask(question, language, text, *more, within=within)


def _before(answer: dict[str, Any]) -> Before:
    return Before(
        at_line_start=tuple(answer["at_line_start"]),
        at_cursor=tuple(answer["at_cursor"]),
        columns=tuple(answer["columns"]),
        above=tuple(answer["above"]),
        code=answer["code"],
        in_comment=answer["in_comment"],
        short=answer["short"],
    )


def _reading(answer: dict[str, Any]) -> Reading:
    delimiters = [
        Delimiter(offset, text, tuple(open_after), closes, is_stray)
        for offset, text, open_after, closes, is_stray in answer["delimiters"]
    ]
    comments = [(start, end) for start, end in answer["comments"]]
    return Reading(delimiters, comments, [(offset, word) for offset, word in answer["words"]])


def _window(before: str, language: str) -> str:
    """The end of the text before the cursor that is read."""
    start = _window_start(before)
    return _begun(before[start:], before, language) if start else before


def _begun(end: str, before: str, language: str) -> str:
    """The end of a text as its grammar takes it for code: to PHP's, all is HTML before a tag has come."""
    if language != "php" or max(before.rfind("<?php"), before.rfind("<?=")) <= before.rfind("?>"):
        return end
    first = _PHP_TAG.search(end)
    return end if first is not None and first[0] != "?>" else f"<?php\n{end}"


def _window_start(before: str) -> int:
    """Where to begin to read: at the first line that surely is code, and not text in a string or comment.

    In steps, so that it stays the same while the user types.
    """
    cut = max(len(before) - _WINDOW, 0) // _WINDOW_STEP * _WINDOW_STEP
    found = _SURELY_CODE.search(before, cut) if cut else None
    return found.start() if found else cut
