"""A place in real code at which a suggestion is wanted, with what really follows there."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Point:
    """A document with a hole at the cursor."""

    package: str
    path: str
    language: str
    kind: str
    """`function`: the rest of a function's body is wanted; else the kind of the middle, see `training.data.middles`."""
    text: str
    offset: int
    truth: str
    """What was taken out at `offset`."""

    def without_suffix(self) -> Point:
        """The same place in a file that ends at the cursor."""
        return replace(self, text=self.text[: self.offset])


@dataclass(frozen=True, slots=True)
class Place:
    """A point, and the texts of the files near it, which n-grams are looked up in."""

    point: Point
    neighbours: tuple[str, ...]
