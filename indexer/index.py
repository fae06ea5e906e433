"""The face of the index: documents and folders go in, snippets and neighbours for a cursor come out.

A process for each folder reads its files into a database; open documents are kept here, and hide their files. To answer
a question, nothing here reads a file of the workspace.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from indexer.admission import Admission, why_not_root
from indexer.parsing.analysis import family, parse
from indexer.retrieval.nearby_files import MOST_CHARACTERS, MOST_NEIGHBOURS, Neighbour, nearest
from indexer.retrieval.pack import Count, Snippet, estimated_tokens, pack
from indexer.retrieval.plans import Plan, Plans
from indexer.retrieval.query import Question, ask
from indexer.retrieval.ranking import retrieve
from indexer.store.open_documents import OpenDocuments
from indexer.store.overlay import Library
from indexer.workspace_folders import Hear, WorkspaceFolders
from syntax import Cursor, DocumentId, resolved

_PARSE_WITHIN = 0.5  # seconds
_HEAD = 400_000  # code points in which a document's imports are looked for
_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:import|from|use|using|require|require_relative|include|#[ \t]*include|export\b.*\bfrom)\b.*$",
    re.MULTILINE,
)

log = logging.getLogger(__name__)


class Index:
    """Workspace folders, open documents, and what was chosen from them. Thread-safe.

    Without `cache`, the folder of the databases, only open documents help. `admission` says which documents and files
    may help; `Admission.refresh` looks at ignore files again.

    Locks. `_question` is held while one question is answered, up to its deadline and for `neighbours` longer. It
    protects all that a question reads and leaves: the stores with their connections, the parsed texts, the plans and
    the visits. `WorkspaceFolders`, `OpenDocuments` and `Admission` have a lock each, for their own tables. Each of
    these three may be taken under `_question`, none of them under another, and `_question` under none. So `update`,
    `forget`, `changed`, `folders` and `open_folder` never wait for a question; `close_folder` does.
    """

    def __init__(self, cache: Path | None = None, hear: Hear = lambda root, message: None) -> None:
        self.admission = Admission()
        self._cache = cache
        self._question = threading.Lock()
        self._folders = WorkspaceFolders(self.admission, hear)
        self._opened = OpenDocuments(self.admission, self._folders.mounts)
        self._plans = Plans()
        self._last: DocumentId | None = None
        """The document of the last question, which need not be open."""

    @property
    def generation(self) -> tuple[int, ...]:
        """Changes as soon as something that helped may help no more: by new permissions, or with a closed document."""
        return *self.admission.generation, self._opened.closed

    def open_folder(self, root: Path, *, watched: bool = True, indexed: bool = True) -> bool:
        """Take a folder into the workspace, and use its index; returns whether it has one.

        `watched` starts the process that keeps the index up to date. Without `indexed`, and where the folder may not be
        indexed (see `why_not_root`), its open documents still help each other.
        """
        root = resolved(root)
        folder = self._folders.get(root)
        if folder is None:
            is_indexed = indexed and why_not_root(root) is None
            folder = self._folders.add(root, self._cache if is_indexed else None, watched=watched)
        return folder.connection is not None

    def close_folder(self, root: Path) -> None:
        """Take a folder out of the workspace: nothing in it helps any more."""
        folder = self._folders.remove(resolved(root))
        if folder is not None and folder.connection is not None:
            with self._question:
                folder.connection.close()

    def folders(self) -> dict[Path, bool]:
        """The workspace folders, resolved, and whether each has an index."""
        return {root: folder.connection is not None for root, folder in self._folders.all().items()}

    def close(self) -> None:
        """Close all folders."""
        for root in self.folders():
            self.close_folder(root)

    def update(self, document: DocumentId, language: str, text: str) -> None:
        """Take in a document's new text, which costs nothing."""
        self._opened.update(document, language, text)

    def forget(self, document: DocumentId) -> None:
        """Drop a document that was closed."""
        self._opened.forget(document)

    def changed(self, files: Iterable[Path]) -> None:
        """Report files that were saved, made or removed, which the indexer processes may not have noticed yet.

        Their folders must be resolved. Files in no workspace folder are left out.
        """
        self._folders.changed(files)

    def refresh(self, within: float = float("inf")) -> bool:
        """Take in changes of ignore files and of open documents, between two questions.

        After `within` seconds it leaves the rest for the next time; returns whether all is done.
        """
        deadline = time.monotonic() + within
        self.admission.refresh()
        with self._question:
            self._look()
            return self._opened.take_in(None, deadline)

    def context_for(
        self, cursor: Cursor, *, within: float, tokens: int = 800, count: Count = estimated_tokens
    ) -> list[Snippet]:
        """Choose snippets of other documents and files for a cursor, least relevant first.

        After `within` seconds the answer is what was found by then. The snippets have at most `tokens` tokens, as
        `count` counts them.
        """
        deadline = time.monotonic() + within
        document, line = cursor.document, _line(cursor)
        imports = hash(tuple(_IMPORT_LINE.findall(cursor.text, 0, _HEAD)))
        with self._question:
            self._begin(document)
            seen = self._seen(document)
            plan = self._plans.find(document, line, imports, seen, lambda plan: self._holds(plan, document))
            if plan is not None:
                return list(plan.snippets)
            try:
                snippets = self._choose(cursor, line, deadline, tokens, count)
            except Exception as error:  # damage may raise an error of any type
                self._close_stores(error)
                return []
            for forgotten in self._plans.visit(document, line):
                if forgotten not in self._opened:
                    self._opened.drop(forgotten)
            if time.monotonic() < deadline:  # a choice that ran out of time is not kept
                opened = frozenset(one.document for one in snippets if one.document in self._opened)
                self._plans.add(document, Plan(line, imports, seen, snippets, opened))
        return list(snippets)

    def neighbours(
        self, cursor: Cursor, *, most: int = MOST_NEIGHBOURS, characters: int = MOST_CHARACTERS
    ) -> list[Neighbour]:
        """Find documents and files near a cursor, the nearest first, with their whole texts; blank ones are left out.

        There are at most `most` files, of `characters` code points in all.
        """
        with self._question:
            self._begin(cursor.document)
            try:
                question, library = self._ask(cursor, _line(cursor), deadline=float("inf"))
                with library.unchanging():
                    visited = [self._opened.key(visit) for visit in self._plans.visits][::-1]
                    return nearest(question, library, visited, most, characters)
            except Exception as error:  # damage may raise an error of any type
                self._close_stores(error)
                return []

    def _choose(self, cursor: Cursor, line: int, deadline: float, tokens: int, count: Count) -> list[Snippet]:
        question, library = self._ask(cursor, line, deadline)
        visits = [(self._opened.key(visit), at) for visit, at in self._plans.visits.items()][::-1]
        with library.unchanging():
            ranked = retrieve(question, library, visits, deadline=deadline)
            return pack(ranked, question, library, tokens, count, cursor.document.root)

    def _ask(self, cursor: Cursor, line: int, deadline: float) -> tuple[Question, Library]:
        document = cursor.document
        within = min(max(deadline - time.monotonic(), 0.0), _PARSE_WITHIN)
        parsed = parse(cursor.text, document.path, cursor.language, self._opened.parsed.get(document), within=within)
        self._opened.parsed[document] = parsed
        self._opened.take_in(document, deadline)
        kin = family(document.path, parsed.language)
        question = ask(parsed, self._opened.key(document), line, kin)
        visible, hidden = self._opened.visible_to(document), self._opened.keys()
        return question, Library(self._opened.store, self._folders.layers(), self._may_be_read, visible, hidden)

    def _may_be_read(self, root: Path, path: str) -> bool:
        return self.admission.why_not_read(root, path) is None

    def _close_stores(self, error: Exception) -> None:
        """Close the databases after an error: the next question opens them again, and their processes check them."""
        log.warning("The index cannot be read: %r", error)
        for connection in self._folders.connections():
            connection.let_go(error)

    def _begin(self, document: DocumentId) -> None:
        """Begin a question about a document: drop what the last question has left, unless its document is open."""
        self._look()
        last, self._last = self._last, document
        if last is not None and last != document and last not in self._opened:
            self._plans.drop(last)
            self._opened.drop(last)

    def _look(self) -> None:
        """Take note of which documents have changed or were closed, and what may help now."""
        for closed in self._opened.look():
            self._plans.drop(closed)

    def _seen(self, document: DocumentId) -> tuple[object, ...]:
        """What changes whenever a choice may come out differently; changes of the asking document do not count."""
        versions = [connection.version() for connection in self._folders.connections()]
        return (self.admission.generation, self._opened.news_for(document), *versions)

    def _holds(self, plan: Plan, document: DocumentId) -> bool:
        """Whether all that was chosen may still help, and still stands in the open documents that it is from."""
        return _stands(plan, self._opened) and all(
            self.admission.may_help(snippet.document, document) for snippet in plan.snippets
        )


def _line(cursor: Cursor) -> int:
    """The cursor's line, from 0."""
    return cursor.text.count("\n", 0, cursor.offset)


def _stands(plan: Plan, documents: OpenDocuments) -> bool:
    """Whether everything chosen from open documents still stands there."""
    for snippet in plan.snippets:
        document = documents.get(snippet.document)
        if document is None:
            if snippet.document in plan.opened:
                return False
        elif not set(snippet.text.splitlines()) - {""} <= set(document.text.splitlines()):  # a secret's line is empty
            return False
    return True
