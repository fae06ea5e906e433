"""From a workspace to ranked snippets. Knows no LSP and no model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another document, and how relevant it is."""

    path: str
    text: str
    score: float


class Index:
    """The documents that are open, and nothing of them yet."""

    def update(self, path: str, language: str, text: str) -> None:
        """Take a document's text."""

    def forget(self, path: str) -> None:
        """Drop a document."""

    def context_for(self, path: str, language: str, text: str, offset: int, *, within: float) -> list[Snippet]:
        """Rank what could help at a place."""
        return []
