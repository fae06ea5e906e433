"""One inference thread, and the rule of what it works on: the newest request, at most one a document.

What was suggested already needs no thread: it is answered where it is asked for.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace

from engine.completion import Cancelled, CompletionRequest, Suggestion
from engine.engine import Engine
from engine.suggestions import Suggestions


class Scheduler:
    """Runs requests on its own thread. Cancelling a returned future stops its work at the next chunk or step."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._suggestions = Suggestions()
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[CompletionRequest, Future[Suggestion], float]] = {}
        self._running: tuple[str, Future[Suggestion]] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, document: str, request: CompletionRequest) -> Future[Suggestion]:
        """Answer from what was suggested already, or queue a request.

        An older request for the same document is cancelled, whether it waits or runs.
        """
        future: Future[Suggestion] = Future()
        remembered = self._suggestions.find(request)
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            if (waiting := self._waiting.pop(document, None)) is not None:
                waiting[1].cancel()
            if self._running is not None and self._running[0] == document:
                self._running[1].cancel()
            if remembered is None:
                self._waiting[document] = (request, future, time.perf_counter())
                self._changed.notify()
        if remembered is not None:
            future.set_result(remembered)
        return future

    def close(self) -> None:
        """Cancel everything and end the thread."""
        with self._changed:
            self._closed = True
            for _, future, _ in self._waiting.values():
                future.cancel()
            self._waiting.clear()
            if self._running is not None:
                self._running[1].cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                document, (request, future, queued) = self._waiting.popitem()  # the newest first
                self._running = document, future
            self._answer(request, future, time.perf_counter() - queued)

    def _answer(self, request: CompletionRequest, future: Future[Suggestion], queued: float) -> None:
        """Run one request. The future stays cancellable throughout, so a result may find it cancelled already."""
        if future.cancelled():
            return
        try:
            suggestion = self._engine.complete(request, future.cancelled)
            self._suggestions.remember(request, suggestion)
            future.set_result(replace(suggestion, timings={"queue": queued, **suggestion.timings}))
        except (Cancelled, InvalidStateError):
            pass  # whoever cancelled it has its answer
        except Exception as error:
            if not future.cancelled():
                future.set_exception(error)
