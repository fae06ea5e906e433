"""Everything of the server that touches the engine.

Importing it takes most of a second (ONNX Runtime, tokenizers, grammars), so only the loading thread does so, while the
event loop answers `initialize` already.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from engine import CompletionRequest, ContextSnippet, Engine, ModelError, Scheduler, Suggestion
from engine.manifest import MANIFEST_FILE
from engine.models import find_model
from lsp_server.settings import ModelChoice, Settings
from lsp_server.snapshot import Snapshot
from lsp_server.status import ModelFacts

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
        self.message = f"{manifest.name} is ready" + (f": {engine.opened.reason}" if engine.opened.fell_back else "")
        """One sentence for the status."""
        self.context_tokens = engine.budget.context
        self.count_tokens = engine.count_tokens

    @classmethod
    def load(cls, choice: ModelChoice, progress: Callable[[str, float], None]) -> Completer:
        """Load a model; takes seconds. Raises ModelError."""
        folder = find_model(choice.model)
        return cls(
            Engine.load(
                folder,
                provider=choice.provider,
                threads=choice.threads,
                prompt_tokens=choice.context_tokens,
                progress=progress,
            )
        )

    def submit(
        self, snapshot: Snapshot, snippets: tuple[ContextSnippet, ...], settings: Settings
    ) -> Future[Suggestion]:
        """Queue a request. Cancelling the future stops its work at the next step; so does a newer request."""
        request = CompletionRequest(
            path=snapshot.path,
            language=snapshot.language,
            text=snapshot.text,
            offset=snapshot.offset,
            context=snippets,
            explicit=snapshot.explicit,
            max_tokens=settings.max_tokens,
            confidence=settings.confidence_in(snapshot.language),
        )
        return self._scheduler.submit(snapshot.document.uri, request)

    def close(self) -> None:
        """Cancel all work, wait for the inference thread (one chunk of prefill at most), and let go of the model.

        Only a completer that nobody uses any more may be closed.
        """
        self._scheduler.close()
        del self._scheduler, self._engine, self.count_tokens


def signature_of(model: str | None) -> Signature | None:
    """What changes when a model is set up or made again; None where there is none. Looks at names and times only."""
    try:
        manifest = find_model(model) / MANIFEST_FILE
        found = manifest.stat()
    except (ModelError, OSError):
        return None
    return str(manifest), found.st_ino, found.st_mtime_ns
