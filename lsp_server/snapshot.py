"""What a request for a suggestion is about, frozen at the moment in which the request arrived."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from lsprotocol import types

from lsp_server.documents import Document, Documents, readable
from syntax import Cursor


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document and the cursor in it; if a menu entry is selected, as if it had been accepted already."""

    document: Document
    source: str
    """The document's text at that moment."""
    cursor: Cursor
    """The same for index and engine: in the text that the model sees, `source` with the selected menu entry in it."""
    explicit: bool
    """Asked for by a key, not by typing."""
    selected: str
    """The selected menu entry's text: a suggestion has to begin with it."""
    start: int
    """Where the suggestion's range starts in `source`: at the cursor, or where the menu entry's range does."""
    end: int
    """Where that range ends in `source` if the suggestion replaces nothing else."""
    asked: float = field(default_factory=time.monotonic)
    """When it was taken."""


def snapshot_at_last_edit(documents: Documents, document: Document) -> Snapshot:
    """Freeze the place at which a suggestion will probably be asked for."""
    offset = document.last_edit
    return Snapshot(
        document=document,
        source=document.source,
        cursor=_cursor(documents, document, document.text, offset),
        explicit=False,
        selected="",
        start=offset,
        end=offset,
    )


def take_snapshot(documents: Documents, params: types.InlineCompletionParams) -> Snapshot | None:
    """Freeze what a request is about.

    None where nothing can be completed: the document is not open, or the selected menu entry is not at the cursor.
    """
    document = documents.open_document(params.text_document.uri)
    if document is None:
        return None
    offset = start = end = document.offset_at_position(params.position)
    text, selected = document.text, ""
    if (selection := params.context.selected_completion_info) is not None:
        if selection.range.start.line != selection.range.end.line:
            return None  # an item's range must lie on one line
        selected = selection.text
        start = document.offset_at_position(selection.range.start)
        end = document.offset_at_position(selection.range.end)
        if not start <= offset <= end:
            return None
        text = text[:start] + readable(selected) + text[end:]
        offset = start + len(selected)
    return Snapshot(
        document=document,
        source=document.source,
        cursor=_cursor(documents, document, text, offset),
        explicit=params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked,
        selected=selected,
        start=start,
        end=end,
    )


def _cursor(documents: Documents, document: Document, text: str, offset: int) -> Cursor:
    return Cursor(documents.identity(document.uri), document.language_id or "", text, offset)
