"""One inference thread, and the rule of what it works on: what somebody waits for first, the newest of a document only.

What was suggested already needs no thread: it is answered where it is asked for. In idle time the thread works ahead:
on what follows the suggestion on screen once it is accepted, and on the state of the place where the cursor rests.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from enum import IntEnum

from engine.engine import Engine
from engine.request import Cancelled, CompletionRequest, IsCancelled, StopReason, Suggestion
from engine.suggestion_cache import Suggestions

_SECONDS_TO_END = 5.0  # a thread that is stuck in a native library is given up; it is a daemon
_MOST_AHEAD = 16  # places: who opens ten thousand documents at once rests in one of them
_IDLE_SECONDS = 2.0  # after the last request or edit, nothing is computed that nobody waits for

log = logging.getLogger(__name__)


class EngineFailed(Exception):
    """A native library has ended a request by what is no Exception."""


class Priority(IntEnum):
    """Smaller goes first, and makes what runs with a larger one wait."""

    EXPLICIT = 0
    KEYSTROKE = 1
    PREFETCH = 2
    WARM_UP = 3


@dataclass(eq=False, slots=True)
class _Job:
    """A request that waits or runs."""

    document: str
    request: CompletionRequest
    priority: Priority
    expected: str = ""
    """What an earlier suggestion had in mind for this place."""
    future: Future[Suggestion] = field(default_factory=Future)
    """Of work that nobody waits for, it is never given a result."""
    quick: bool = True
    """Whether a short prompt may be used: see `Engine.complete`."""
    queued: float = field(default_factory=time.perf_counter)
    is_preempted: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for it."""
        return self.priority >= Priority.PREFETCH

    def is_for(self, request: CompletionRequest) -> bool:
        """Whether it is about the same place in the same text."""
        mine = self.request
        place = (request.document, request.path, request.offset, request.text)
        return (mine.document, mine.path, mine.offset, mine.text) == place


