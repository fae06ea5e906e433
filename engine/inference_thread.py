"""The one thread that runs the model. It takes its jobs from `engine.job_queue`.

Suggestions that are cached need no thread: `submit` answers them at once. In idle time the thread works ahead: on the
suggestion that follows acceptance of the shown one, and on the KV state for the cursor's position.

Who may call what:

- `submit`, `cached`, `warm_up`, `rest`, `forget`, `close` and a future's `cancel`: any thread.
- `complete`, `warm_up` and `is_wanted` of the engine: only the inference thread.
- `interrupt` and `read` of the engine: any thread. `interrupt` is called only while the lock is held.

Locks, in the order in which they are taken:

1. `_changed`: guards the queue. It is reentrant, because `Future.cancel` calls `_on_cancelled` in the same thread.
2. the lock of `Suggestions`: held for one look-up or change; no code of another module runs under it.

Neither is held while the model runs, nor while a future gets its result. A future's callbacks may therefore take any
lock of their own, but those of `cancel` run under `_changed` and must not wait for another thread.

Why a late interrupt is lost safely: an interrupt ends the model's current run, and `Engine.complete` and
`Engine.warm_up` begin with `Model.begin`, which forgets earlier interrupts. An interrupt for job A is sent while
`_changed` is held and A is the running job, so it cannot come after job B's `begin`. One that is sent after A was taken
and before A's own `begin` is lost; but the job was marked stale before (`JobQueue.is_stale`), and the engine asks for
that mark between chunks and steps. So a lost interrupt costs at most one chunk, and it never ends another job.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from typing import Protocol

from engine.job_queue import Job, JobQueue, Priority
from engine.request import Cancelled, CompletionRequest, IsCancelled, StopReason, Suggestion, Unavailable
from engine.suggestion_cache import Suggestions

_SECONDS_TO_END = 5.0  # after that, a thread that hangs in a native library is given up; it is a daemon

log = logging.getLogger(__name__)


class EngineFailed(Exception):
    """A native library ended a request with an error that is no Exception."""


class CompletionEngine(Protocol):
    """What this thread needs of an engine, whether its model is in memory or on another machine."""

    def complete(
        self,
        request: CompletionRequest,
        is_cancelled: IsCancelled = ...,
        *,
        expected: str = ...,
        until: float = ...,
        quick: bool = ...,
    ) -> Suggestion:
        """Answer a request. Raises Cancelled, or Unavailable; see `engine.engine.Engine.complete`."""
        ...

    def warm_up(self, request: CompletionRequest, is_cancelled: IsCancelled = ...) -> None:
        """Get ready for a request. Raises Cancelled."""
        ...

    def is_wanted(self, request: CompletionRequest) -> bool:
        """Whether a suggestion is wanted at this cursor."""
        ...

    def interrupt(self) -> None:
        """Let what runs raise Cancelled within milliseconds. Any thread may call it."""
        ...


class InferenceThread:
    """Runs requests on its own thread. Cancelling a returned future ends its work within milliseconds."""

    def __init__(self, engine: CompletionEngine) -> None:
        self._engine = engine
        self._suggestions = Suggestions()
        self._changed = threading.Condition()
        self._queue = JobQueue()
        self._forgotten = 0.0
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, request: CompletionRequest) -> Future[Suggestion]:
        """Answer from the cached suggestions, or queue a request.

        An older request for the same document is cancelled, whether it waits or runs.
        """
        job = Job(request, Priority.EXPLICIT if request.explicit else Priority.KEYSTROKE)
        # where the cursor's surroundings decide whether a suggestion is wanted, the thread does both: see `_make`
        remembered = self.cached(request)
        if remembered is None:
            job.expected = self._suggestions.expected(request)
        with self._changed:
            if self._queue.is_closed:
                job.future.cancel()
                return job.future
            self._queue.note_user()
            self._drop(request.document, is_idle=False)
            if remembered is None:
                self._drop(request.document, is_idle=True)
                self._add(job)
        if remembered is None:
            job.future.add_done_callback(lambda future: self._on_cancelled(job) if future.cancelled() else None)
        else:
            job.future.set_result(remembered)
            self._work_ahead(request, remembered)
        return job.future

    def cached(self, request: CompletionRequest) -> Suggestion | None:
        """What is cached for a request, where it takes no look at the code to know that a suggestion is wanted."""
        return self._suggestions.find(request) if not request.disabled_in else None

    def warm_up(self, request: CompletionRequest) -> None:
        """In idle time, compute the KV state for a request that may come soon."""
        if self._suggestions.find(request) is not None:
            return
        with self._changed:
            self._queue.note_user()
            self._drop(request.document, is_idle=True)
            self._add(Job(request, Priority.WARM_UP))

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
        """Cancel everything, end the thread, and release the engine: futures that are kept refer to this object.

        Waits for the thread, but gives it up after 5 s.
        """
        with self._changed:
            self._queue.is_closed = True
            self.rest()
            self._changed.notify()
        self._thread.join(_SECONDS_TO_END)
        if self._thread.is_alive():
            log.error("The inference thread did not end within %s s", _SECONDS_TO_END)
        elif hasattr(self, "_engine"):
            del self._engine

    def _add(self, job: Job) -> None:
        if self._queue.add(job):
            self._engine.interrupt()
        self._changed.notify()

    def _drop(self, document: str | None, *, is_idle: bool) -> None:
        if self._queue.drop(document, is_idle=is_idle):
            self._engine.interrupt()

    def _on_cancelled(self, job: Job) -> None:
        with self._changed:
            if self._queue.replace_cancelled(job):
                self._engine.interrupt()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (job := self._queue.start_next()) is None:
                    if self._queue.is_closed:
                        return
                    self._changed.wait()
            self._run(job)

    def _run(self, job: Job) -> None:
        def is_cancelled() -> bool:
            return self._queue.is_stale(job)

        try:
            if job.priority is Priority.WARM_UP:
                self._engine.warm_up(job.request, is_cancelled)
            else:
                self._answer(job, self._make(job, is_cancelled))
        except Cancelled:
            with self._changed:
                self._queue.requeue(job)
        except BaseException as error:  # native libraries raise more than Exception; other documents need the thread
            self._fail(job, error)

    def _make(self, job: Job, is_cancelled: IsCancelled) -> Suggestion:
        """Ask the model, or find a cached suggestion where `submit` could not know whether one is wanted."""
        request = job.request
        if request.disabled_in and self._engine.is_wanted(request):
            remembered = self._suggestions.find(request)
            if remembered is not None:
                return remembered
        deadline = math.inf if request.deadline is None or job.is_idle else request.deadline
        until = job.queued + deadline
        return self._engine.complete(request, is_cancelled, expected=job.expected, until=until, quick=True)

    def _fail(self, job: Job, error: BaseException) -> None:
        """Pass the error to the future, as an Exception: other kinds would end the threads that they reach."""
        failure = error if isinstance(error, Exception) else EngineFailed(f"{type(error).__name__}: {error}")
        try:
            job.future.set_exception(failure)
            is_told = not job.is_idle
        except InvalidStateError:  # the future has its result already, or was cancelled
            is_told = False
        if isinstance(error, Unavailable):
            log.info("Nothing for %s: %s", job.document, error)  # the status says the same
        elif not is_told:
            log.error("Working for %s failed", job.document, exc_info=error)

    def _answer(self, job: Job, suggestion: Suggestion) -> None:
        """Keep a suggestion and send it. The future stays cancellable throughout: it may be cancelled already."""
        is_new = bool(suggestion.timings)  # a cached one has no timings
        says_something = is_new and suggestion.stop is not StopReason.PLACE
        if says_something and job.queued > self._forgotten:
            self._suggestions.remember(job.request, suggestion)
        if job.is_idle:
            return
        waited = time.perf_counter() - job.queued - sum(suggestion.timings.values())
        try:
            job.future.set_result(replace(suggestion, timings={"queue": waited, **suggestion.timings}))
        except InvalidStateError:
            return  # it was cancelled
        self._work_ahead(job.request, suggestion)

    def _work_ahead(self, request: CompletionRequest, suggestion: Suggestion) -> None:
        """In idle time, make the suggestion that follows this one's acceptance; or first finish this one.

        The answer has been sent, so an error is logged and fails no request.
        """
        try:
            self._plan_ahead(request, suggestion)
        except Exception:
            log.exception("Nothing is made ahead for %s", request.document)

    def _plan_ahead(self, request: CompletionRequest, suggestion: Suggestion) -> None:
        whole = [Job(request, Priority.WARM_UP)] if suggestion.is_provisional else []
        if suggestion.stop is StopReason.DEADLINE:  # by the same prompt, so that what is on the screen stays
            expected = suggestion.text + suggestion.dropped
            self._add_ahead(Job(request, Priority.PREFETCH, expected), *whole)
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
            whole.insert(0, Job(following, Priority.PREFETCH, suggestion.dropped))
        self._add_ahead(*whole)

    def _add_ahead(self, *jobs: Job) -> None:
        """Queue a document's idle jobs, unless the first is queued already or the document has a user-visible one."""
        with self._changed:
            if jobs and self._queue.is_welcome(jobs[0]):
                self._drop(jobs[0].document, is_idle=True)
                for job in jobs:
                    self._add(job)
