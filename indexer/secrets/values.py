"""Whether a value looks random, like a key, chosen by a person, like a password, or like ordinary words."""

from __future__ import annotations

import re
from itertools import pairwise

from indexer.secrets.rules import PLACEHOLDER

# A letter, and the letters that often follow it: 89% of the pairs of letters in English words, as counted in the names
# and comments of Python's standard library.
_FOLLOWING = """
aabcdgilmnprstuxy baeilorsu cacehiklorstu dadefiorstu eabcdefgilmnpqrstvwx faefilortu gaehinrs haeio iabcdefglmnoprstvz
kei ladeilostuy mabeimopsu nacdefginostuv obcdgiklmnoprstuvw paehiloprstuy qu racdegilmnoprstuy sacehilopstuy
tacehiloprstuy uabceilmnprst vaei waei xpt yps ze
"""
_USUAL = frozenset(
    first + second
    for row in _FOLLOWING.split()
    for following in row[1:]
    for first, second in (
        (row[0], following),
        (row[0].upper(), following),
        (row[0].upper(), following.upper()),
    )
)
_MOST_USUAL, _MOST_USUAL_LETTERS = 0.5, 0.42
"""Largest shares of usual pairs in random text; the second is for text without digits. Random text has 0.2 (0.15 more
or less in 8 characters), names and sentences have 0.6 and more."""
_FEWEST_DIFFERENT = 5  # characters
_LONG = 8  # characters of a password of small letters and digits
_FEWEST_PAIRS = 4
_FEWEST_LETTERS = 10  # of a value without digits
_SEPARATORS = frozenset("_-./:, @\\")
_DIGIT = re.compile(r"\d")
_HEXADECIMAL = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
_LETTER = re.compile(r"[^\W\d_]")
_MARK = re.compile(r"[!@#$%^&*?+=~]")
_FOR_PROGRAMS = re.compile(r"[a-z]{4}(?: [a-z]{4}){3}")  # Google's passwords for applications
_DATE = re.compile(r"\d{4}-\d\d-\d\d|v?\d+(?:\.\d+){1,3}\b")
_WORDS_WITH_NUMBERS = re.compile(r"(?:[A-Za-z]{3,}\d{0,4}[-_./: ]+)+[A-Za-z]*\d{0,4}")


def usual_share(text: str) -> float:
    """Share of neighbouring characters that are usual in words: usual letters, repeated or successive characters.

    Pairs of digits, and pairs with a separator, do not count. 1 if too few pairs count.
    """
    usual = counted = 0
    for first, second in pairwise(text):
        if first in _SEPARATORS or second in _SEPARATORS:
            continue
        if first + second in _USUAL or first == second or ord(second) - ord(first) == 1:
            usual += not first.isdigit()
            counted += not first.isdigit()
        elif not (first.isdigit() and second.isdigit()):
            counted += 1
    return usual / counted if counted >= _FEWEST_PAIRS else 1.0


def looks_random(text: str) -> bool:
    """Whether text looks like the output of a generator, not like words, numbers or repetitions."""
    if len(set(text)) < _FEWEST_DIFFERENT:
        return False
    if _DIGIT.search(text) is None:
        is_mixed = text != text.lower() and text != text.upper()
        return is_mixed and len(text) >= _FEWEST_LETTERS and usual_share(text) < _MOST_USUAL_LETTERS
    if _HEXADECIMAL.fullmatch(text) is not None:
        return not text.isdigit()
    if len(_LETTER.findall(text, 0, 64)) < 2 or _DATE.match(text) is not None:
        return False
    return usual_share(text) < _MOST_USUAL


def looks_chosen(text: str) -> bool:
    """Whether text looks like a chosen password: letters and digits, with marks, in both cases, or long."""
    if _FOR_PROGRAMS.fullmatch(text) is not None:
        return True
    if len(set(text)) < _FEWEST_DIFFERENT or not _DIGIT.search(text) or not _LETTER.search(text) or " " in text:
        return False
    if text != text.lower() and text != text.upper():
        return _WORDS_WITH_NUMBERS.fullmatch(text) is None
    return _MARK.search(text) is not None or (len(text) >= _LONG and text.isalnum())


def is_placeholder(text: str) -> bool:
    """Whether text is a placeholder for a secret, a template, a path or a pattern."""
    return (
        len(set(text)) < _FEWEST_DIFFERENT - 1
        or PLACEHOLDER.search(text.lower() if text.isupper() else text) is not None
    )


def is_judged(text: str, judged: str) -> bool:
    """Whether text meets a rule's condition: `random`, `password`, `chosen` (no placeholder), or none."""
    if judged == "random":
        return looks_random(text)
    if judged == "password":
        return not is_placeholder(text) and (looks_random(text) or looks_chosen(text))
    return judged != "chosen" or not is_placeholder(text)
