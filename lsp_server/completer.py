"""Everything of the server that touches the engine.

Importing it takes most of a second (ONNX Runtime, tokenizers, grammars). So only the loading thread imports it, while
the event loop answers `initialize`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future

from engine import CompletionRequest, ContextSnippet, Engine, InferenceThread, ModelError, Suggestion
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import MANIFEST_FILE
from engine.remote.address import RemoteError, parse_address
from engine.remote.engine import RemoteEngine, RemoteFacts
from engine.remote.pair import Pair
from engine.runtime.memory import give_back
from lsp_server.configuration.remotes import ADDRESS_VARIABLE, allowed, token_of
from lsp_server.configuration.settings import ModelChoice, RemoteChoice, Settings
from lsp_server.reporting.status import ModelFacts
from lsp_server.snapshot import Snapshot

_CANDIDATES = 3  # to choose from, when explicitly invoked
_SECONDS_TO_FREE = 10.0  # after which a thread that hangs in a native library may keep the model

Signature = tuple[str, int, int]


class Completer:
    """What suggests: a loaded model with its inference thread, one on another machine, or both."""

    def __init__(
        self, engine: Engine | None, remote: RemoteEngine | None = None, refused: RemoteFacts | None = None
    ) -> None:
        """`refused`: a remote engine that is wanted, and why it is not even tried. One of both engines is needed."""
        self._engine, self._remote, self._refused = engine, remote, refused
        self._here = InferenceThread(engine) if engine is not None else None
        self._there = InferenceThread(remote) if remote is not None else None
        self._thread: InferenceThread | Pair | None = _together(self._here, self._there, remote)
        self._change = threading.Lock()
        """Held while an engine is taken or given: the remote one changes while the local one goes on."""
        self.facts: ModelFacts
        """The model in memory, or where there is none, the remote one."""
        self.message: str
        """One sentence for the status."""
        if engine is None:
            assert remote is not None
            self.facts = ModelFacts(remote.model or remote.facts().url, "", 0, "", ("remote",), 0)
            self.message = "There is no local model"
        else:
            manifest = engine.manifest
            self.facts = ModelFacts(
                name=manifest.name,
                architecture=manifest.architecture,
                parameters=manifest.parameters,
                quantization=manifest.quantization,
                providers=tuple(engine.providers),
                threads=engine.threads,
            )
            fell_back = f": {engine.opened.reason}" if engine.opened.fell_back else ""
            self.message = f"{manifest.name} is ready{fell_back}{engine.caution and f'. {engine.caution}'}"
        self.looks_up = engine is not None and engine.manifest.ngrams is not None
        """Whether the model uses n-grams of the files near a document."""
        self._local_budget = engine.budget if engine is not None else None

    def snippet_budget(self, offset: int) -> int:
        """How many tokens snippets of other files may have where the cursor stands at `offset`."""
        remote, budget = self._remote, self._local_budget
        if remote is not None and (remote.is_ready or budget is None):
            budget = remote.budget
        return budget.context_at(offset) if budget is not None else 0

    @classmethod
    def load(
        cls,
        choice: ModelChoice,
        progress: Callable[[str, float], None],
        on_remote_change: Callable[[], None] = lambda: None,
    ) -> Completer:
        """Load a model; takes seconds. Raises ModelError, also where there is neither a local model nor a remote one.

        `on_remote_change`: called on any thread when the state of the remote engine changes.
        """
        engine: Engine | None = None
        missing: ModelError | None = None
        try:
            engine = Engine.load(
                find_model(choice.model),
                provider=choice.provider,
                threads=choice.threads,
                prompt_tokens=choice.context_tokens,
                state_memory=None if choice.state_memory is None else choice.state_memory * 1_000_000,
                progress=progress,
            )
        except ModelError as error:
            missing = error
        remote, refused = _wanted(choice, engine, on_remote_change)
        if missing is not None and remote is None:
            raise missing if refused is None else ModelError(f"{refused.message}. {missing}")
        return cls(engine, remote, refused)

    @property
    def is_local(self) -> bool:
        """Whether it has a model in memory, which a change of the remote one leaves as it is."""
        return self._engine is not None

    def change_remote(self, choice: ModelChoice, on_remote_change: Callable[[], None]) -> None:
        """Have another remote engine, or none, while the model in memory goes on. Takes a moment; any thread.

        Requests that wait for the old one are cancelled.
        """
        with self._change:
            if self._engine is None:  # it was closed meanwhile
                return
            old, old_thread = self._remote, self._there
            remote, refused = _wanted(choice, self._engine, on_remote_change)
            self._there = InferenceThread(remote) if remote is not None else None
            self._thread = _together(self._here, self._there, remote)
            self._remote, self._refused = remote, refused
        _close(old_thread, old)

    @property
    def remote(self) -> RemoteFacts | None:
        """The remote engine; None without one."""
        return self._remote.facts() if self._remote is not None else self._refused

    @property
    def model_name(self) -> str:
        """The model that is expected to answer next."""
        return self._remote.model if self._remote is not None and self._remote.is_ready else self.facts.name

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
        engine, remote = self._engine, self._remote
        if engine is not None:
            return engine.tokenizer.count(text)
        return remote.count_tokens(text) if remote is not None else 0

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
        with self._change:
            here, there, remote, self._thread = self._here, self._there, self._remote, None
            left = weakref.ref(self._engine) if self._engine is not None else None
            self._here = self._there = self._remote = self._engine = None
        _close(there, remote)
        if here is not None:
            here.close()
        del here, there, remote
        until, pause, is_left = time.monotonic() + _SECONDS_TO_FREE, 0.02, True
        while is_left and time.monotonic() < until:
            is_left = left is not None and left() is not None
            give_back()
            if is_left:
                time.sleep(pause)
                pause = min(2 * pause, 1.0)  # a look takes tens of milliseconds of the processor


def _together(
    here: InferenceThread | None, there: InferenceThread | None, remote: RemoteEngine | None
) -> InferenceThread | Pair | None:
    if here is None or there is None or remote is None:
        return here or there
    return Pair(here, there, remote)


def _close(thread: InferenceThread | None, remote: RemoteEngine | None) -> None:
    """End a remote engine, its thread first."""
    if thread is not None:
        thread.close()
    if remote is not None:
        remote.close()


def _wanted(
    choice: ModelChoice, engine: Engine | None, on_change: Callable[[], None]
) -> tuple[RemoteEngine | None, RemoteFacts | None]:
    """The remote engine that is chosen, or why it is not even tried."""
    if choice.remote is None:
        return None, None
    try:
        return connect(choice.remote, engine, choice.context_tokens, on_change), None
    except RemoteError as error:
        return None, RemoteFacts(choice.remote.url[:200], choice.remote.model or "", "down", str(error), None)


def connect(
    choice: RemoteChoice,
    engine: Engine | None,
    prompt_tokens: int | None = None,
    on_change: Callable[[], None] = lambda: None,
) -> RemoteEngine:
    """The remote engine that the settings name; it connects only if the user allows it. Raises RemoteError."""
    base = parse_address(choice.url).base

    def credentials() -> str | None:
        """Asked before each greeting, so that a command of the user's takes effect while the server runs."""
        given = os.environ.get(ADDRESS_VARIABLE)
        if base not in allowed() and (given is None or parse_address(given).base != base):
            raise RemoteError(f"{base} gets no code before you allow it. Run: mellum-lsp remote allow {base}")
        return token_of(base)

    local = (engine.tokenizer, engine.manifest.prompt) if engine is not None else None
    return RemoteEngine(
        base, choice.model, credentials=credentials, local=local, prompt_tokens=prompt_tokens, on_change=on_change
    )


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


def why_missing(model: str | None) -> str | None:
    """Why there is no model of this name now, a sentence with the mend; None where there is one."""
    try:
        find_model(model)
    except ModelError as error:
        return str(error)
    return None
