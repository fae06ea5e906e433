"""The life of one suggestion on the screen: which edits agree with it, which parts were accepted, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from lsp_server.documents import Edit
from lsp_server.statistics.events import STEPS, Answer, Outcome
from lsp_server.statistics.samples import Surroundings
from lsp_server.statistics.standing import Standing, narrowed
from syntax.common_start import common_length

VISIBLE_AFTER = 0.75
"""Seconds after which a suggestion was really seen, where the client does not report it."""
_CLOSERS = ")]}>\"'`;,"  # what editors put after the cursor by themselves


class Step(Enum):
    """What an edit does to a suggestion."""

    ELSEWHERE = "elsewhere"
    AGREED = "agreed"
    OTHERWISE = "otherwise"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a suggestion when it is answered."""

    number: int
    at: float
    language: str
    model: str
    place: str
    is_explicit: bool
    probability: float
    since_key: float | None
    total: float
    seconds: Mapping[str, float]


@dataclass(slots=True)
class _Put:
    """The last piece that came to stand where the suggestion was."""

    start: int
    characters: int
    is_accepted: bool = False


@dataclass(slots=True)
class Life:
    """One suggestion. Offsets are code points of its document as it is now."""

    facts: Facts
    begun: float
    text: str
    position: int
    """Where the rest of it would be inserted."""
    replaces: int
    """Code points after that which the text repeats."""
    taken: int = 0
    accepted: int = 0
    is_reported: bool = False
    """Whether the client said that it is on the screen."""
    surroundings: Surroundings | None = None
    """Where it was shown, if samples are collected."""
    is_announced: bool = False
    """Whether the client said that it is accepted before it sent the edit."""
    standing: Standing = field(default_factory=Standing)
    _parts: int = 0
    _by_line: bool = False
    _put: _Put | None = None
    _doubt: int = 0

    @property
    def rest(self) -> str:
        """What is still to come."""
        return self.text[self.taken :]

    @property
    def is_finished(self) -> bool:
        """Whether all of it stands there; closers that the editor had put there are passed over, not typed."""
        return not self.rest.strip(_CLOSERS + " \t\r\n")

    def follow(self, edit: Edit, before: str, after: str) -> Step:
        """Take an edit in; `before` and `after` are the document's text around it."""
        edit = narrowed(edit, before)
        self._put, self._doubt = None, 0
        if edit.start == edit.end and not edit.text:
            return Step.ELSEWHERE
        if edit.end < self.position:
            self.position += len(edit.text) - (edit.end - edit.start)
            return Step.ELSEWHERE
        if edit.start > self.position:
            return Step.ELSEWHERE
        if edit.start < self.position:
            return Step.OTHERWISE
        if not edit.text.strip(_CLOSERS) and not self.rest.startswith(edit.text[:1] or "\0"):
            self._doubt = len(edit.text)  # a bracket that the editor closed after the cursor, or one that was typed
            return Step.ELSEWHERE
        reach = min(len(self.rest), len(edit.text) + self.replaces)
        agreed = common_length(after[self.position : self.position + reach], self.rest)
        self._put = _Put(self.position, agreed)
        self.taken += agreed
        self.position += agreed
        is_closed = not edit.text[agreed:].strip(_CLOSERS)
        return Step.AGREED if agreed and is_closed else Step.OTHERWISE

    def is_typed_over_at(self, offset: int) -> bool:
        """Whether a request at this offset shows that what was in doubt was typed, and is not what was suggested."""
        return bool(self._doubt) and offset == self.position + self._doubt

    def has_part_since(self, taken: int) -> bool:
        """Whether more than a key's character was put there since `taken` characters stood there.

        Else a report of an acceptance came before its edit: what stands there was typed.
        """
        return self.taken > taken and self._put is not None and self._put.characters > 1

    def accept_last(self, document: str, everything: Edit | None = None) -> int:
        """Count the last piece as accepted by a key, once; returns how many characters that is.

        `everything`: an edit that did not agree, which the client now calls an acceptance of the whole; editors indent
        text anew, and the user may have taken another candidate.
        """
        put = self._put
        if everything is not None:
            put = _Put(everything.start, len(everything.text))
            self.text, self.taken = everything.text, len(everything.text)
        if put is None or put.is_accepted or not put.characters:
            return 0
        put.is_accepted = True
        self._put = put
        self._parts += 1
        self._by_line |= "\n" in self.text[self.taken - put.characters : self.taken] or self.rest[:1] in (
            "",
            "\n",
            "\r",
        )
        self.accepted += put.characters
        self.standing.add(put.start, put.start + put.characters, document)
        return put.characters

    def end(self, outcome: Outcome, now: float, *, reports: bool) -> Answer:
        """What is written down of it. `outcome` is how it ended if it was not taken; `reports`: see `is_reported`."""
        on_screen = now - self.begun
        if self.accepted:
            by_one_key = self._parts == 1 and self._put is not None and self._put.is_accepted
            is_whole = by_one_key and self.is_finished  # what was left, where its beginning was typed
            outcome = Outcome.ACCEPTED if is_whole else Outcome.BY_LINE if self._by_line else Outcome.BY_WORD
        elif not (self.is_reported or (not reports and on_screen >= VISIBLE_AFTER)):
            outcome = Outcome.UNSEEN
        elif self.is_finished:
            outcome = Outcome.TYPED
        facts = self.facts
        return Answer(
            number=facts.number,
            at=facts.at,
            language=facts.language,
            model=facts.model,
            outcome=outcome,
            place=facts.place,
            is_explicit=facts.is_explicit,
            probability=facts.probability,
            characters=len(self.text),
            lines=self.text.count("\n") + 1,
            taken=self.taken,
            accepted=self.accepted,
            is_finished=self.is_finished,
            on_screen=on_screen,
            since_key=facts.since_key,
            total=facts.total,
            seconds={step: seconds for step, seconds in facts.seconds.items() if step in STEPS},
        )
