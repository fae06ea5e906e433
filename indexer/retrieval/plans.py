"""What was chosen for each region of a document, kept while it holds, so that the model's state can be kept, too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from indexer.retrieval.pack import Snippet
from syntax import DocumentId

_REGION = 30  # lines that the cursor may move before snippets are chosen anew
_PAUSE = 4.0  # seconds without a request, after which news of the workspace may change the choice
_MOST_PLANS = 6  # of one document
_MOST_VISITS = 6


@dataclass(slots=True)
class Plan:
    """The snippets for a region of a document."""

    line: int
    imports: int
    """A hash of the document's import lines."""
    seen: tuple[object, ...]
    """What the choice was made from: permissions, and versions of documents and stores."""
    snippets: list[Snippet]
    opened: frozenset[DocumentId]
    """Documents of the snippets that were open."""
    last_used: float = field(default_factory=time.monotonic)


class Plans:
    """The plans of all documents, and the places that were visited last. Not thread-safe: `Index` locks it."""

    def __init__(self) -> None:
        self.visits: dict[DocumentId, int] = {}
        """Lines of the last visits, the last one last."""
        self._plans: dict[DocumentId, list[Plan]] = {}

    def find(
        self, document: DocumentId, line: int, imports: int, seen: tuple[object, ...], holds: Callable[[Plan], bool]
    ) -> Plan | None:
        """The plan for the cursor's region, if it still holds; plans that do not are dropped."""
        kept = [plan for plan in self._plans.get(document, []) if plan.imports == imports and holds(plan)]
        is_idle = kept and time.monotonic() - max(plan.last_used for plan in kept) > _PAUSE
        kept = [plan for plan in kept if plan.seen == seen or (plan.snippets and not is_idle)]
        self._plans[document] = kept
        near = [plan for plan in kept if abs(plan.line - line) <= _REGION]
        found = min(near, key=lambda plan: abs(plan.line - line), default=None)
        if found is not None:
            found.last_used = time.monotonic()
        return found

    def add(self, document: DocumentId, plan: Plan) -> None:
        """Keep a plan; of more than a few of one document, the oldest goes."""
        plans = self._plans.setdefault(document, [])
        plans.append(plan)
        del plans[:-_MOST_PLANS]

    def drop(self, document: DocumentId) -> None:
        """Drop the plans of a document that was closed."""
        self._plans.pop(document, None)

    def visit(self, document: DocumentId, line: int) -> list[DocumentId]:
        """Note a visit; returns the documents whose visits are forgotten for it."""
        self.visits.pop(document, None)
        self.visits[document] = line
        forgotten = list(self.visits)[:-_MOST_VISITS]
        for one in forgotten:
            del self.visits[one]
        return forgotten
