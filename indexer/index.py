"""The face of the index: documents go in, snippets for a place in one of them come out.

It knows the documents that the editor has open, and reads nothing from the disk: what was not opened is never shown to
the model. Similarity is the share of names in common (intersection over union, as JetBrains' collectors measure it),
where a name counts less the more pieces of code use it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from indexer.chunks import Chunk, chunks_of
from syntax import identifiers

_WINDOW = 30  # lines above and below the cursor that a snippet should be like
_REGION = 30  # lines the cursor may move before snippets are chosen anew
_MOST_SNIPPETS = 3
_MOST_CHARACTERS = 3000
_LEAST_SCORE = 0.07  # below, what two pieces of code have in common is `self` and `len`


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another document, and how much it is like the code around the cursor, 0 to 1."""

    path: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class _Document:
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was chosen for a region of a document: kept while it holds, so that the model's state is kept, too."""

    line: int
    snippets: list[Snippet]
    others: dict[str, _Document]
    """The documents it was chosen from."""


class Index:
    """Open documents and what was chosen from them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: dict[str, _Document] = {}
        self._chunks: dict[str, tuple[_Document, list[Chunk]]] = {}
        self._plans: dict[str, _Plan] = {}

    def update(self, path: str, language: str, text: str) -> None:
        """Take in a document's new text."""
        with self._lock:
            self._documents[path] = _Document(language, text)

    def forget(self, path: str) -> None:
        """Drop a document that was closed."""
        with self._lock:
            for kept in (self._documents, self._chunks, self._plans):
                kept.pop(path, None)

    def context_for(self, path: str, language: str, text: str, offset: int, *, within: float) -> list[Snippet]:
        """Choose snippets of other documents for a place, least relevant first.

        `offset` is in code points. After `within` seconds the answer is what was found by then.
        """
        deadline = time.monotonic() + within
        line = text.count("\n", 0, offset)
        with self._lock:
            others = {name: one for name, one in self._documents.items() if name != path and one.language == language}
            plan = self._plans.get(path)
        if plan is not None and abs(plan.line - line) <= _REGION and self._holds(plan, others):
            return list(plan.snippets)
        names = identifiers(_around(text, offset), language)
        ranked = sorted(self._ranked(others, names, deadline), key=lambda snippet: snippet.score, reverse=True)
        chosen: list[Snippet] = []
        for snippet in ranked[: 4 * _MOST_SNIPPETS]:
            used = sum(len(other.text) for other in chosen)
            if len(chosen) < _MOST_SNIPPETS and used + len(snippet.text) <= _MOST_CHARACTERS:
                chosen.append(snippet)
        chosen.reverse()
        if time.monotonic() < deadline:  # a choice made in haste is not kept
            with self._lock:
                self._plans[path] = _Plan(line, chosen, others)
        return list(chosen)

    def _holds(self, plan: _Plan, others: dict[str, _Document]) -> bool:
        """Whether everything chosen still stands where it was found; where nothing was, whether nothing is new."""
        if not plan.snippets:
            return plan.others.keys() == others.keys() and all(others[path] is one for path, one in plan.others.items())
        return all(one.path in others and one.text in others[one.path].text for one in plan.snippets)

    def _ranked(self, others: dict[str, _Document], names: frozenset[str], deadline: float) -> Iterator[Snippet]:
        found: list[tuple[str, Chunk]] = []
        for path, document in others.items():
            if time.monotonic() > deadline:
                break
            found += [(path, chunk) for chunk in self._chunks_of(path, document)]
        uses = Counter(name for _, chunk in found for name in chunk.names)
        for path, chunk in found:
            common, union = (
                sum(1 / (1 + uses[name]) for name in both) for both in (names & chunk.names, names | chunk.names)
            )
            if union and common / union >= _LEAST_SCORE:
                yield Snippet(path, chunk.text, common / union)

    def _chunks_of(self, path: str, document: _Document) -> list[Chunk]:
        """Cut a document once for each of its texts, when it is first needed."""
        with self._lock:
            known = self._chunks.get(path)
        if known is not None and known[0] is document:
            return known[1]
        chunks = chunks_of(document.text, document.language)
        with self._lock:
            if self._documents.get(path) is document:
                self._chunks[path] = document, chunks
        return chunks


def _around(text: str, offset: int) -> str:
    """The lines around a place."""
    start = end = offset
    for _ in range(_WINDOW + 1):
        start = text.rfind("\n", 0, start) if start > 0 else start
        end = text.find("\n", end) + 1 or len(text)
    return text[max(start, 0) : end]
