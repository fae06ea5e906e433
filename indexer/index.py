"""The face of the index: documents and folders go in, snippets and neighbours for a place in a document come out.

Folders are read by worker processes into databases, documents that the editor has open are kept here and lie over them.
Nothing here reads a file of the workspace while it answers.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.admission import Admission, why_not_root
from indexer.parsing.analysis import family, parse
from indexer.retrieval.nearby_files import MOST_CHARACTERS, MOST_NEIGHBOURS, Neighbour, nearest
from indexer.retrieval.pack import Count, Snippet, estimated_tokens, pack
from indexer.retrieval.query import Question, ask
from indexer.retrieval.ranking import retrieve
from indexer.store.connection import Reader, database_of
from indexer.store.open_documents import Opened
from indexer.store.overlay import Layer, Library, mount_of
from indexer.sync.supervisor import WorkerProcess
from syntax import DocumentId, resolved

_REGION = 30  # lines the cursor may move before snippets are chosen anew
_PAUSE = 4.0  # seconds without a request, after which what is new in the workspace may change the choice
_MOST_PLANS = 6  # of one document
_MOST_RECENT = 6
_PARSE_WITHIN = 0.5  # seconds
_HEAD = 400_000  # code points in which a document's imports are looked for
_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:import|from|use|using|require|require_relative|include|#[ \t]*include|export\b.*\bfrom)\b.*$",
    re.MULTILINE,
)

log = logging.getLogger(__name__)

Hear = Callable[[Path, dict[str, Any]], None]
"""Told what the worker of a folder says, on a thread of its own; the messages are those of `sync/sync_loop.py`."""


@dataclass(slots=True)
class _Plan:
    """What was chosen for a region of a document: kept while it holds, so that the model's state is kept, too."""

    line: int
    imports: int
    """A hash of the document's import lines."""
    seen: tuple[object, ...]
    """What it was chosen from: permissions, and versions of documents and stores."""
    snippets: list[Snippet]
    opened: frozenset[DocumentId]
    """Documents of the snippets that were open."""
    last_used: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Folder:
    mount: str
    reader: Reader | None = None
    """None for a folder that is not indexed: of it there are open documents only."""
    worker: WorkerProcess | None = None


