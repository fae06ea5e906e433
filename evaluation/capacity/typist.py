"""One who types a function of a trace: what a key does, and where the server is asked.

The rules are those of `evaluation.typing`: a suggestion that is right (all of it, else its first line, else its first
word) is taken once it has been there for 250 ms; one that is typed through asks for nothing; at each other key a new
request makes the last one stale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluation.capacity.trace import Place, Typed
from evaluation.harness.typist import REACTION, Page, take


class Typist:
    """Types one function; knows no clock of its own."""

    def __init__(self, typed: Typed) -> None:
        self.typed = typed
        self.written = 0
        self._text, self._replaces, self._since = "", 0, 0.0

    @property
    def place(self) -> Place:
        """Where the cursor is."""
        return self.typed.places[self.written]

    @property
    def pause(self) -> float:
        """Seconds until the next key."""
        return self.typed.pauses[self.written]

    @property
    def is_done(self) -> bool:
        """Whether the whole function is written."""
        return self.written == len(self.typed.text)

    def key(self, now: float) -> bool:
        """Press the next key; returns whether the server has to be asked at the new place."""
        taken = None
        if self._text and now - self._since >= REACTION:
            taken = take(Page("", "", self.typed.text, self.written), self._text, self._replaces)
        piece = taken[1] if taken is not None else self.typed.text[self.written]
        self.written += len(piece)
        self._text = self._text[len(piece) :] if self._text.startswith(piece) else ""
        return not self._text and not self.is_done

    def answered(self, now: float) -> None:
        """Show the suggestion for the place of the cursor."""
        self._text, self._replaces, self._since = self.place.text, self.place.replaces, now


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as a typist sends it to a server that answers after a fixed time."""

    at: float
    """Seconds since the function was begun."""
    written: int
    cancelled: float
    """Seconds after which the next key made it stale; infinite where it was answered before."""


def sent(typed: Typed, latency: float) -> list[Sent]:
    """The requests of one function, where each answer takes `latency` seconds."""
    typist, now, requests = Typist(typed), 0.0, []
    asks = True
    while not typist.is_done:
        pause = typist.pause
        if asks:
            requests.append(Sent(now, typist.written, math.inf if latency <= pause else pause))
            if latency <= pause:
                typist.answered(now + latency)
        now += pause
        asks = typist.key(now)
    return requests
