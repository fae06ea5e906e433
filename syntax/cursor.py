"""A cursor in a document: what travels from the editor's request through index and engine to the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from syntax.document import DocumentId


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a document's text at one moment."""

    document: DocumentId
    language: str
    """The LSP language id, such as `python`."""
    text: str
    """The whole document, newlines unchanged."""
    offset: int
    """In code points from the start of `text`."""
