"""The index as the server uses it: asked on a thread of its own, told of documents and folders from the event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine import ContextSnippet
from engine.models import cache_folder
from indexer import Index
from lsp_server.snapshot import Snapshot


class Context:
    """What the prompt may show of other files. What documents contain goes in at once, which costs nothing."""

    def __init__(self, hear: Callable[[Path, dict[str, Any]], None]) -> None:
        self._index = Index(cache_folder(), hear)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="context")
        self.forget, self.changed = self._index.forget, self._index.changed

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

    def close(self) -> None:
        """Let the index's processes end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._index.close()
