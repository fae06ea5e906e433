"""What the indexer process and its parent tell each other, and the one encoding of it: lines of JSON on two pipes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class FilesRead:
    """How far the reading of new and changed files has come."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class UpToDate:
    """The index is up to date with its folder."""

    files: int
    """Files whose content it holds."""


@dataclass(frozen=True, slots=True)
class WaitingInLine:
    """Another process writes this index; this one takes over when that one ends."""

    files: int
    """Files whose content it holds by now."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for the user."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Resting:
    """The index is not kept up to date now; the next attempt follows."""

    seconds: float
    """Until the next attempt, unless a file changes before."""


IndexMessage = FilesRead | UpToDate | WaitingInLine | Problem | Resting
"""From the indexer process to its parent."""


@dataclass(frozen=True, slots=True)
class Changed:
    """From the parent to the indexer process: what has changed, some files or any of them."""

    paths: frozenset[str]
    """Relative to the folder, with forward slashes."""
    everything: bool = False
    check: bool = False
    """Whether to check the index itself, because a reader could not read it."""


_KINDS = {kind.__name__: kind for kind in (FilesRead, UpToDate, WaitingInLine, Problem, Resting, Changed)}


def encoded(message: IndexMessage | Changed) -> bytes:
    """One line with its line feed."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}, default=sorted).encode() + b"\n"


def decoded(line: bytes) -> IndexMessage | Changed:
    """The message of a line. Raises ValueError where it is none, such as the last line of a killed process."""
    try:
        fields = json.loads(line)
        kind = _KINDS[fields.pop("kind")]
        if kind is Changed:
            fields["paths"] = frozenset(fields["paths"])
        return kind(**fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no message: {line[:80]!r}") from error
