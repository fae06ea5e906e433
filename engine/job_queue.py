"""Which request is worked on next: user-visible requests first, only the newest one of a document.

Pure bookkeeping: no thread, no lock, no model. `engine.inference_thread` holds its lock around every call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum

from engine.request import CompletionRequest, Suggestion

_MOST_AHEAD = 16  # warm-ups and prefetches: an editor may open ten thousand documents at once
_IDLE_SECONDS = 3.0  # after the last request or edit; later, only user-visible requests are computed


class Priority(IntEnum):
    """Smaller goes first, and preempts a running job with a larger one."""

    EXPLICIT = 0
    KEYSTROKE = 1
    PREFETCH = 2
    WARM_UP = 3


@dataclass(eq=False, slots=True)
class Job:
    """A request that waits or runs."""

    request: CompletionRequest
    priority: Priority
    expected: str = ""
    """What an earlier suggestion predicted for this cursor."""
    future: Future[Suggestion] = field(default_factory=Future)
    """An idle job's future is never given a result."""
    queued: float = field(default_factory=time.perf_counter)
    is_preempted: bool = False

    @property
    def document(self) -> str:
        """The URI of its document."""
        return self.request.document

    @property
    def is_idle(self) -> bool:
        """Whether it is work ahead of any request: a prefetch or a warm-up."""
        return self.priority >= Priority.PREFETCH

    def is_for(self, request: CompletionRequest) -> bool:
        """Whether it is about the same cursor in the same text."""
        mine = self.request
        cursor = (request.document, request.path, request.offset, request.text)
        return (mine.document, mine.path, mine.offset, mine.text) == cursor


class JobQueue:
    """The waiting jobs and the running one. Methods that return a bool say whether to interrupt the running job."""

    def __init__(self, *, idle_seconds: float = _IDLE_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        """`idle_seconds`: for how long after the last user action idle jobs may run."""
        self.idle_seconds = idle_seconds
        self.waiting: list[Job] = []
        self.running: Job | None = None
        self.is_closed = False
        self._now, self._idle_until = now, 0.0

    def note_user(self) -> None:
        """Note a request or an edit: from now on idle jobs may run for `idle_seconds`."""
        self._idle_until = self._now() + self.idle_seconds

    def jobs(self) -> list[Job]:
        """All jobs that wait or run."""
        return [*self.waiting, *([self.running] if self.running is not None else [])]

    def add(self, job: Job) -> bool:
        """Queue a job; of too many idle ones, the oldest are left out. A closed queue takes none."""
        if self.is_closed:
            return False
        if job.is_idle:
            ahead = [other for other in self.waiting if other.is_idle]
            left_out = ahead[: max(len(ahead) + 1 - _MOST_AHEAD, 0)]
            self.waiting = [other for other in self.waiting if other not in left_out]
        self.waiting.append(job)
        if self.running is None or self.running.priority <= job.priority:
            return False
        self.running.is_preempted = True
        return True

    def is_welcome(self, job: Job) -> bool:
        """Whether an idle job adds anything: not if it is queued already, or the document has a user-visible one."""
        others = [other for other in self.jobs() if other.document == job.document and not other.future.done()]
        return not any(not other.is_idle or other.is_for(job.request) for other in others)

    def drop(self, document: str | None, *, is_idle: bool) -> bool:
        """Cancel the idle or the user-visible jobs of a document, or of all documents."""
        is_running = False
        for job in self.jobs():
            if job.is_idle is is_idle and document in (None, job.document):
                job.future.cancel()
                is_running = is_running or job is self.running
        self.waiting = [job for job in self.waiting if not job.future.cancelled()]
        return is_running

    def replace_cancelled(self, job: Job) -> bool:
        """A request was cancelled: compute its prompt's state in idle time, unless its document has newer work."""
        is_running = job is self.running
        self.waiting = [other for other in self.waiting if other is not job]
        if all(other.document != job.document for other in self.waiting):
            return self.add(Job(job.request, Priority.WARM_UP)) or is_running
        return is_running

    def start_next(self) -> Job | None:
        """Take the most urgent job, the newest of equals; None if there is nothing to do."""
        self.running = None
        if self._now() > self._idle_until:
            self.waiting = [job for job in self.waiting if not job.is_idle]
        if not self.waiting or self.is_closed:
            return None
        job = min(reversed(self.waiting), key=lambda job: job.priority)
        self.waiting.remove(job)
        job.is_preempted = False
        self.running = job
        return job

    def requeue(self, job: Job) -> None:
        """Put a preempted job back. Its KV state stays cached, so little is computed again."""
        if job.is_preempted and not job.future.cancelled() and not self.is_closed:
            self.waiting.append(job)

    def is_stale(self, job: Job) -> bool:
        """Whether a running job has to stop. The one method that is called without the lock."""
        is_late = job.is_idle and self._now() > self._idle_until
        return job.is_preempted or is_late or job.future.cancelled()
