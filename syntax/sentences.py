"""Sentences for the user, of a length that a line of a log or a message of an editor has room for."""

from __future__ import annotations

_LONGEST = 800  # code points


def shortened(sentence: str, most: int = _LONGEST) -> str:
    """Cut a sentence of more than `most` code points in its middle.

    The subject stands at the beginning, the reason at the end, and a path of up to 4,000 characters between them.
    """
    if len(sentence) <= most:
        return sentence
    half = (most - 3) // 2
    return f"{sentence[:half]}...{sentence[-half:]}"


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
