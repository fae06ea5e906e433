"""The model in memory: loads it in the background, searches again while none is found, and replaces it.

Another one takes its place for new settings, after `mellum-lsp models use`, and where its folder was made anew. It
stays where the settings change the remote model alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pygls.lsp.server import LanguageServer

from lsp_server.configuration.settings import ModelChoice
from lsp_server.reporting.progress import ProgressBar
from lsp_server.reporting.status import State
from syntax.sentences import is_of_the_machine, reason_of

if TYPE_CHECKING:
    from lsp_server.completer import Completer, Signature

_SECONDS_BETWEEN_LOOKS = 2.0

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an attempt to load a model ended."""

    state: State
    message: str
    completer: Completer | None = None
    signature: Signature | None = None
    """Of the model folder that was tried: another attempt waits until this changes."""


class ResidentModel:
    """The model that makes suggestions, or the reason why there is none. Used on the event loop's thread alone."""

    def __init__(
        self, server: LanguageServer, on_change: Callable[[], None], on_remote_change: Callable[[], None]
    ) -> None:
        self._server = server
        self._on_change, self._on_remote_change = on_change, on_remote_change
        self.state = State.LOADING
        self.message = "Starting"
        self.completer: Completer | None = None
        self._wanted: ModelChoice | None = None
        self._loaded: ModelChoice | None = None
        self._loading: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._signature: Signature | None = None
        self._last_look = 0.0
        self.loss: str | None = None
        """That the folder of the model in memory was removed, a sentence; None where it is there."""

    def want(self, choice: ModelChoice) -> None:
        """Load this model, unless it is loaded already."""
        before, self._wanted = self._wanted, choice
        if before != choice:
            self._load()

    def let_go(self, message: str, *, for_good: bool) -> None:
        """Unload the model. The next request loads it again; with `for_good`, only `want` does.

        `message`: the sentence for the status.
        """
        if for_good:
            self._wanted = None  # a model that is still loading is unloaded when it is ready
        if self.completer is None:
            return
        completer, self.completer = self.completer, None
        self._closing = asyncio.create_task(in_thread("loader", completer.close))
        self._tell(State.UNLOADED, message)

    def look_again(self) -> None:
        """Load an unloaded model again; every few seconds, check whether another one was chosen, or made anew.

        Takes microseconds.
        """
        if self._wanted is None:
            return
        if self.state is State.UNLOADED:
            self._load()
        if self.state is State.LOADING:
            return
        now = time.monotonic()
        if now - self._last_look < _SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = now
        try:
            from lsp_server.completer import signature_of, why_missing  # the loading thread has imported them already
        except ImportError:
            return  # loading has failed for this reason
        signature = signature_of(self._wanted.model)
        if signature is not None and signature != self._signature:
            self._loaded = None  # what is in memory is not what is there
            self._load()
        elif self.completer is not None and self._signature is not None:
            self._note_loss(None if signature is not None else why_missing(self._wanted.model))

    def _note_loss(self, why: str | None) -> None:
        """Say once that the folder of the model in memory was removed, or is back again."""
        assert self.completer is not None
        assert self._signature is not None
        if (why is None) == (self.loss is None):
            return
        self.loss, message = None, self.completer.message
        if why is not None:
            folder = Path(self._signature[0]).parent
            self.loss = (
                f"The folder {folder} of the model in use was removed: the model works until it is let go. {why}"
            )
            message = f"{message}. {self.loss}"
        self._tell(State.READY, message)

    def fail(self, message: str) -> None:
        """Report a server that could not begin. `message`: a sentence for the status."""
        self._tell(State.FAILED, message)

    def lose(self, completer: Completer, reason: str) -> None:
        """Unload a model whose files changed. It is loaded again once its files are whole."""
        if completer is self.completer:
            self.completer, self._signature, self._last_look = None, None, time.monotonic()
            threading.Thread(target=completer.close, name="closing", daemon=True).start()
            self._tell(State.FAILED, reason)

    def close(self) -> Callable[[], None]:
        """Stop loading; returns a function that waits for the inference thread and frees the model."""
        self._wanted = None
        if self._loading is not None:
            self._loading.cancel()
        completer, self.completer = self.completer, None
        return completer.close if completer is not None else lambda: None

    def _load(self) -> None:
        if self.state is State.UNLOADED:  # at once: the task starts one turn of the event loop later
            self.state, self.message = State.LOADING, "Loading the model"
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load_what_is_wanted())

    async def _load_what_is_wanted(self) -> None:
        tried: ModelChoice | None = None
        while self._wanted is not None and (tried != self._wanted or self.state is State.LOADING):
            tried = self._wanted  # settings may change during a load
            if (kept := self._kept_for(tried)) is not None:
                await self._change_remote(kept, tried)
            else:
                await self._try(tried)
            self._loaded = tried
        if self._wanted is None:
            self.let_go("The model was let go", for_good=True)

    async def _try(self, choice: ModelChoice) -> None:
        old, self.completer = self.completer, None
        closing, self._closing = self._closing, None
        self._tell(State.LOADING, f"Loading the model {choice.model or ''}".strip())
        loop = asyncio.get_running_loop()
        bar = ProgressBar(self._server, "Mellum")
        beginning = asyncio.create_task(bar.begin())

        def progress(what: str, share: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends during a load
                loop.call_soon_threadsafe(bar.report, what, share)

        told = self._on_loop(self._on_remote_change)
        try:
            if closing is not None:
                await closing  # so that there are never two models in memory
            outcome = await in_thread("loader", lambda: _load(choice, old, progress, told))
        finally:
            bar.end()
            beginning.cancel()
        self.completer, self._signature, self.loss = outcome.completer, outcome.signature, None
        self._tell(outcome.state, outcome.message)

    def _kept_for(self, choice: ModelChoice) -> Completer | None:
        """The completer of now, where a choice differs from what is loaded in the remote model at most; else None."""
        before, completer = self._loaded, self.completer
        if before is None or completer is None or not completer.is_local:
            return None
        return completer if replace(choice, remote=before.remote) == before else None

    async def _change_remote(self, completer: Completer, choice: ModelChoice) -> None:
        if self._loaded is not None and choice.remote == self._loaded.remote:
            return
        told = self._on_loop(self._on_remote_change)
        await in_thread("loader", lambda: completer.change_remote(choice, told))
        if completer is self.completer:
            self._on_change()

    def _on_loop(self, call: Callable[[], None]) -> Callable[[], None]:
        """A function that has this one called on the event loop's thread, and nothing once the loop is closed."""
        loop = asyncio.get_running_loop()

        def call_there() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(call)

        return call_there

    def _tell(self, state: State, message: str) -> None:
        self.state, self.message = state, message
        self._on_change()


def _load(
    choice: ModelChoice,
    old: Completer | None,
    progress: Callable[[str, float], None],
    on_remote_change: Callable[[], None],
) -> _Outcome:
    """Load a model on the calling thread. Never raises."""
    try:
        from engine import ModelError
        from lsp_server.completer import Completer, signature_of

        if old is not None:
            old.close()  # so that there are never two models in memory
        signature = signature_of(choice.model)
        try:
            completer = Completer.load(choice, progress, on_remote_change)
        except ModelError as error:
            return _Outcome(State.FAILED if signature else State.NO_MODEL, str(error), None, signature)
    except BaseException as error:  # a native library may raise a BaseException that is no Exception
        if not is_of_the_machine(error):
            log.exception("The model cannot be loaded")
        return _Outcome(State.FAILED, f"The model cannot be loaded ({reason_of(error)}). Run: mellum-lsp doctor")
    return _Outcome(State.READY, completer.message, completer, signature)


async def in_thread(name: str, function: Callable[[], Result]) -> Result:
    """Run a function on a new daemon thread. asyncio's pool would keep the process alive until it returns."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:  # also of a native library; handlers of the waiting task catch Exceptions
            error = caught if isinstance(caught, Exception) else RuntimeError(f"{type(caught).__name__}: {caught}")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
