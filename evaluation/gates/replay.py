"""A typist on a simulated clock, in front of known answers: what a policy shows, and what that is worth.

The typist, their pauses and the screen are those of `evaluation.typing`. An answer takes as long as the server's median
time; one whose key comes sooner is never seen. Typing through a suggestion keeps it, as the server's cache does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.fitting.answers import Answer
from evaluation.gates.answers import ASSISTANCE, Asked, TypedFunction
from evaluation.harness.sides import Answer as Answered
from evaluation.harness.typist import Page, keys_alone, parts, pauses, press, starts_wrong, take
from evaluation.typing import WORDS_A_MINUTE, Record, Screen

_FIRST, _NEXT = 0.45, 0.025  # seconds to the first answer at a place, and to the others
_MEMORY = 0.8  # of the share that was taken lately, for each suggestion


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a suggestion may be shown."""

    language: str
    place: str
    """What the cursor stands in: see `engine.request.Place`."""
    text: str
    """What the gate leaves of the answer."""
    stated: float
    """Its probability, as the model states it."""
    first_word: str
    first_stated: float
    """That of its first word."""
    line: str
    """What stands before the cursor in its line."""
    since_key: float
    """Seconds between the last two keys."""
    taken_lately: float
    """The share of the last suggestions that were taken, the newest counts most."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A situation, and what became of the suggestion."""

    situation: Situation
    is_right: bool
    """All of it."""
    starts_right: bool
    """At least its first word."""


Policy = Callable[[Situation], bool]
"""Whether a suggestion is shown."""


def stated(answer: Answer, text: str) -> float:
    """The probability of a beginning of an answer, to the end of its last token."""
    return next((chance for start, chance in answer.beginnings if len(start) >= len(text)), 1.0)


def typed(function: TypedFunction, gate: float, policy: Policy = lambda situation: True) -> tuple[Record, list[Shown]]:
    """Type a function; suggestions are cut at the gate, and shown where the policy says so."""
    page = Page(function.line, "", function.target)
    record = Record(f"{function.package} {function.path}", len(page.target), keys_alone(page, ASSISTANCE))
    pause = pauses(page.target, words_a_minute=WORDS_A_MINUTE, seed=function.path)
    answers = {asked.written: asked for asked in function.answers}
    now, shown, lately = 0.0, list[Shown](), 0.5
    screen = Screen(record, lambda: now)
    key_at, since_key, takes = pause[0] + _FIRST, _FIRST, _FIRST
    while True:
        if not screen.text and (asked := answers.get(page.written)) is not None:
            situation = _situation(function, asked, page, gate, since_key, lately)
            if situation.text and now + takes < key_at and policy(situation):
                now += takes
                screen.answered(page, Answered(situation.text, 0, takes, None))
                is_right = page.rest.startswith(situation.text)
                shown.append(Shown(situation, is_right, not starts_wrong(page, situation.text)))
                lately = _MEMORY * lately + (1 - _MEMORY) * shown[-1].starts_right
        now = key_at
        done = take(page, screen.text) if screen.has_been_seen else None
        if done is not None:
            part, piece, after = done
            record.taken[part] += 1
            pressed = 1
        else:
            after, pressed = press(page, ASSISTANCE)
            piece = after.before[len(page.before) :]
        record.keys += pressed
        page = after
        screen.typed(page, piece)
        if not page.rest:
            return record, shown
        since_key = pause[page.written] * pressed
        key_at, takes = now + since_key, _NEXT


def _situation(
    function: TypedFunction, asked: Asked, page: Page, gate: float, since_key: float, lately: float
) -> Situation:
    text = asked.answer.shown_at(gate)
    text = text if text.strip() else ""
    first = parts(text)[-1][1]
    return Situation(
        language=function.language,
        place=asked.place,
        text=text,
        stated=stated(asked.answer, text),
        first_word=first,
        first_stated=stated(asked.answer, first),
        line=page.before[page.before.rfind("\n") + 1 :],
        since_key=since_key,
        taken_lately=lately,
    )
