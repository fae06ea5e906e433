"""Sentences for the user, of a length that a line of a log or a message of an editor has room for."""

from __future__ import annotations

_LONGEST = 800  # code points


def shortened(sentence: str, most: int = _LONGEST) -> str:
    """Leave out the middle of a sentence that is too long: it begins with what it is about and ends with the reason.

    Between them stands a path, which may have 4,000 characters.
    """
    if len(sentence) <= most:
        return sentence
    half = (most - 3) // 2
    return f"{sentence[:half]}...{sentence[-half:]}"
