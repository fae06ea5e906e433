"""Everything of the server that touches the engine and the index.

Importing it takes most of a second (ONNX Runtime, tokenizers, grammars), so only the loading thread does so, while the
event loop answers `initialize` already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

from engine import CompletionRequest, ContextSnippet, Engine, ModelError, Scheduler, Suggestion
from engine.manifest import MANIFEST_FILE
from engine.models import find_model
from indexer import Index
from lsp_server.settings import ModelChoice
from lsp_server.snapshot import Snapshot
from lsp_server.status import ModelFacts

log = logging.getLogger(__name__)

_QUIET_SECONDS = 0.5

Signature = tuple[str, int, int]


class Completer:
    """A loaded model with its inference thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scheduler = Scheduler(engine)
        manifest = engine.manifest
        self.facts = ModelFacts(
            name=manifest.name,
            architecture=manifest.architecture,
            parameters=manifest.parameters,
            quantization=manifest.quantization,
            providers=tuple(engine.providers),
            threads=engine.threads,
        )

    @classmethod
    def load(cls, choice: ModelChoice, progress: Callable[[str, float], None]) -> Completer:
        """Load a model; takes seconds. Raises ModelError."""
        folder = find_model(choice.model)
        return cls(Engine.load(folder, threads=choice.threads, prompt_tokens=choice.context_tokens, progress=progress))

    def submit(
        self, snapshot: Snapshot, snippets: tuple[ContextSnippet, ...], *, max_tokens: int
    ) -> Future[Suggestion]:
        """Queue a request. Cancelling the future stops its work at the next step; so does a newer request."""
        request = CompletionRequest(
            path=snapshot.path,
            language=snapshot.language,
            text=snapshot.text,
            offset=snapshot.offset,
            context=snippets,
            explicit=snapshot.explicit,
            max_tokens=max_tokens,
        )
        return self._scheduler.submit(snapshot.document.uri, request)

    def close(self) -> None:
        """Cancel all work, wait for the inference thread (one chunk of prefill at most), and let go of the model.

        Only a completer that nobody uses any more may be closed.
        """
        self._scheduler.close()
        del self._scheduler, self._engine


def signature_of(model: str | None) -> Signature | None:
    """What changes when a model is set up or made again; None where there is none. Looks at names and times only."""
    try:
        manifest = find_model(model) / MANIFEST_FILE
        found = manifest.stat()
    except (ModelError, OSError):
        return None
    return str(manifest), found.st_ino, found.st_mtime_ns


class Context:
    """The index on a thread of its own: documents go in when typing pauses, snippets come out within a time limit."""

    def __init__(self) -> None:
        self._index = Index()
        self._changed = threading.Condition()
        self._documents: dict[str, tuple[str, str] | None] = {}  # None: to be forgotten
        self._queries: list[tuple[Snapshot, float, Future[tuple[ContextSnippet, ...]]]] = []
        threading.Thread(target=self._work, name="context", daemon=True).start()

    def update(self, path: str, language: str, text: str) -> None:
        """Put a document's new text into the index, soon."""
        with self._changed:
            self._documents.pop(path, None)
            self._documents[path] = language, text
            self._changed.notify()

    def forget(self, path: str) -> None:
        """Take a document out of the index."""
        with self._changed:
            self._documents[path] = None
            self._changed.notify()

    def snippets_for(self, snapshot: Snapshot, within: float) -> Future[tuple[ContextSnippet, ...]]:
        """Ask for what the prompt may show of other files, least relevant first; `within`: seconds."""
        future: Future[tuple[ContextSnippet, ...]] = Future()
        with self._changed:
            self._queries.append((snapshot, within, future))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queries or self._documents)
                if not self._queries:
                    # every keystroke is a new text: take it in when there is a pause, or when another document asks
                    self._changed.wait_for(lambda: self._queries, timeout=_QUIET_SECONDS)
                queries, self._queries = self._queries, []
                asking = {snapshot.path for snapshot, _, _ in queries}
                documents = {path: content for path, content in self._documents.items() if path not in asking}
                for path in documents:
                    del self._documents[path]
            for path, content in documents.items():
                self._take_in(path, content)
            for snapshot, within, future in queries:
                self._answer(snapshot, within, future)

    def _take_in(self, path: str, content: tuple[str, str] | None) -> None:
        try:
            if content is None:
                self._index.forget(path)
            else:
                self._index.update(path, *content)
        except Exception:
            log.exception("The index could not take in %s", path)

    def _answer(self, snapshot: Snapshot, within: float, future: Future[tuple[ContextSnippet, ...]]) -> None:
        if future.cancelled():
            return
        try:
            found = self._index.context_for(
                snapshot.path, snapshot.language, snapshot.text, snapshot.offset, within=within
            )
            future.set_result(tuple(ContextSnippet(snippet.path, snippet.text) for snippet in found))
        except InvalidStateError:
            pass  # cancelled meanwhile
        except Exception as error:
            if not future.cancelled():
                future.set_exception(error)
