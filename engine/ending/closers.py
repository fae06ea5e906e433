"""Auto-closed pairs: brackets and strings that are open at the cursor and that the document closes after it.

Generated text that comes to such a closer must not write it a second time. It ends before the closer; or, where it
repeats all that follows the cursor on its line and goes on after it, it replaces that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from syntax import COMMENT, Delimiter, Delimiters, indentation, is_quote

_LOOK = 4000  # code points of the suffix that are looked at
_OPENERS = {")": "(", "]": "[", "}": "{"}
_PUNCTUATION = " \t)]}>;,:\"'`"


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where generated text comes to closers that the document has."""

    end: int | None
    """Where the text ends, in code points; None where it goes on."""
    replaces: int = 0
    """How many code points after the cursor the text repeats and replaces."""
    is_undecided: bool = False
    """The text so far ends in closers: what follows them decides whether it may keep them."""


class Closers:
    """What the document closes after the cursor."""

    def __init__(self, delimiters: Delimiters, *, line: str, suffix: str) -> None:
        """`line`: the cursor's line up to the cursor; `suffix`: all of the document after it."""
        self._at_cursor = delimiters.at_cursor
        ahead = suffix[:_LOOK]
        self.rest = ahead.split("\n", 1)[0].rstrip()
        """What stands after the cursor on its line."""
        self.rest_is_closers = not self.rest.strip(_PUNCTUATION)
        """Whether that is nothing but closers and punctuation, or nothing at all."""
        self._in_rest = self._closed(delimiters, self.rest)
        self.closed = self._closed(delimiters, ahead)
        """Which of the delimiters open at the cursor are closed after it: their indices in `at_cursor`."""
        innermost = self._at_cursor[-1:]
        is_text = delimiters.in_comment or innermost == (COMMENT,) or (bool(innermost) and is_quote(innermost[0]))
        opener = _OPENERS.get(self.rest[:1], "") if is_text else ""
        self._prose = opener if opener and line.count(opener) > line.count(self.rest[0]) else ""
        """In a comment or string: the bracket that its text closes after the cursor."""

    def _closed(self, delimiters: Delimiters, ahead: str) -> frozenset[int]:
        lowest = inside = len(self._at_cursor)
        for delimiter in delimiters.read(ahead).delimiters if inside and ahead else ():
            if delimiter.is_stray:
                break
            if not delimiter.closes or len(delimiter.open_after) >= lowest:
                continue
            start = ahead.rfind("\n", 0, delimiter.offset) + 1
            before = ahead[start : delimiter.offset]
            rest_of_line = ahead[delimiter.offset + len(delimiter.text.lstrip("f")) :].split("\n", 1)[0]
            if start and is_quote(delimiter.text) and not before.strip(" \trbufRBUF") and rest_of_line.strip():
                break  # further down, a string begins: this one has no end
            if delimiter.text == "*/" and COMMENT in ahead[: delimiter.offset]:
                break
            if start and not before.strip() and delimiters.columns[lowest - 1] > indentation(before):
                # closes what was opened further out; what was opened last has no end
                outer = [depth for depth in range(lowest) if delimiters.columns[depth] <= indentation(before)]
                return frozenset(range(lowest, inside)) | frozenset(range(outer[-1] + 1 if outer else 0))
            lowest = len(delimiter.open_after)
        return frozenset(range(lowest, inside))

    def meet(self, generated: str, found: list[Delimiter], *, is_all: bool) -> Meeting:
        """Look for the first closer in generated text that the document has, or that closes nothing at all.

        `is_all`: nothing will follow this text.
        """
        if self._prose and (offset := _unmatched(generated, self._prose, self.rest[0])) is not None:
            return self._at_rest(generated, offset, is_all=is_all)
        inside = len(self._at_cursor)
        across = passed = 0
        for delimiter in found:
            if delimiter.offset < passed:
                inside = min(inside, len(delimiter.open_after))
                continue
            if delimiter.is_stray:
                return Meeting(delimiter.offset, across)
            if not delimiter.closes or len(delimiter.open_after) >= inside:
                continue
            inside = len(delimiter.open_after)
            if inside not in self.closed:
                continue
            if across or inside not in self._in_rest or not self.rest_is_closers:
                return Meeting(delimiter.offset, across)
            meeting = self._at_rest(generated, delimiter.offset, is_all=is_all)
            if meeting.end is not None:
                return meeting
            across = meeting.replaces
            passed = delimiter.offset + len(self.rest.lstrip())
        return Meeting(None, across)

    def _at_rest(self, generated: str, offset: int, *, is_all: bool) -> Meeting:
        """Compare text from its first closer on with what stands after the cursor."""
        closers = self.rest.lstrip()
        rest = generated[offset:]
        agreed = _common(rest, closers)
        is_whole = agreed == len(closers)
        goes_on = rest[agreed:].split("\n", 1)[0].strip()
        if is_whole and goes_on:
            return Meeting(None, len(self.rest))
        undecided = not is_all and (agreed == len(rest) or (is_whole and "\n" not in rest))
        if agreed and "\n" in generated[:offset]:  # a closer on a line of its own replaces the other one
            skipped = len(self.rest) - len(closers)
            return Meeting(offset + agreed, skipped + agreed, is_undecided=undecided)
        return Meeting(offset, is_undecided=undecided)


@lru_cache(maxsize=8)
def look_around(prefix: str, suffix: str, language: str) -> tuple[Delimiters, Closers]:
    """What is open at a cursor, and what the document closes after it.

    Cached, since the policy and the trim of one suggestion ask for the same: reading a window of the document and
    walking its leaves takes as long as a decode step.
    """
    delimiters = Delimiters(prefix, language)
    return delimiters, Closers(delimiters, line=prefix[prefix.rfind("\n") + 1 :], suffix=suffix)


def _unmatched(text: str, opener: str, closer: str) -> int | None:
    """Where a closer stands that has no opener before it."""
    depth = 0
    for offset, character in enumerate(text):
        depth += (character == opener) - (character == closer)
        if depth < 0:
            return offset
    return None


def _common(one: str, other: str) -> int:
    """How many code points two texts have in common at their start."""
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
