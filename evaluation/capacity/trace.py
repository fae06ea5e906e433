"""A trace of typing: at every place of functions, the prompt, what the model answers, and when the next key comes.

One function a line of JSON. Prompts are token ids; of each, what it shares with the one before is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.runtime.kv_shift import common_prefix

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The cursor after so many characters of a function, and what a request there is about."""

    prompt: Tokens
    text: str
    """The suggestion; empty where nothing is shown."""
    replaces: int
    """Characters after the cursor that it replaces."""
    decoded: int
    """Tokens that were decoded for it, those that the stop and the trim cut away included."""
    seconds: float
    """What the answer took where the trace was recorded."""
    snippets: tuple[int, ...] = ()
    """The snippets that were chosen, as indices in the function's table."""


@dataclass(frozen=True, slots=True)
class Typed:
    """One function, typed into its file key by key."""

    name: str
    path: str
    """Of its file, as the prompt has it."""
    before: str
    after: str
    text: str
    pauses: tuple[float, ...]
    """Seconds before each character."""
    places: tuple[Place, ...]
    """By the number of characters that are written; one for each character of `text`."""
    snippets: tuple[tuple[str, str], ...] = ()
    """All snippets that were chosen at some place: path and text."""


def write(trace: Iterable[Typed], file: Path) -> None:
    """Write a trace."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        for typed in trace:
            fields: dict[str, Any] = {name: getattr(typed, name) for name in Typed.__slots__ if name != "places"}
            before: Tokens = ()
            rows = []
            for place in typed.places:
                kept = common_prefix(before, place.prompt)
                before = place.prompt
                more = [place.text, place.replaces, place.decoded, place.seconds, place.snippets]
                rows.append([kept, place.prompt[kept:], *more])
            lines.write(json.dumps({**fields, "places": rows}) + "\n")
            lines.flush()


def read(file: Path) -> list[Typed]:
    """Read a trace. Raises OSError, and ValueError where the file is none."""
    try:
        with file.open(encoding="utf-8") as lines:
            return [_typed(json.loads(line)) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no trace; make one: python -m evaluation.capacity trace {file}") from error


def _typed(fields: dict[str, Any]) -> Typed:
    before: Tokens = ()
    places = []
    for kept, rest, text, replaces, decoded, seconds, snippets in fields.pop("places"):
        before = (*before[:kept], *rest)
        places.append(Place(before, text, replaces, decoded, seconds, tuple(snippets)))
    pauses, table = tuple(fields.pop("pauses")), tuple((path, text) for path, text in fields.pop("snippets"))
    return Typed(**fields, pauses=pauses, places=tuple(places), snippets=table)


def summary(trace: Sequence[Typed]) -> str:
    """What a trace holds, in one line."""
    places = [place for typed in trace for place in typed.places]
    tokens = sorted(len(place.prompt) for place in places)
    decoded = sorted(place.decoded for place in places)
    shown = sum(bool(place.text) for place in places) / len(places)
    helped = sum(bool(place.snippets) for place in places) / len(places)
    return (
        f"{len(trace)} functions, {len(places)} places; prompts of {tokens[len(tokens) // 2]} tokens (median; most: "
        f"{tokens[-1]}), {sum(decoded) / len(decoded):.1f} tokens decoded for each (median {decoded[len(decoded) // 2]}"
        f", most {decoded[-1]}), text shown at {shown:.0%}, snippets of other files at {helped:.0%}"
    )
