"""The documents that the editor has open: their texts, and a store of those that may help.

The work grows with what has changed and what is asked for, not with the number of open documents.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from indexer.admission import Admission
from indexer.files.text import Refusal, judge
from indexer.parsing.analysis import Parsed, analyse, parse
from indexer.store.overlay import numbered
from indexer.store.rows import FileState
from indexer.store.writing import WritableStore
from syntax import DocumentId


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """A document that is open."""

    language: str
    text: str
    version: int
    """Different for every text of every document."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A document whose text was taken in; the store has nothing of it if the text was refused."""

    document: OpenDocument
    key: str


class OpenDocuments:
    """The open documents. `update`, `forget`, `get`, `in` and `closed` are thread-safe; `Index` locks the rest.

    The next `look` asks for permission for an updated document, and the next `take_in` that has time puts it into the
    store. `mounts`: what the keys of each workspace folder's files begin with, see `overlay.py`.
    """

    def __init__(self, admission: Admission, mounts: Mapping[Path, str]) -> None:
        self.store = WritableStore.in_memory()
        self.parsed: dict[DocumentId, Parsed] = {}
        self.closed = 0
        """How many documents were closed so far."""
        self._admission, self._mounts = admission, mounts
        self._lock = threading.Lock()  # for the first two tables; held for moments
        self._documents: dict[DocumentId, OpenDocument] = {}
        self._changed: dict[DocumentId, None] = {}
        self._waiting: OrderedDict[DocumentId, None] = OrderedDict()
        """Documents that may help, and whose text is not in the store yet."""
        self._kept: dict[DocumentId, _Kept] = {}
        self._by_key: dict[str, DocumentId] = {}
        self._numbers: dict[DocumentId, int] = {}
        self._newest: dict[str | None, list[tuple[DocumentId, int]]] = {}
        """The last two documents that have changed: of those that help all, and of the cells of each notebook."""
        self._left = 0
        """How many documents have lost the permission to help."""
        self._judged: tuple[int, ...] | None = None
        """The admission's generation when all documents were judged."""
        self._counter = itertools.count(1)

    def __contains__(self, document: DocumentId) -> bool:
        return document in self._documents

    def get(self, document: DocumentId) -> OpenDocument | None:
        """An open document; None if it is not open."""
        return self._documents.get(document)

    def update(self, document: DocumentId, language: str, text: str) -> None:
        """Take in a document's new text, which costs nothing."""
        with self._lock:
            self._documents[document] = OpenDocument(language, text, next(self._counter))
            self._changed[document] = None

    def forget(self, document: DocumentId) -> None:
        """Drop a document that was closed."""
        with self._lock:
            if self._documents.pop(document, None) is not None:
                self.closed += 1
            self._changed[document] = None

    def look(self) -> list[DocumentId]:
        """Ask which changed documents may help; of all documents only where permissions have changed.

        Returns the documents that were closed since the last look.
        """
        with self._lock:
            if self._judged != self._admission.generation:
                self._judged = self._admission.generation
                self._changed.update(dict.fromkeys(self._documents))
            changed, self._changed = self._changed, {}
            documents = {one: self._documents.get(one) for one in changed}
        for one, document in documents.items():
            kept = self._kept.get(one)
            if document is None or self._admission.why_not_shown(one) is not None:
                self._leave(one)
            elif kept is None or kept.document is not document:
                self._waiting[one] = None
                self._note(one, document.version)
            if document is None:
                self.drop(one)
        return [one for one, document in documents.items() if document is None]

    def take_in(self, asking: DocumentId | None, deadline: float) -> bool:
        """Bring the store up to date until the deadline, except for the asking document; returns whether it is."""
        while (one := next((one for one in self._waiting if one != asking), None)) is not None:
            if time.monotonic() > deadline:
                return False
            del self._waiting[one]
            if (document := self._documents.get(one)) is None:
                continue  # closed since: the next look does the rest
            key, kept = self.key(one), self._kept.get(one)
            if kept is None or (kept.document.text, kept.document.language) != (document.text, document.language):
                self._put(one, key, document)
            self._kept[one] = _Kept(document, key)
            self._by_key[key] = one
        return True

    def news_for(self, asking: DocumentId) -> tuple[int, ...]:
        """Changes whenever another document that may help this one is changed, opened or closed."""
        scopes = (None,) if asking.notebook is None else (None, asking.notebook)
        newest = [next((at for one, at in self._newest.get(scope, ()) if one != asking), 0) for scope in scopes]
        return self._left, *newest

    def drop(self, document: DocumentId) -> None:
        """Drop what a question about a document has left; the document is not open."""
        self.parsed.pop(document, None)
        if document not in self._kept:
            self._numbers.pop(document, None)

    def key(self, document: DocumentId) -> str:
        """A document's key in a library: its file's key, or one with a number of its own; see `overlay.py`."""
        mount = self._mounts.get(document.root, "") if document.root is not None else ""
        if document.root is not None and document.is_file and document.shown == document.path:
            return mount + document.path
        return numbered(mount + document.shown, self._numbers.setdefault(document, next(self._counter)))

    def keys(self) -> Mapping[str, DocumentId]:
        """All documents that were taken in, by their keys."""
        return self._by_key

    def visible_to(self, asking: DocumentId) -> Mapping[str, DocumentId]:
        """The documents that may help another one, by their keys."""
        return _Visible(self._by_key, lambda one: one in self._documents and self._admission.may_help(one, asking))

    def _put(self, one: DocumentId, key: str, document: OpenDocument) -> None:
        text = judge(document.text)
        if isinstance(text, Refusal):
            self.store.remove([key])
            return
        parsed = parse(text, one.path, document.language, self.parsed.get(one))
        with self.store.transaction():
            self.store.put(key, FileState(0, 0, b""), analyse(parsed, one.path))
        self.parsed[one] = parsed

    def _note(self, one: DocumentId, version: int) -> None:
        scope = None if self._admission.helps_all(one) else one.notebook
        others = [(other, at) for other, at in self._newest.get(scope, ()) if other != one]
        self._newest[scope] = [(one, version), *others[:1]]

    def _leave(self, one: DocumentId) -> None:
        """Remove a document that may help no more."""
        kept = self._kept.pop(one, None)
        if kept is not None:
            self.store.remove([kept.key])
            self._by_key.pop(kept.key, None)
        if kept is not None or one in self._waiting:
            self._left += 1
        self._waiting.pop(one, None)
        for scope in (None, one.notebook):
            rest = [(other, at) for other, at in self._newest.pop(scope, ()) if other != one]
            if rest:
                self._newest[scope] = rest


class _Visible(Mapping[str, DocumentId]):
    """Documents by their keys; each lookup asks for permission."""

    def __init__(self, by_key: Mapping[str, DocumentId], may_be_seen: Callable[[DocumentId], bool]) -> None:
        self._by_key, self._may_be_seen = by_key, may_be_seen

    def __getitem__(self, key: str) -> DocumentId:
        found = self._by_key[key]
        if not self._may_be_seen(found):
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return (key for key, one in self._by_key.items() if self._may_be_seen(one))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None
