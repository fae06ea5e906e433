"""What is written down: an answer and what became of it, what is left of accepted text, and how much was typed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import platformdirs

STATE_VARIABLE = "MELLUM_LSP_STATE"
STEPS = ("queue", "tokenize", "prefill", "decode", "trim")
"""Of `Suggestion.timings`; `total` is the time from the request's arrival to its answer."""
OTHER = "other"
_NAME = re.compile(r"[\w.+#/-]{1,60}")


class Outcome(StrEnum):
    """What became of an answer."""

    SILENT = "silent"  # it was empty; the reason says why
    UNSEEN = "unseen"  # replaced or typed over before it could be read
    ACCEPTED = "accepted"  # all of it, by one key
    BY_LINE = "accepted by line"
    BY_WORD = "accepted by word"
    TYPED = "typed through"  # all of it, key by key
    REFUSED = "typed otherwise"
    DISMISSED = "dismissed"
    MOVED = "moved away"
    LEFT = "left"  # replaced by another suggestion, or its document was closed


SEEN = tuple(outcome for outcome in Outcome if outcome not in (Outcome.SILENT, Outcome.UNSEEN))
TAKEN = (Outcome.ACCEPTED, Outcome.BY_LINE, Outcome.BY_WORD)
"""Accepted by a key, whole or in part."""


class When(StrEnum):
    """When it is looked how much of accepted text still stands."""

    SOON = "30 s"
    LATER = "5 min"
    SAVED = "save"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a request and what became of it."""

    number: int
    """Names it in this process: `Kept` refers to it."""
    at: float
    """Seconds since 1970."""
    language: str
    model: str
    outcome: Outcome
    reason: str = ""
    """Of an empty answer."""
    place: str = ""
    """What the cursor stood in: see `engine.request.Place`."""
    is_explicit: bool = False
    probability: float = 1.0
    """That all of it is right, as the model stated it."""
    characters: int = 0
    lines: int = 0
    taken: int = 0
    """Characters that the user put there: accepted or typed."""
    accepted: int = 0
    """Characters that came by a key that accepts."""
    is_finished: bool = False
    """Whether all of it was put there."""
    on_screen: float = 0.0
    """Seconds."""
    since_key: float | None = None
    """Seconds from the last edit to the request."""
    total: float = 0.0
    """Seconds from the request to the answer."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By step; empty for a cached suggestion."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of an answer's accepted text still stands."""

    number: int
    when: When
    share: float
    """Of its characters that are not blank."""


@dataclass(frozen=True, slots=True)
class Typed:
    """Characters that came by keys, not by suggestions."""

    at: float
    language: str
    model: str
    characters: int


Event = Answer | Kept | Typed


def plain_name(name: str) -> str:
    """A language's or model's name as it is written down. A client may send any text for one; `other` stands for it."""
    return name if _NAME.fullmatch(name) else OTHER


def statistics_file() -> Path | None:
    """The file of this user; None where there is no home folder.

    It lies in the user's folder for state: it cannot be made again, as what lies in the cache folder can.
    `MELLUM_LSP_STATE` puts it elsewhere; so does `MELLUM_LSP_CACHE`, which moves everything that is written.
    """
    if given := os.environ.get(STATE_VARIABLE):
        return Path(given) / "statistics.sqlite"
    if given := os.environ.get("MELLUM_LSP_CACHE"):
        return Path(given) / "state" / "statistics.sqlite"
    try:
        folder = Path(platformdirs.user_state_dir("mellum-lsp", appauthor=False))
    except (RuntimeError, KeyError):  # what it raises without a home differs by its version
        return None
    return folder / "statistics.sqlite" if folder.is_absolute() else None
