"""The one who types: which key comes next, what the editor does with it, and when a suggestion is taken.

Pure functions over a `Page`; `evaluation.typing` lets them act in real time. The typist knows the text that has to be
there in the end, types it key by key, and never corrects: a wrong suggestion is typed over.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import Literal

Assistance = Literal["none", "indent", "brackets"]
"""What the editor does by itself: nothing, indentation after Enter, or that and closing brackets."""

Part = Literal["whole", "line", "word"]

REACTION = 0.25  # seconds that a suggestion has to stand there before it is taken
_CHARACTERS_A_WORD = 5  # of "words a minute"
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
_LINE = re.compile(r"\n*[^\n]*")
_CLOSERS = {"(": ")", "[": "]", "{": "}"}
_CLOSES_BEFORE = ";:.,=}])> \n\t"  # an editor adds a closer only in front of these, or at the end
_LEVEL = 4  # columns


@dataclass(frozen=True, slots=True)
class Page:
    """A document with a cursor in it, and the text that the typist is writing there."""

    before: str
    """Everything before the cursor."""
    after: str
    """Everything after it."""
    target: str
    """The whole text to be written at this place."""
    written: int = 0
    """How much of it stands before the cursor."""
    waiting: tuple[int, ...] = ()
    """Which characters of it the editor has put after the cursor already, as indices in `target`."""

    @property
    def rest(self) -> str:
        """What is still to come, characters that wait after the cursor included."""
        return self.target[self.written :]


def press(page: Page, assistance: Assistance = "none") -> tuple[Page, int]:
    """Press the next key; returns the page and how many keys that took (two where the editor has to be corrected)."""
    character = page.target[page.written]
    if page.waiting[:1] == (page.written,):
        return _step_over(page), 1
    if assistance == "none":
        return _insert(page, character), 1
    if character == "\n":
        return _enter(page, assistance)
    if assistance == "brackets" and character in _CLOSERS and page.after[:1] in ("", *_CLOSES_BEFORE):
        partner = partners(page.target).get(page.written)
        page = _insert(page, character)
        if partner is not None:
            page = replace(page, after=page.target[partner] + page.after, waiting=(partner, *page.waiting))
        return page, 1
    indentation = len(page.rest) - len(page.rest.lstrip(" "))
    column = len(page.before) - page.before.rfind("\n") - 1
    if indentation > 1 and not page.before[len(page.before) - column :].strip():
        return _insert(page, " " * min(indentation, _LEVEL - column % _LEVEL)), 1  # the Tab key
    return _insert(page, character), 1


def accept(page: Page, text: str, replaces: int = 0) -> Page | None:
    """Put a suggestion's text in; None where it is not what has to be written.

    `replaces`: how many characters after the cursor it replaces.
    """
    end = page.written + len(text)
    covered = sum(index < end for index in page.waiting)
    if not text or not page.rest.startswith(text) or covered != replaces:
        return None
    return replace(
        page,
        before=page.before + text,
        after=page.after[replaces:],
        written=end,
        waiting=page.waiting[covered:],
    )


def parts(text: str) -> list[tuple[Part, str]]:
    """What of a suggestion can be taken with one key: all of it, its first line, its first word; longest first."""
    line, word = _LINE.match(text), _WORD.match(text)
    found: list[tuple[Part, str]] = [("whole", text)]
    if line is not None and len(line[0]) < len(text):
        found.append(("line", line[0]))
    if word is not None and len(word[0]) < len(found[-1][1]):
        found.append(("word", word[0]))
    return found


def take(page: Page, text: str, replaces: int = 0) -> tuple[Part, str, Page] | None:
    """The longest part of a suggestion that is right and saves a key; None where there is none."""
    for part, piece in parts(text):
        if len(piece) > 1 and (after := accept(page, piece, replaces if part == "whole" else 0)) is not None:
            return part, piece, after
    return None


def starts_wrong(page: Page, text: str) -> bool:
    """Whether not even the first word of a suggestion is right."""
    return not page.rest.startswith(parts(text)[-1][1])


def keys_alone(page: Page, assistance: Assistance) -> int:
    """How many keys the text takes without any suggestion."""
    keys = 0
    while page.rest:
        page, pressed = press(page, assistance)
        keys += pressed
    return keys


def pauses(text: str, *, words_a_minute: float, seed: str) -> list[float]:
    """Seconds before each character of a text: on average as many as the speed says, the same for the same seed.

    Within a word fingers are fast, at its start slower, and a new line takes a thought; around that, pauses scatter
    log-normally, as keystroke logs do (Dhakal et al., "Observations on Typing from 136 Million Keystrokes", 2018).
    """
    chance = random.Random(seed)
    weights = []
    for index, character in enumerate(text):
        previous = text[index - 1] if index else "\n"
        weight = 2.5 if previous == "\n" else 0.85 if character.isalnum() and previous.isalnum() else 1.2
        weights.append(weight * chance.lognormvariate(0, 0.4))
    mean = 60 / (words_a_minute * _CHARACTERS_A_WORD)
    return [weight * mean * len(text) / sum(weights) for weight in weights]


def partners(text: str) -> dict[int, int]:
    """By the index of each bracket that is closed, the index of its closer; brackets in strings are counted, too."""
    closed: dict[int, int] = {}
    open_: list[int] = []
    for index, character in enumerate(text):
        if character in _CLOSERS:
            open_.append(index)
        elif open_ and character == _CLOSERS[text[open_[-1]]]:
            closed[open_.pop()] = index
    return closed


def _insert(page: Page, text: str) -> Page:
    return replace(page, before=page.before + text, written=page.written + len(text))


def _step_over(page: Page) -> Page:
    """Over what the editor has put there: a closer by typing it, the end of a line and indentation by one key."""
    count = 1
    if page.target[page.written] == "\n":
        while page.waiting[count : count + 1] == (page.written + count,) and page.target[page.written + count] == " ":
            count += 1
    page = replace(page, after=page.after[count:], waiting=page.waiting[count:])
    return _insert(page, page.rest[:count])


def _enter(page: Page, assistance: Assistance) -> tuple[Page, int]:
    """Enter, and then what the editor makes of it: indentation as the line above has it, a level more in a block."""
    line = page.before[page.before.rfind("\n") + 1 :]
    level = len(line) - len(line.lstrip(" "))
    opens = line.rstrip()[-1:] in (":", *_CLOSERS)
    page = _insert(page, "\n")
    if page.rest.startswith("\n"):
        return page, 1  # the indentation of an empty line is taken away again
    keys = 1
    if assistance == "brackets" and line[-1:] in _CLOSERS and page.waiting and page.after[:1] == _CLOSERS[line[-1]]:
        closer = page.waiting[0]
        start = closer - level - 1
        if page.target[start:closer] == "\n" + " " * level and start >= page.written:
            own_line = tuple(range(start, closer))
            page = replace(page, after=page.target[start:closer] + page.after, waiting=(*own_line, *page.waiting))
        else:
            keys += 1  # the editor gives the closer a line of its own, the typist joins them again
    given = level + (_LEVEL if opens else 0)
    wanted = len(page.rest) - len(page.rest.lstrip(" "))
    keys += -(-max(given - wanted, 0) // _LEVEL)  # a level less for each backspace
    return _insert(page, page.rest[: min(given, wanted)]), keys