class Index:
    """Workspace folders, open documents, and what was chosen from them. Thread-safe.

    Without `cache`, the folder that databases lie in, there are open documents only. `admission` says which documents
    and files may help; it looks at ignore files again when it is told to, see `Admission.refresh`.
    """

    def __init__(self, cache: Path | None = None, hear: Hear = lambda root, message: None) -> None:
        self.admission = Admission()
        self._cache, self._hear = cache, hear
        self._lock = threading.Lock()  # for the dictionaries; held for moments
        self._asking = threading.Lock()  # for the stores; held while a question is answered
        self._plans: dict[DocumentId, list[_Plan]] = {}
        self._recent: dict[DocumentId, int] = {}
        self._folders: dict[Path, _Folder] = {}
        self._mounted: dict[Path, str] = {}
        self._opened = Opened(self.admission, self._mounted)
        self._last: DocumentId | None = None
        """Which document was asked about last: it need not be open."""

    @property
    def generation(self) -> tuple[int, ...]:
        """Another value as soon as what helped may help no more: permission has changed, or a document was closed."""
        return *self.admission.generation, self._opened.closed

    def open_folder(self, root: Path, *, watched: bool = True, indexed: bool = True) -> bool:
        """Take a folder into the workspace, and use its index; returns whether it has one.

        `watched` starts the process that keeps the index in step. Without `indexed`, and where the folder may not be
        indexed (see `why_not_root`), its open documents help each other all the same.
        """
        root = resolved(root)
        if root in self._folders:
            return self._folders[root].reader is not None
        folder = _Folder(self._mounted.setdefault(root, mount_of(len(self._mounted))))
        if indexed and self._cache is not None and why_not_root(root) is None:
            database = database_of(root, self._cache)
            if watched:
                folder.worker = WorkerProcess(root, database, lambda message: self._hear(root, message))
            folder.reader = Reader(database, folder.worker.check if folder.worker is not None else lambda: None)
        with self._lock:
            self._folders[root] = folder
            self.admission.use_folders(self._folders)
        return folder.reader is not None

    def close_folder(self, root: Path) -> None:
        """Take a folder out of the workspace: nothing in it helps any more."""
        with self._lock:
            folder = self._folders.pop(resolved(root), None)
            self.admission.use_folders(self._folders)
        if folder is not None:
            if folder.worker is not None:
                folder.worker.close()
            if folder.reader is not None:
                with self._asking:
                    folder.reader.close()

    def folders(self) -> dict[Path, bool]:
        """The workspace folders, resolved, and whether each has an index."""
        return {root: folder.reader is not None for root, folder in self._folders.items()}

    def close(self) -> None:
        """Let go of everything."""
        for root in self.folders():
            self.close_folder(root)

    def update(self, document: DocumentId, language: str, text: str) -> None:
        """Take in a document's new text. Costs nothing."""
        self._opened.update(document, language, text)

    def forget(self, document: DocumentId) -> None:
        """Drop a document that was closed."""
        self._opened.forget(document)
        with self._lock:
            self._plans.pop(document, None)

    def changed(self, files: Iterable[Path]) -> None:
        """Report files that were saved, made or removed, for workers that have not noticed yet.

        Their folders must be resolved: what lies in no workspace folder is left out.
        """
        with self._lock:
            folders = dict(self._folders)
        for root, folder in folders.items():
            inside = [file.relative_to(root).as_posix() for file in files if file.is_relative_to(root)]
            if inside and folder.worker is not None:
                folder.worker.tell(inside)

    def refresh(self, within: float = float("inf")) -> bool:
        """Take in what has changed of ignore files and of open documents, between two questions.

        After `within` seconds the rest is left for another time; returns whether nothing is.
        """
        deadline = time.monotonic() + within
        self.admission.refresh()
        with self._asking:
            self._opened.look()
            return self._opened.take_in(None, deadline)

    def context_for(
        self,
        document: DocumentId,
        language: str,
        text: str,
        offset: int,
        *,
        within: float,
        tokens: int = 800,
        count: Count = estimated_tokens,
    ) -> list[Snippet]:
        """Choose snippets of other documents and files for a place, least relevant first.

        `offset` is in code points. After `within` seconds the answer is what was found by then. The snippets have at
        most `tokens` tokens, as `count` counts them.
        """
        deadline = time.monotonic() + within
        line = text.count("\n", 0, offset)
        imports = hash(tuple(_IMPORT_LINE.findall(text, 0, _HEAD)))
        with self._asking:
            self._begin(document)
            seen = self._seen(document)
            plan = self._plan_for(document, line, imports, seen)
            if plan is not None:
                plan.last_used = time.monotonic()
                return list(plan.snippets)
            try:
                snippets = self._choose(document, language, text, line, deadline, tokens, count)
            except Exception as error:  # what is damaged may be of any type
                self._let_go(error)
                return []
            self._note_visit(document, line)
            if time.monotonic() < deadline:  # a choice made in haste is not kept
                opened = frozenset(one.document for one in snippets if one.document in self._opened)
                plans = self._plans.setdefault(document, [])
                plans.append(_Plan(line, imports, seen, snippets, opened))
                del plans[:-_MOST_PLANS]
        return list(snippets)

    def neighbours(
        self,
        document: DocumentId,
        language: str,
        text: str,
        offset: int,
        *,
        most: int = MOST_NEIGHBOURS,
        characters: int = MOST_CHARACTERS,
    ) -> list[Neighbour]:
        """Find documents and files near a document, the nearest first, with their whole texts; blank ones are left out.

        `offset` is in code points. There are at most `most` files, of `characters` code points in all.
        """
        line = text.count("\n", 0, offset)
        with self._asking:
            self._begin(document)
            try:
                question, library = self._ask(document, language, text, line, deadline=float("inf"))
                with library.unchanging():
                    visited = [self._opened.key(visit) for visit in self._recent][::-1]
                    return nearest(question, library, visited, most, characters)
            except Exception as error:  # what is damaged may be of any type
                self._let_go(error)
                return []

    def _choose(
        self, document: DocumentId, language: str, text: str, line: int, deadline: float, tokens: int, count: Count
    ) -> list[Snippet]:
        question, library = self._ask(document, language, text, line, deadline)
        recent = [(self._opened.key(visit), at) for visit, at in self._recent.items()][::-1]
        with library.unchanging():
            ranked = retrieve(question, library, recent, deadline=deadline)
            return pack(ranked, question, library, tokens, count, document.root)

    def _ask(
        self, document: DocumentId, language: str, text: str, line: int, deadline: float
    ) -> tuple[Question, Library]:
        within = min(max(deadline - time.monotonic(), 0.0), _PARSE_WITHIN)
        parsed = parse(text, document.path, language, self._opened.parsed.get(document), within=within)
        self._opened.parsed[document] = parsed
        self._opened.take_in(document, deadline)
        kin = family(document.path, parsed.language)
        return ask(parsed, self._opened.key(document), line, kin), self._library(document)

    def _library(self, asking: DocumentId) -> Library:
        """All that may help a document."""
        with self._lock:
            folders = dict(self._folders)
        layers = [
            Layer(root, store, folder.mount, _nested(root, folders))
            for root, folder in folders.items()
            if folder.reader is not None and (store := folder.reader.store()) is not None
        ]
        return Library(
            self._opened.store, layers, self._may_be_read, self._opened.visible_to(asking), self._opened.keys()
        )

    def _may_be_read(self, root: Path, path: str) -> bool:
        return self.admission.why_not_read(root, path) is None

    def _let_go(self, error: Exception) -> None:
        """Close the databases after an error: the next question opens them again, and their workers look at them."""
        log.warning("The index cannot be read: %r", error)
        for folder in self._folders.values():
            if folder.reader is not None:
                folder.reader.let_go(error)

    def _begin(self, document: DocumentId) -> None:
        """Begin a question about a document: drop what the one before has left, unless that is open."""
        self._opened.look()
        last, self._last = self._last, document
        if last is not None and last != document and last not in self._opened:
            with self._lock:
                self._plans.pop(last, None)
            self._opened.drop(last)

    def _seen(self, document: DocumentId) -> tuple[object, ...]:
        """What changes when a choice might come out differently; the document that asks does not count."""
        with self._lock:
            readers = [folder.reader for folder in self._folders.values() if folder.reader is not None]
        return (self.admission.generation, self._opened.news_for(document), *(reader.version() for reader in readers))

    def _plan_for(self, document: DocumentId, line: int, imports: int, seen: tuple[object, ...]) -> _Plan | None:
        """The plan for the cursor's region, if it still holds; those that do not are dropped."""
        kept = [
            plan
            for plan in self._plans.get(document, [])
            if plan.imports == imports
            and _stands(plan, self._opened)
            and all(self.admission.may_help(snippet.document, document) for snippet in plan.snippets)
        ]
        is_idle = kept and time.monotonic() - max(plan.last_used for plan in kept) > _PAUSE
        kept = [plan for plan in kept if plan.seen == seen or (plan.snippets and not is_idle)]
        self._plans[document] = kept
        near = [plan for plan in kept if abs(plan.line - line) <= _REGION]
        return min(near, key=lambda plan: abs(plan.line - line), default=None)

    def _note_visit(self, document: DocumentId, line: int) -> None:
        self._recent.pop(document, None)
        self._recent[document] = line
        while len(self._recent) > _MOST_RECENT:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            if oldest not in self._opened:
                self._opened.drop(oldest)


def _nested(root: Path, others: Iterable[Path]) -> tuple[str, ...]:
    """Workspace folders that lie in another one."""
    return tuple(f"{other.relative_to(root).as_posix()}/" for other in others if root in other.parents)


def _stands(plan: _Plan, documents: Opened) -> bool:
    """Whether everything chosen from open documents still stands there."""
    for snippet in plan.snippets:
        document = documents.get(snippet.document)
        if document is None:
            if snippet.document in plan.opened:
                return False
        elif not set(snippet.text.splitlines()) - {""} <= set(document.text.splitlines()):  # a secret's line is empty
            return False
    return True
