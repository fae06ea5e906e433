"""Reasons for empty answers: each empty answer has one, which is counted, logged, and shown in the status."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine import Suggestion


class Silence(StrEnum):
    """The reasons; each has a sentence with its meaning and its mend."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Silence:
        """Make a member whose value is its name, with the sentence as an attribute."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    NOTHING = "nothing to say", "The model ends here: it has no text for this place. Ask where code is to go on."
    GATE = (
        "gate",
        ("The model is not sure enough of its first word. Ask by a key to see it anyway, or set `eagerness` to eager."),
    )
    DEADLINE = "deadline", "Nothing was complete in time. Pause for a moment, or set a longer `deadline`."
    OFF = "off", "Suggestions are switched off. Set `enabled` to true."
    OFF_HERE = (
        "off here",
        ("The settings want none in this language or at such a place. See `disabledLanguages` and `disabledIn`."),
    )
    IGNORED = "ignored", "This file is kept from the model. Run: mellum-lsp index why FILE"
    LOADING = "loading", "The model is being loaded. Ask again in a moment."
    NO_MODEL = "no model", "There is no model that works. The status says why. Run: mellum-lsp doctor"
    REMOTE = "remote", "The remote engine does not answer, and there is no local model. The status says why."
    OUT_OF_STEP = "out of step", "The server does not have the text that the editor shows. Close the file, and open it."
    SUPERSEDED = "superseded", "The text has changed since, or a newer request was sent. Nothing is to be done."
    FAILED = "failed", "Something went wrong, and the log says what. Set `logLevel` to info, and report it."


@dataclass(frozen=True, slots=True)
class SilenceFacts:
    """The facts about empty answers in the status."""

    reason: str | None
    """The reason of the last answer; null if it was not empty."""
    sentence: str
    """The meaning of the reason, and its mend."""
    counts: dict[str, int]
    """Empty answers in this session, by reason."""


class Silences:
    """Counts of the empty answers of a session."""

    def __init__(self) -> None:
        self._counts: Counter[Silence] = Counter()
        self._last: Silence | None = None

    def add(self, silence: Silence | None) -> None:
        """Count an answer; None for one that was not empty."""
        self._last = silence
        if silence is not None:
            self._counts[silence] += 1

    def facts(self) -> SilenceFacts:
        """The figures of now."""
        counts = {silence.value: count for silence, count in self._counts.items()}
        return SilenceFacts(self._last, self._last.sentence if self._last is not None else "", counts)


_BY_STOP = {"gate": Silence.GATE, "deadline": Silence.DEADLINE, "place": Silence.OFF_HERE}  # see `engine.StopReason`


def silence_of(suggestion: Suggestion) -> Silence | None:
    """Why a suggestion is empty; None if it is not."""
    return None if suggestion.text else _BY_STOP.get(suggestion.stop, Silence.NOTHING)
