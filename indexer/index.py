"""The face of the index: documents and folders go in, snippets and neighbours for a place in a document come out.

Folders are read by worker processes into databases, documents that the editor has open are kept here and lie over them.
Nothing here reads a file of the workspace while it answers.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.analysis import Parsed, analyse, parse
from indexer.folder import why_not
from indexer.library import Library
from indexer.neighbours import MOST_CHARACTERS, MOST_NEIGHBOURS, Neighbour, nearest
from indexer.pack import Count, Snippet, estimated_tokens, pack
from indexer.process import WorkerProcess
from indexer.question import Question, ask
from indexer.reader import Reader, database_of
from indexer.reading import judge
from indexer.retrieve import retrieve
from indexer.secrets import secret_name
from indexer.store import FileState, Store

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
"""Told what the worker of a folder says, on a thread of its own; the messages are those of `worker.py`."""


@dataclass(frozen=True, slots=True)
class _Document:
    language: str
    text: str
    file: Path | None


@dataclass(slots=True)
class _Plan:
    """What was chosen for a region of a document: kept while it holds, so that the model's state is kept, too."""

    line: int
    imports: int
    """A hash of the document's import lines."""
    seen: tuple[object, ...]
    """What it was chosen from: versions of the stores."""
    snippets: list[Snippet]
    opened: frozenset[str]
    """Paths of the snippets that came from open documents."""
    last_used: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Folder:
    reader: Reader
    worker: WorkerProcess | None


