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