class Scheduler:
    """Runs requests on its own thread. Cancelling a returned future ends its work within milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._suggestions = Suggestions()
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._idle_until = 0.0
        self._forgotten = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, document: str, request: CompletionRequest) -> Future[Suggestion]:
        """Answer from what was suggested already, or queue a request.

        An older request for the same document is cancelled, whether it waits or runs.
        """
        job = _Job(document, request, Priority.EXPLICIT if request.explicit else Priority.KEYSTROKE)
        # where the place has to be looked at first, the thread does both: see `_make`
        remembered = self._suggestions.find(request) if not request.disabled_in else None
        if remembered is None:
            job.expected = self._suggestions.expected(request)
        with self._changed:
            if self._closed:
                job.future.cancel()
                return job.future
            self._idle_until = time.monotonic() + _IDLE_SECONDS
            self._drop(document, is_idle=False)
            if remembered is None:
                self._drop(document, is_idle=True)
                self._add(job)
        if remembered is None:
            job.future.add_done_callback(lambda future: self._warm_up_instead(job) if future.cancelled() else None)
        else:
            job.future.set_result(remembered)
            self._work_ahead(document, request, remembered)
        return job.future

    def warm_up(self, document: str, request: CompletionRequest) -> None:
        """In idle time, compute the state for a place at which a suggestion may be asked for soon."""
        if self._suggestions.find(request) is not None:
            return
        with self._changed:
            self._idle_until = time.monotonic() + _IDLE_SECONDS
            self._drop(document, is_idle=True)
            self._add(_Job(document, request, Priority.WARM_UP))

    def rest(self, document: str | None = None) -> None:
        """Stop all work for a document, or for all of them."""
        with self._changed:
            for is_idle in (False, True):
                self._drop(document, is_idle=is_idle)

    def forget(self) -> None:
        """Forget all suggestions and stop all work: the model may no longer see the texts that they were made from."""
        with self._changed:
            self._forgotten = time.perf_counter()
            self.rest()
            self._suggestions.clear()

    def close(self) -> None:
        """Cancel everything, end the thread, and let go of the engine: futures that are kept hold this scheduler.

        Waits for the thread, but not for one that a library keeps.
        """
        with self._changed:
            self._closed = True
            self.rest()
            self._changed.notify()
        self._thread.join(_SECONDS_TO_END)
        if self._thread.is_alive():
            log.error("The inference thread did not end within %s s", _SECONDS_TO_END)
        elif hasattr(self, "_engine"):
            del self._engine

    def _add(self, job: _Job) -> None:
        if self._closed:
            return
        if job.is_idle:
            ahead = [other for other in self._waiting if other.is_idle]
            left_out = ahead[: max(len(ahead) + 1 - _MOST_AHEAD, 0)]
            self._waiting = [other for other in self._waiting if other not in left_out]
        self._waiting.append(job)
        if self._running is not None and self._running.priority > job.priority:
            self._running.is_preempted = True
            self._engine.interrupt()
        self._changed.notify()

    def _jobs(self) -> list[_Job]:
        return [*self._waiting, *([self._running] if self._running is not None else [])]

    def _drop(self, document: str | None, *, is_idle: bool) -> None:
        """Cancel a document's jobs, or those of all documents: those that somebody waits for, or the others."""
        for job in self._jobs():
            if job.is_idle is is_idle and document in (None, job.document):
                job.future.cancel()
                if job is self._running:
                    self._engine.interrupt()
        self._waiting = [job for job in self._waiting if not job.future.cancelled()]

    def _warm_up_instead(self, job: _Job) -> None:
        """A request was cancelled: free the thread; in idle time go on with its state, unless newer work is there."""
        with self._changed:
            if job is self._running:
                self._engine.interrupt()
            self._waiting = [other for other in self._waiting if other is not job]
            if all(other.document != job.document for other in self._waiting):
                self._add(_Job(job.document, job.request, Priority.WARM_UP))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while (job := self._next()) is None:
                    if self._closed:
                        return
                    self._changed.wait()
                self._running = job
            self._run(job)

    def _next(self) -> _Job | None:
        """Take the most urgent job, the newest of equals; None if there is nothing to do."""
        if time.monotonic() > self._idle_until:
            self._waiting = [job for job in self._waiting if not job.is_idle]
        if not self._waiting or self._closed:
            return None
        job = min(reversed(self._waiting), key=lambda job: job.priority)
        self._waiting.remove(job)
        job.is_preempted = False
        return job

    def _run(self, job: _Job) -> None:
        def is_cancelled() -> bool:
            is_late = job.is_idle and time.monotonic() > self._idle_until
            return job.is_preempted or is_late or job.future.cancelled()

        try:
            if job.priority is Priority.WARM_UP:
                self._engine.warm_up(job.request, is_cancelled)
            else:
                deadline = job.request.deadline
                until = None if deadline is None or job.is_idle else job.queued + deadline
                self._answer(job, self._make(job, is_cancelled, until))
        except Cancelled:
            with self._changed:
                if job.is_preempted and not job.future.cancelled() and not self._closed:
                    self._waiting.append(job)  # its state is kept, so that little is lost
        except BaseException as error:  # whatever a native library raises: the thread serves the other documents, too
            self._fail(job, error)

    def _make(self, job: _Job, is_cancelled: IsCancelled, until: float | None) -> Suggestion:
        """Ask the model, or find what was suggested already where `submit` could not know whether it is wanted."""
        request = job.request
        if request.disabled_in and self._engine.is_wanted(request):
            remembered = self._suggestions.find(request)
            if remembered is not None:
                return remembered
        return self._engine.complete(request, is_cancelled, expected=job.expected, until=until, quick=job.quick)

    def _fail(self, job: _Job, error: BaseException) -> None:
        """Tell the one who asked, as an Exception: others would end more than a request on their way."""
        failure = error if isinstance(error, Exception) else EngineFailed(f"{type(error).__name__}: {error}")
        try:
            job.future.set_exception(failure)
            is_told = not job.is_idle
        except InvalidStateError:  # the answer is there already, or was not waited for
            is_told = False
        if not is_told:
            log.error("Working for %s failed", job.document, exc_info=error)

    def _answer(self, job: _Job, suggestion: Suggestion) -> None:
        """Keep a suggestion and send it. The future stays cancellable throughout: it may be cancelled already."""
        says_something = suggestion.stop is not StopReason.PLACE and bool(suggestion.timings)  # made now, of the place
        if says_something and job.queued > self._forgotten:
            self._suggestions.remember(job.request, suggestion)
        if job.is_idle:
            return
        waited = time.perf_counter() - job.queued - sum(suggestion.timings.values())
        try:
            job.future.set_result(replace(suggestion, timings={"queue": waited, **suggestion.timings}))
        except InvalidStateError:
            return  # whoever cancelled it has its answer
        self._work_ahead(job.document, job.request, suggestion)

    def _work_ahead(self, document: str, request: CompletionRequest, suggestion: Suggestion) -> None:
        """In idle time, make the suggestion that follows this one's acceptance; or first finish this one.

        The answer has been sent: what goes wrong here is logged, and fails nothing.
        """
        try:
            self._plan_ahead(document, request, suggestion)
        except Exception:
            log.exception("Nothing is made ahead for %s", document)

    def _plan_ahead(self, document: str, request: CompletionRequest, suggestion: Suggestion) -> None:
        whole = [_Job(document, request, Priority.WARM_UP)] if suggestion.is_first else []
        if suggestion.stop is StopReason.DEADLINE:  # by the same prompt: what is on the screen stays
            rest = _Job(
                document, request, Priority.PREFETCH, suggestion.text + suggestion.dropped, quick=suggestion.is_first
            )
            self._add_ahead(rest, *whole)
            return
        if not suggestion.text:
            self._add_ahead(*whole)
            return
        before, after = request.text[: request.offset], request.text[request.offset + suggestion.replaces :]
        offset = request.offset + len(suggestion.text)
        following = replace(
            request, text=f"{before}{suggestion.text}{after}", offset=offset, explicit=False, candidates=1
        )
        if self._suggestions.find(following) is None:
            self._add_ahead(_Job(document, following, Priority.PREFETCH, suggestion.dropped, quick=False))
        else:
            self._add_ahead(*whole)

    def _add_ahead(self, *jobs: _Job) -> None:
        """Queue work that nobody waits for, unless it is under way or somebody waits for other work."""
        if not jobs:
            return
        document, request = jobs[0].document, jobs[0].request
        with self._changed:
            others = [other for other in self._jobs() if other.document == document and not other.future.done()]
            if not any(not other.is_idle or other.is_for(request) for other in others):
                self._drop(document, is_idle=True)
                for job in jobs:
                    self._add(job)
