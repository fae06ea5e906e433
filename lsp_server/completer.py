"""Everything of the server that touches the engine.

Importing it takes most of a second (ONNX Runtime, tokenizers, grammars). So only the loading thread imports it, while
the event loop answers `initialize`.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future

from engine import CompletionRequest, ContextSnippet, Engine, InferenceThread, ModelError, Suggestion
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import MANIFEST_FILE
from engine.runtime.memory import give_back
from lsp_server.configuration.settings import ModelChoice, Settings
from lsp_server.reporting.status import ModelFacts
from lsp_server.snapshot import Snapshot

_CANDIDATES = 3  # to choose from, when explicitly invoked
_SECONDS_TO_FREE = 30.0  # after which a thread that hangs in a native library may keep the model

Signature = tuple[str, int, int]


class Completer:
    """A loaded model with its inference thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine | None = engine
        self._thread: InferenceThread | None = InferenceThread(engine)
        manifest = engine.manifest
        self.facts = ModelFacts(
            name=manifest.name,
            architecture=manifest.architecture,
            parameters=manifest.parameters,
            quantization=manifest.quantization,
            providers=tuple(engine.providers),
            threads=engine.threads,
        )
        self.message = f"{manifest.name} is ready" + (f": {engine.opened.reason}" if engine.opened.fell_back else "")
        """One sentence for the status."""
        self.snippet_budget = engine.budget.context_at
        """How many tokens snippets of other files may have, by the cursor's offset."""
        self.looks_up = manifest.ngrams is not None
        """Whether the model uses n-grams of the files near a document."""

    @classmethod
    def load(cls, choice: ModelChoice, progress: Callable[[str, float], None]) -> Completer:
        """Load a model; takes seconds. Raises ModelError."""
        folder = find_model(choice.model)
        engine = Engine.load(
            folder,
            provider=choice.provider,
            threads=choice.threads,
            prompt_tokens=choice.context_tokens,
            state_memory=None if choice.state_memory is None else choice.state_memory * 1_000_000,
            progress=progress,
        )
        return cls(engine)

    def submit(
        self,
        snapshot: Snapshot,
        snippets: tuple[ContextSnippet, ...],
        neighbours: tuple[str, ...],
        settings: Settings,
        *,
        confidence: float,
    ) -> Future[Suggestion]:
        """Queue a request. Cancelling the future stops its work at the next step; so does a newer request.

        `confidence`: the gate, which may be another than the set one where it has learned.
        """
        if self._thread is None:
            raise RuntimeError("This model was let go")
        return self._thread.submit(_request(snapshot, snippets, neighbours, settings, confidence))

    def warm_up(
        self, snapshot: Snapshot, snippets: tuple[ContextSnippet, ...], settings: Settings, *, confidence: float
    ) -> None:
        """In idle time, compute the state for a request at this place."""
        if self._thread is not None:
            self._thread.warm_up(_request(snapshot, snippets, (), settings, confidence))

    def rest(self, uri: str | None = None) -> None:
        """Stop all work for a document, or for all of them."""
        if self._thread is not None:
            self._thread.rest(uri)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text; 0 once the model is unloaded. Thread-safe."""
        engine = self._engine
        return engine.tokenizer.count(text) if engine is not None else 0

    def read(self, neighbours: tuple[str, ...]) -> None:
        """Prepare n-grams of these neighbours: see `Engine.read`. Thread-safe."""
        if (engine := self._engine) is not None:
            engine.read(neighbours)

    def forget(self) -> None:
        """Drop cached suggestions and cancel requests: the model may no longer see the texts that they contain."""
        if self._thread is not None:
            self._thread.forget()

    def close(self) -> None:
        """Cancel all work, wait for the inference thread, which takes milliseconds, and free the model.

        Another thread may keep this completer, for example to count tokens: that keeps no part of the model in memory.
        While one still works with the model, this waits: memory that is let go of later would stay with the allocator.
        """
        thread, self._thread = self._thread, None
        left = weakref.ref(self._engine) if self._engine is not None else None
        self._engine = None
        if thread is not None:
            thread.close()
        del thread
        until, pause, is_left = time.monotonic() + _SECONDS_TO_FREE, 0.02, True
        while is_left and time.monotonic() < until:
            is_left = left is not None and left() is not None
            give_back()
            if is_left:
                time.sleep(pause)
                pause = min(2 * pause, 1.0)  # a look takes tens of milliseconds of the processor


def _request(
    snapshot: Snapshot,
    snippets: tuple[ContextSnippet, ...],
    neighbours: tuple[str, ...],
    settings: Settings,
    confidence: float,
) -> CompletionRequest:
    return CompletionRequest.at(
        snapshot.cursor,
        context=snippets,
        neighbours=neighbours,
        explicit=snapshot.explicit,
        candidates=_CANDIDATES if snapshot.explicit else 1,
        max_tokens=settings.max_tokens,
        deadline=None if snapshot.explicit else settings.deadline / 1000 or None,
        disabled_in=settings.disabled_in,
        confidence=confidence,
    )


def signature_of(model: str | None) -> Signature | None:
    """A value that changes when a model is set up or exported again; None without a model. Reads file times only."""
    try:
        manifest = find_model(model) / MANIFEST_FILE
        found = manifest.stat()
    except (ModelError, OSError, RuntimeError, ValueError):  # the last two: a name that is not a path on this machine
        return None
    return str(manifest), found.st_ino, found.st_mtime_ns