class Index:
    """Workspace folders, open documents, and what was chosen from them. Thread-safe.

    Without `cache`, the folder that databases lie in, there are open documents only.
    """

    def __init__(self, cache: Path | None = None, hear: Hear = lambda root, message: None) -> None:
        self._cache, self._hear = cache, hear
        self._lock = threading.Lock()  # for the dictionaries; held for moments
        self._asking = threading.Lock()  # for the stores; held while a question is answered
        self._documents: dict[str, _Document] = {}
        self._admitted: dict[str, bool] = {}
        self._parsed: dict[str, Parsed] = {}
        self._kept: dict[str, _Document] = {}
        self._plans: dict[str, list[_Plan]] = {}
        self._recent: dict[str, int] = {}
        self._folders: dict[Path, _Folder] = {}
        self._open = Store.in_memory()
        self._changes = 0

    def open_folder(self, root: Path, *, watched: bool = True) -> None:
        """Use a workspace folder's index; `watched` starts the process that keeps it in step."""
        if self._cache is None or root in self._folders:
            return
        database = database_of(root, self._cache)
        worker = WorkerProcess(root, database, lambda message: self._hear(root, message)) if watched else None
        with self._lock:
            self._folders[root] = _Folder(Reader(database), worker)

    def close_folder(self, root: Path) -> None:
        """Stop using a workspace folder."""
        with self._lock:
            folder = self._folders.pop(root, None)
        if folder is not None:
            if folder.worker is not None:
                folder.worker.close()
            with self._asking:
                folder.reader.close()

    def folders(self) -> list[Path]:
        """The workspace folders in use."""
        return list(self._folders)

    def close(self) -> None:
        """Let go of everything."""
        for root in self.folders():
            self.close_folder(root)

    def update(self, path: str, language: str, text: str, file: Path | None = None) -> None:
        """Take in a document's new text. `file` is where it lies, for the rules of its folder. Costs nothing."""
        with self._lock:
            self._documents[path] = _Document(language, text, file)

    def forget(self, path: str) -> None:
        """Drop a document that was closed."""
        with self._lock:
            for kept in (self._documents, self._admitted, self._plans):
                kept.pop(path, None)

    def changed(self, files: Iterable[Path]) -> None:
        """Report files that were saved, made or removed, for workers that have not noticed yet."""
        with self._lock:
            folders = dict(self._folders)
        for root, folder in folders.items():
            inside = [file.relative_to(root).as_posix() for file in files if file.is_relative_to(root)]
            if inside and folder.worker is not None:
                folder.worker.tell(inside)

    def refresh(self) -> None:
        """Take in what has changed of open documents, between two questions. Reads ignore files of new documents."""
        with self._lock:
            new = {path: one for path, one in self._documents.items() if path not in self._admitted}
            roots = list(self._folders)
        for path, document in new.items():
            admitted = _is_admitted(path, document, roots)
            with self._lock:
                self._admitted[path] = admitted
        with self._asking:
            self._take_in(None, deadline=float("inf"))

    def context_for(
        self,
        path: str,
        language: str,
        text: str,
        offset: int,
        *,
        within: float,
        tokens: int = 800,
        count: Count = estimated_tokens,
    ) -> list[Snippet]:
        """Choose snippets of other files for a place, least relevant first.

        `offset` is in code points. After `within` seconds the answer is what was found by then. The snippets have at
        most `tokens` tokens, as `count` counts them.
        """
        deadline = time.monotonic() + within
        line = text.count("\n", 0, offset)
        imports = hash(tuple(_IMPORT_LINE.findall(text, 0, _HEAD)))
        with self._asking:
            seen = self._seen(path)
            plan = self._plan_for(path, line, imports, seen)
            if plan is not None:
                plan.last_used = time.monotonic()
                return list(plan.snippets)
            try:
                snippets = self._choose(path, language, text, line, deadline, tokens, count)
            except sqlite3.Error as error:
                self._let_go(error)
                return []
            self._note_visit(path, line)
            if time.monotonic() < deadline:  # a choice made in haste is not kept
                opened = frozenset(one.path for one in snippets if one.path in self._kept)
                plans = self._plans.setdefault(path, [])
                plans.append(_Plan(line, imports, seen, snippets, opened))
                del plans[:-_MOST_PLANS]
        return list(snippets)

    def neighbours(
        self,
        path: str,
        language: str,
        text: str,
        offset: int,
        *,
        most: int = MOST_NEIGHBOURS,
        characters: int = MOST_CHARACTERS,
    ) -> list[Neighbour]:
        """Find the files near a document, the nearest first, with their whole texts; blank ones are left out.

        `offset` is in code points. There are at most `most` files, of `characters` code points in all.
        """
        line = text.count("\n", 0, offset)
        with self._asking:
            try:
                question, library = self._ask(path, language, text, line, deadline=float("inf"))
                with library.unchanging():
                    return nearest(question, library, list(self._recent)[::-1], most, characters)
            except sqlite3.Error as error:
                self._let_go(error)
                return []

    def _choose(
        self, path: str, language: str, text: str, line: int, deadline: float, tokens: int, count: Count
    ) -> list[Snippet]:
        question, library = self._ask(path, language, text, line, deadline)
        recent = list(self._recent.items())[::-1]
        with library.unchanging():
            return pack(retrieve(question, library, recent, deadline=deadline), question, library, tokens, count)

    def _ask(self, path: str, language: str, text: str, line: int, deadline: float) -> tuple[Question, Library]:
        within = min(max(deadline - time.monotonic(), 0.0), _PARSE_WITHIN)
        parsed = self._parsed[path] = parse(text, path, language, self._parsed.get(path), within=within)
        self._take_in(path, deadline)
        return ask(parsed, path, line), self._library()

    def _library(self) -> Library:
        with self._lock:
            readers = [folder.reader for folder in self._folders.values()]
            opened = {path for path in self._documents if path in self._kept}
        return Library(self._open, opened, [store for reader in readers if (store := reader.store()) is not None])

    def _let_go(self, error: sqlite3.Error) -> None:
        """Close the databases after an error: the next question opens them again."""
        log.warning("The index cannot be read: %s", error)
        for folder in self._folders.values():
            folder.reader.close()

    def _take_in(self, asking: str | None, deadline: float) -> None:
        """Bring the store of open documents up to date, as far as there is time."""
        with self._lock:
            documents = {
                path: one for path, one in self._documents.items() if one.file is None or self._admitted.get(path)
            }
        gone = self._kept.keys() - documents.keys()
        self._open.remove(gone)
        for path in gone:
            del self._kept[path]
            self._parsed.pop(path, None)
        for path, document in documents.items():
            if path == asking or self._kept.get(path) is document:
                continue
            if time.monotonic() > deadline:
                return
            if (known := self._kept.get(path)) is None or known.text != document.text:
                self._keep(path, document)
            self._kept[path] = document

    def _keep(self, path: str, document: _Document) -> None:
        refusal = secret_name(path.rpartition("/")[2]) or judge(document.text)
        if refusal is not None:
            self._open.remove([path])
            return
        parsed = self._parsed[path] = parse(document.text, path, document.language, self._parsed.get(path))
        with self._open.transaction():
            self._open.put(path, FileState(0, 0, b""), analyse(parsed, path))
        self._changes += 1

    def _seen(self, path: str) -> tuple[object, ...]:
        """What changes when a choice might come out differently; the document that asks does not count."""
        with self._lock:
            documents = tuple((name, id(one)) for name, one in self._documents.items() if name != path)
            folders = [folder.reader for folder in self._folders.values()]
        return (documents, *(reader.version() for reader in folders))

    def _plan_for(self, path: str, line: int, imports: int, seen: tuple[object, ...]) -> _Plan | None:
        """The plan for the cursor's region, if it still holds; those that do not are dropped."""
        with self._lock:
            documents = dict(self._documents)
        kept = [plan for plan in self._plans.get(path, []) if plan.imports == imports and _stands(plan, documents)]
        is_idle = kept and time.monotonic() - max(plan.last_used for plan in kept) > _PAUSE
        kept = [plan for plan in kept if plan.seen == seen or (plan.snippets and not is_idle)]
        self._plans[path] = kept
        near = [plan for plan in kept if abs(plan.line - line) <= _REGION]
        return min(near, key=lambda plan: abs(plan.line - line), default=None)

    def _note_visit(self, path: str, line: int) -> None:
        self._recent.pop(path, None)
        self._recent[path] = line
        while len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]


def _stands(plan: _Plan, documents: dict[str, _Document]) -> bool:
    """Whether everything chosen from open documents still stands there."""
    for snippet in plan.snippets:
        document = documents.get(snippet.path)
        if document is None:
            if snippet.path in plan.opened:
                return False
        elif not set(snippet.text.splitlines()) <= set(document.text.splitlines()):
            return False
    return True


def _is_admitted(path: str, document: _Document, roots: list[Path]) -> bool:
    """Whether the rules of a document's folder let others see it."""
    file = document.file
    root = next((root for root in roots if file is not None and file.is_relative_to(root)), None)
    if root is None or file is None:
        return True
    if not file.exists():
        return True  # not saved yet
    reason = why_not(file, root)
    if reason is not None:
        log.info("%s is not shown to the model: %s", path, reason)
    return reason is None
