"""What still stands of accepted text: it is followed through the edits of its document, without a copy of it.

Kept are the stretches of the document in which accepted characters stand. An edit moves those after it and cuts those
that it removes. Where it puts a line of what it removed back, as a formatter does, that line goes on to stand.
"""

from __future__ import annotations

from lsp_server.documents import Edit
from syntax.common_start import common_length

_MOST_STRETCHES = 100  # of one accepted text; the characters of others count as removed
_LONGEST = 20_000  # code points of a replacement in which lines are looked for


class Standing:
    """The accepted text of one suggestion; it may have come in several parts."""

    def __init__(self) -> None:
        self.total = 0
        """Characters that are not blank."""
        self._stretches: list[tuple[int, int]] = []

    def add(self, start: int, end: int, text: str) -> None:
        """Add what stands from `start` to `end` of a document, whose text is given."""
        self.total += _count(text, start, end)
        self._stretches.append((start, end))

    def edited(self, edit: Edit, before: str) -> None:
        """Follow an edit; `before` is the document's text before it."""
        moved = len(edit.text) - (edit.end - edit.start)
        found: list[tuple[int, int]] = []
        for start, end in self._stretches:
            if edit.end <= start:
                found.append((start + moved, end + moved))
            elif edit.start >= end:
                found.append((start, end))
            else:
                found += _pieces(start, end, edit, before)
        self._stretches = found[:_MOST_STRETCHES]

    def share(self, text: str) -> float:
        """How much of it stands in the document's text of now, from 0 to 1, of characters that are not blank."""
        standing = sum(_count(text, start, end) for start, end in self._stretches)
        return min(standing / self.total, 1.0) if self.total else 1.0


def narrowed(edit: Edit, before: str) -> Edit:
    """The same edit without what it leaves as it was, at both ends; some editors replace whole lines or all text."""
    old = before[edit.start : edit.end]
    same = common_length(old, edit.text)
    most = min(len(old), len(edit.text)) - same
    end = min(common_length(old[::-1], edit.text[::-1]), most)
    return Edit(edit.start + same, edit.end - end, edit.text[same : len(edit.text) - end])


def _pieces(start: int, end: int, edit: Edit, before: str) -> list[tuple[int, int]]:
    """What an edit leaves of a stretch that it overlaps."""
    moved = len(edit.text) - (edit.end - edit.start)
    pieces = [(start, edit.start)] if edit.start > start else []
    removed = before[max(start, edit.start) : min(end, edit.end)]
    at = 0
    for line in removed.splitlines() if len(edit.text) <= _LONGEST else ():
        if (code := line.strip()) and (found := edit.text.find(code, at)) >= 0:
            at = found + len(code)
            pieces.append((edit.start + found, edit.start + at))
    return [*pieces, (edit.end + moved, end + moved)] if edit.end < end else pieces


def _count(text: str, start: int, end: int) -> int:
    """Characters that are not blank."""
    return sum(map(len, text[start:end].split()))
