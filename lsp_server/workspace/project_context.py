"""The server's view of the index: questions run on threads of their own; documents come from the event loop."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine import ContextSnippet
from engine.model_folders.locations import cache_folder
from indexer import Index, IndexMessage, why_not_root
from lsp_server.snapshot import Snapshot
from lsp_server.wire.logs import shown_uri
from syntax import DocumentId, path_in

_LOOK_FOR = 0.02  # seconds for which requests wait for a look at new documents
_LOOK_AGAIN = 5.0  # seconds until the files near a document are searched again

Read = Callable[[tuple[str, ...]], None]
"""Prepares n-grams of texts: a method of the completer that uses them."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Near:
    """The files near a document, for one model."""

    texts: tuple[str, ...] = ()
    generation: tuple[int, ...] | None = None
    """The generation of the index from which the texts were read."""
    asked: tuple[int, ...] | None = None
    """The generation of the search that runs or ran last."""
    looked: float = float("-inf")
    """When the last search began, by `time.monotonic`."""


class Context:
    """Context from other files. The text of a document goes in at once; it is parsed later.

    A request begins with `why_not`, which reads changed rules: the answers that follow obey these rules.
    """

    def __init__(self, hear: Callable[[Path, IndexMessage], None]) -> None:
        self._index = Index(cache_folder(), hear)
        self._admission = self._index.admission
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="context")
        self._near_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="neighbours")
        self._rules_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rules")
        self._near: weakref.WeakKeyDictionary[object, dict[DocumentId, _Near]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()  # for `_near` and `_is_look_due`; held for moments
        self._is_look_due = False
        self.changed = self._index.changed

    @property
    def generation(self) -> tuple[int, ...]:
        """Changes when a document or a file that helped may not help any more."""
        return self._index.generation

    def use_folders(self, roots: Iterable[Path], *, indexed: bool) -> set[Path]:
        """Replace the workspace folders by these; returns those that are indexed.

        Open documents of a folder may help even without `indexed`. Missing folders are not indexed.
        """
        wanted = {root: indexed and _is_there(root) and why_not_root(root) is None for root in roots}
        for root, is_indexed in self._index.folders().items():
            if wanted.get(root) is not is_indexed:
                self._index.close_folder(root)
        for root, is_wanted in wanted.items():
            self._index.open_folder(root, indexed=is_wanted)
        return {root for root, is_indexed in self._index.folders().items() if is_indexed}

    def update(self, document: DocumentId, language: str, text: str) -> None:
        """Store a document's new text; it is parsed later."""
        self._index.update(document, language, text)

    def forget(self, document: DocumentId) -> None:
        """Remove a document that was closed."""
        self._index.forget(document)
        with self._lock:
            for near in self._near.values():
                near.pop(document, None)

    def opened(self) -> None:
        """Look at new documents before the first request: the first of a language loads its grammar.

        At most one look waits at a time, and requests go before it.
        """
        with self._lock:
            if self._is_look_due:
                return
            self._is_look_due = True
        with contextlib.suppress(RuntimeError):  # closed
            self._thread.submit(self._look_at_opened)

    def why_not(self, snapshot: Snapshot) -> Future[str | None]:
        """Ask why a document is not completed: it is ignored, or named like a secret. None if it is completed.

        Ignore files are checked on a thread of their own; on a local disk that takes 0.1 ms.
        """

        def ask() -> str | None:
            self._admission.refresh()
            return self._admission.why_not_completed(snapshot.cursor.document, path_in(snapshot.document.uri))

        return self._rules_thread.submit(ask)

    def snippets_for(
        self, snapshot: Snapshot, *, within: float, tokens: int, count: Callable[[str], int]
    ) -> Future[tuple[ContextSnippet, ...]]:
        """Ask for snippets of at most `tokens` tokens, least relevant first; `within`: seconds."""

        def ask() -> tuple[ContextSnippet, ...]:
            found = self._index.context_for(snapshot.cursor, within=within, tokens=tokens, count=count)
            return tuple(ContextSnippet(snippet.path, snippet.text) for snippet in found)

        return self._thread.submit(ask)

    def neighbours_of(self, snapshot: Snapshot, read: Read) -> tuple[str, ...]:
        """Texts of files near a document, as `look_around` last read them for the model of the method `read`.

        Empty if one of them may not help any more.
        """
        with self._lock:
            near = self._near.get(_owner(read), {}).get(snapshot.cursor.document)
            return near.texts if near is not None and near.generation == self.generation else ()

    def look_around(self, snapshot: Snapshot, read: Read) -> None:
        """Read what is new near a document, in the background, so that no request waits for it."""
        now = time.monotonic()
        with self._lock:
            near = self._near.setdefault(_owner(read), {}).setdefault(snapshot.cursor.document, _Near())
            if now - near.looked < _LOOK_AGAIN and near.asked == self.generation:
                return
            near.looked, near.asked = now, self.generation
        with contextlib.suppress(RuntimeError):  # the machine starts no more threads, or the index is closed
            self._near_thread.submit(self._look, snapshot, near, read)

    def _look(self, snapshot: Snapshot, near: _Near, read: Read) -> None:
        try:
            generation = self.generation
            found = self._index.neighbours(snapshot.cursor)
            texts = tuple(one.text for one in found)
            read(texts)
            with self._lock:
                near.texts, near.generation = texts, generation
            log.debug("%d files near a document are read", len(texts))
        except Exception:
            log.exception("What lies near %s cannot be read", shown_uri(snapshot.document.uri))

    def _look_at_opened(self) -> None:
        with self._lock:
            self._is_look_due = False  # a document that is opened later needs another look
        try:
            is_done = self._index.refresh(within=_LOOK_FOR)
        except Exception:
            log.exception("Open documents cannot be looked at")
            return
        if not is_done:
            self.opened()

    def close(self) -> None:
        """Let the index's processes end."""
        for thread in (self._thread, self._near_thread, self._rules_thread):
            thread.shutdown(wait=False, cancel_futures=True)
        self._index.close()


def _is_there(root: Path) -> bool:
    return os.path.isdir(root)  # noqa: PTH112 - a Path raises an error for a name that is too long


def _owner(read: Read) -> object:
    """The object of a method: entries kept for it are dropped with it."""
    return getattr(read, "__self__", read)
