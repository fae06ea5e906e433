"""The index as the server uses it: asked on a thread of its own, told of documents and folders from the event loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import ContextSnippet
from engine.models import cache_folder
from indexer import Index
from lsp_server.snapshot import Snapshot

_LOOK_AGAIN = 5.0  # seconds for which what lies near a document is taken to be the same

Read = Callable[[tuple[str, ...]], None]
"""Gets ready to look n-grams up in texts."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Near:
    """What lies near a document, for one model."""

    read: Read
    texts: tuple[str, ...] = ()
    looked: float = float("-inf")
    """When it was looked for last, as `time.monotonic` has it."""


class Context:
    """What other files tell. What documents contain goes in at once, which costs nothing."""

    def __init__(self, hear: Callable[[Path, dict[str, Any]], None]) -> None:
        self._index = Index(cache_folder(), hear)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="context")
        self._near_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="neighbours")
        self._near: dict[str, _Near] = {}
        self._lock = threading.Lock()  # for `_near`; held for moments
        self.changed = self._index.changed

    def use_folders(self, roots: Iterable[Path]) -> None:
        """Index these workspace folders, and no others any more."""
        wanted = set(roots)
        for root in set(self._index.folders()) - wanted:
            self._index.close_folder(root)
        for root in wanted - set(self._index.folders()):
            self._index.open_folder(root)

    def update(self, path: str, language: str, text: str, file: Path | None) -> None:
        """Take in a document's new text."""
        self._index.update(path, language, text, file)

    def forget(self, path: str) -> None:
        """Drop a document that was closed."""
        self._index.forget(path)
        with self._lock:
            self._near.pop(path, None)

    def opened(self) -> None:
        """Look at new documents before anyone asks about them: the first of a language loads its grammar."""
        self._thread.submit(self._index.refresh)

    def snippets_for(
        self, snapshot: Snapshot, *, within: float, tokens: int, count: Callable[[str], int]
    ) -> Future[tuple[ContextSnippet, ...]]:
        """Ask for snippets of at most `tokens` tokens, least relevant first; `within`: seconds."""

        def ask() -> tuple[ContextSnippet, ...]:
            found = self._index.context_for(
                snapshot.path,
                snapshot.language,
                snapshot.text,
                snapshot.offset,
                within=within,
                tokens=tokens,
                count=count,
            )
            return tuple(ContextSnippet(snippet.path, snippet.text) for snippet in found)

        return self._thread.submit(ask)

    def neighbours_of(self, snapshot: Snapshot, read: Read) -> tuple[str, ...]:
        """Texts of files near a document, as `look_around` has read them last for the model that `read` belongs to."""
        with self._lock:
            near = self._near.get(snapshot.path)
            return near.texts if near is not None and near.read == read else ()

    def look_around(self, snapshot: Snapshot, read: Read) -> None:
        """Read what is new near a document, in the background; it competes with nobody who waits for an answer."""
        now = time.monotonic()
        with self._lock:
            near = self._near.get(snapshot.path)
            if near is None or near.read != read:
                near = self._near[snapshot.path] = _Near(read)
            if now - near.looked < _LOOK_AGAIN:
                return
            near.looked = now
        self._near_thread.submit(self._look, snapshot, near)

    def _look(self, snapshot: Snapshot, near: _Near) -> None:
        try:
            found = self._index.neighbours(snapshot.path, snapshot.language, snapshot.text, snapshot.offset)
            texts = tuple(one.text for one in found)
            near.read(texts)
            with self._lock:
                near.texts = texts
        except Exception:
            log.exception("What lies near %s cannot be read", snapshot.path)

    def close(self) -> None:
        """Let the index's processes end."""
        for thread in (self._thread, self._near_thread):
            thread.shutdown(wait=False, cancel_futures=True)
        self._index.close()
