"""Definitions and imports as the index keeps them; `outlines.py` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SECONDS = 3.0
"""Processor time that the grammar may take for one text; a large text takes 0.3."""

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
    """One import statement as its words, in order: those of the module, and those that it binds."""

    words: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A file's definitions, in order, and its imports."""

    symbols: tuple[Symbol, ...]
    imports: tuple[Imports, ...]
