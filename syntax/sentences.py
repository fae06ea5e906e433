"""Sentences for the user, of a length that a line of a log or a message of an editor has room for."""

from __future__ import annotations

import re

_LONGEST = 800  # code points
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shortened(sentence: str, most: int = _LONGEST) -> str:
    """Cut a sentence of more than `most` code points in its middle.

    The subject stands at the beginning, the reason at the end, and a path of up to 4,000 characters between them.
    """
    sentence = visible(sentence)
    if len(sentence) <= most:
        return sentence
    half = (most - 3) // 2
    return f"{sentence[:half]}...{sentence[-half:]}"


def visible(text: str) -> str:
    """Replace control characters, which a terminal would obey; newlines and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def reason_of(error: BaseException) -> str:
    """What an error says, in one line: that of its first cause, as what a library adds may be a page."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def is_of_the_machine(error: BaseException) -> bool:
    """Whether the machine refused memory, a file or a thread: where that happened does not help to mend it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, OSError | ImportError | MemoryError) or str(error) == "can't start new thread"
