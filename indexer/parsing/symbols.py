"""What a file defines and imports, as the index keeps it. How it is found: `outlines.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SECONDS = 3.0
"""Of the processor's time, which the grammar of a text may take to find it all. A large text takes 0.3."""

TYPES = frozenset({"class", "interface", "enum", "type", "module"})


class Symbol(NamedTuple):
    """A definition. Lines count from 0; the last one is included.

    A tuple for the same reason as the rows of `store/rows.py`.
    """

    name: str
    kind: str
    container: str
    """The type or module that it belongs to; empty at the top of a file."""
    first: int
    head: int
    """The last line of its signature."""
    last: int
    documentation: int
    """The line of its documentation's first sentence; -1 where there is none."""


@dataclass(frozen=True, slots=True)
class Imports:
    """One import statement, as its words: those of the module, and those that it binds, in order."""

    words: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Outline:
    """What a file defines, in order, and what it imports."""

    symbols: tuple[Symbol, ...]
    imports: tuple[Imports, ...]
