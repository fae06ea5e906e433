"""The remote model and the local one together, with the face of one inference thread.

The remote model is asked first. Where it takes longer than it mostly does, or fails, the local one is asked as well,
and what it says is shown. What is on the screen stays: the remote answer comes in its place only if it goes on from it.

All decisions are made on the connection's thread, so that no lock is needed and neither thread's lock is ever taken
under the other's. `submit` may be called on any thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from engine.inference_thread import InferenceThread
from engine.remote.engine import RemoteEngine
from engine.request import CompletionRequest, Suggestion

_UNKNOWN = 0.15  # seconds of patience before the remote engine was measured
_PATIENCE = 1.5  # times the median of its last answers
_LEAST, _MOST = 0.05, 0.4  # seconds; the latter is the default deadline


@dataclass(eq=False, slots=True)
class _Race:
    """One request to both."""

    request: CompletionRequest
    future: Future[Suggestion] = field(default_factory=Future)
    remote: Future[Suggestion] | None = None
    local: Future[Suggestion] | None = None
    waiting: Future[None] | None = None


class Pair:
    """Two inference threads, of which the remote one is asked first."""

    def __init__(self, local: InferenceThread, remote: InferenceThread, engine: RemoteEngine) -> None:
        """`engine`: the one that `remote` runs."""
        self._local, self._remote, self._engine = local, remote, engine
        self._on_screen: set[str] = set()
        """Documents whose last answer was the local one's."""

    @property
    def patience(self) -> float:
        """Seconds that the remote engine has before the local one is asked: by how long it mostly takes."""
        median = self._engine.median_seconds
        return _UNKNOWN if median is None else min(max(_PATIENCE * median, _LEAST), _MOST)

    def submit(self, request: CompletionRequest) -> Future[Suggestion]:
        """Answer from the cached suggestions, or ask: see `InferenceThread.submit`."""
        shown = self._local.cached(request) if request.document in self._on_screen else None
        there = self._remote.cached(request)
        goes_on = shown is None or (there is not None and there.text.startswith(shown.text))
        if there is not None and goes_on:
            self._on_screen.discard(request.document)
            return self._remote.submit(request)
        if not self._engine.is_ready or (shown is not None and not request.explicit):
            self._on_screen.add(request.document)
            return self._local.submit(request)
        race = _Race(request)
        race.future.add_done_callback(lambda future: self._call(self._give_up, race) if future.cancelled() else None)
        self._call(self._begin, race)
        return race.future

    def warm_up(self, request: CompletionRequest) -> None:
        """Get the local model ready, where the remote one does not answer."""
        if not self._engine.is_ready:
            self._local.warm_up(request)

    def rest(self, document: str | None = None) -> None:
        """Stop all work for a document, or for all of them."""
        for thread in (self._local, self._remote):
            thread.rest(document)

    def forget(self) -> None:
        """Forget all suggestions and stop all work."""
        for thread in (self._local, self._remote):
            thread.forget()

    def close(self) -> None:
        """End both threads, and release the local engine. The remote one is its owner's to close, afterwards."""
        for thread in (self._remote, self._local):
            thread.close()

    def _call(self, step: _Step, race: _Race) -> None:
        """Take a step on the connection's thread; without a connection, the request is cancelled."""
        if not self._engine.connection.soon(lambda: step(race)):
            race.future.cancel()

    def _begin(self, race: _Race) -> None:
        if race.future.cancelled():
            return
        race.remote = self._remote.submit(race.request)
        race.remote.add_done_callback(lambda _: self._call(self._take_remote, race))
        race.waiting = self._engine.connection.later(self.patience, lambda: self._ask_local(race))

    def _ask_local(self, race: _Race) -> None:
        if race.local is None and not race.future.done():
            race.local = self._local.submit(race.request)
            race.local.add_done_callback(lambda _: self._call(self._take_local, race))

    def _take_remote(self, race: _Race) -> None:
        if race.remote is None or race.remote.cancelled():
            self._end_if_over(race)
        elif race.remote.exception() is not None:
            self._ask_local(race)  # at once
            self._end_if_over(race)
        elif _settle(race, race.remote.result()):
            self._on_screen.discard(race.request.document)
            for other in (race.waiting, race.local):
                if other is not None:
                    other.cancel()

    def _take_local(self, race: _Race) -> None:
        """Show what the local model says, if it says something; else the remote one has more time."""
        local, remote = race.local, race.remote
        assert local is not None
        if local.cancelled() or local.exception() is not None:
            self._end_if_over(race)
        elif (local.result().text or remote is None or remote.done()) and _settle(race, local.result()):
            self._on_screen.add(race.request.document)

    def _end_if_over(self, race: _Race) -> None:
        """Where neither answers: pass on why."""
        asked = [one for one in (race.remote, race.local) if one is not None]
        if not all(one.done() for one in asked) or race.future.done():
            return
        failures = [error for one in asked if not one.cancelled() and (error := one.exception()) is not None]
        silent = next((one for one in asked if not one.cancelled() and one.exception() is None), None)
        with contextlib.suppress(InvalidStateError):
            if silent is not None:
                race.future.set_result(silent.result())
            elif failures and len(failures) == len(asked):
                race.future.set_exception(failures[-1])
            else:
                race.future.cancel()

    def _give_up(self, race: _Race) -> None:
        for one in (race.waiting, race.remote, race.local):
            if one is not None:
                one.cancel()


_Step = Callable[[_Race], None]


def _settle(race: _Race, suggestion: Suggestion) -> bool:
    """Answer a request; False where it has an answer already, or was cancelled."""
    try:
        race.future.set_result(suggestion)
    except InvalidStateError:
        return False
    return True
