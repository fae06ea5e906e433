"""The job queue without threads: what is taken next, what is preempted, what is cancelled."""

from __future__ import annotations

from engine import CompletionRequest
from engine.job_queue import Job, JobQueue, Priority


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def job(document: str, priority: Priority, offset: int = 0) -> Job:
    return Job(CompletionRequest(f"{document}.py", "python", "x = 1\n", offset, document=document), priority)


def queue_of(*jobs: Job, clock: Clock | None = None) -> JobQueue:
    queue = JobQueue(idle_seconds=2.0, now=clock or Clock())
    queue.note_user()
    for one in jobs:
        queue.add(one)
    return queue


def test_the_most_urgent_goes_first_and_the_newest_of_equals() -> None:
    warm, old, new, asked = (
        job("a", Priority.WARM_UP),
        job("b", Priority.KEYSTROKE),
        job("c", Priority.KEYSTROKE),
        job("d", Priority.EXPLICIT),
    )
    queue = queue_of(warm, old, new, asked)
    assert [queue.start_next() for _ in range(5)] == [asked, new, old, warm, None]


def test_only_a_more_urgent_job_preempts_and_the_preempted_one_comes_back() -> None:
    typed = job("a", Priority.KEYSTROKE)
    queue = queue_of(typed)
    assert queue.start_next() is typed
    assert not queue.add(job("b", Priority.KEYSTROKE))
    assert not queue.is_stale(typed)
    assert queue.add(job("c", Priority.EXPLICIT))
    assert queue.is_stale(typed)
    queue.requeue(typed)
    assert typed in queue.waiting


def test_idle_jobs_are_left_out_once_the_user_has_rested() -> None:
    clock = Clock()
    queue = queue_of(job("a", Priority.WARM_UP), job("b", Priority.KEYSTROKE), clock=clock)
    clock.now += 3
    assert (started := queue.start_next()) is not None
    assert started.document == "b"
    assert queue.start_next() is None
    running = job("c", Priority.WARM_UP)
    queue.note_user()
    queue.add(running)
    assert queue.start_next() is running
    clock.now += 3
    assert queue.is_stale(running)


def test_dropping_cancels_one_kind_of_jobs_of_one_document() -> None:
    typed, ahead, other = job("a", Priority.KEYSTROKE), job("a", Priority.PREFETCH), job("b", Priority.KEYSTROKE)
    queue = queue_of(typed, ahead, other)
    assert not queue.drop("a", is_idle=False)
    assert queue.waiting == [ahead, other]
    assert queue.start_next() is other
    assert queue.drop(None, is_idle=False)
    assert typed.future.cancelled()
    assert other.future.cancelled()
    assert not ahead.future.cancelled()


def test_a_cancelled_request_leaves_a_warm_up_unless_newer_work_is_there() -> None:
    queue = queue_of(first := job("a", Priority.KEYSTROKE))
    queue.replace_cancelled(first)
    assert [one.priority for one in queue.waiting] == [Priority.WARM_UP]
    queue.add(second := job("b", Priority.KEYSTROKE))
    queue.add(newer := job("b", Priority.KEYSTROKE, offset=3))
    queue.replace_cancelled(second)
    assert queue.waiting[1:] == [newer]


def test_of_many_idle_jobs_the_oldest_are_left_out() -> None:
    queue = queue_of(*(job(str(index), Priority.WARM_UP) for index in range(100)))
    assert [one.document for one in queue.waiting] == [str(index) for index in range(84, 100)]


def test_work_ahead_is_not_queued_twice_nor_beside_a_request() -> None:
    queue = queue_of(job("a", Priority.PREFETCH, offset=2), job("b", Priority.KEYSTROKE))
    assert not queue.is_welcome(job("a", Priority.PREFETCH, offset=2))
    assert queue.is_welcome(job("a", Priority.PREFETCH, offset=3))
    assert not queue.is_welcome(job("b", Priority.PREFETCH, offset=3))


def test_a_closed_queue_takes_and_gives_nothing() -> None:
    queue = queue_of(job("a", Priority.KEYSTROKE))
    queue.is_closed = True
    assert queue.start_next() is None
    queue.add(late := job("b", Priority.EXPLICIT))
    assert late not in queue.waiting
