"""The scheduler: the newest request a document wins, cancelled work stops, an error reaches the one who asked."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CompletionRequest, Engine, Scheduler

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
DEADLINE = 60


@pytest.fixture
def scheduler(engine: Engine) -> Iterator[Scheduler]:
    scheduler = Scheduler(engine)
    yield scheduler
    scheduler.close()


def request(offset: int) -> CompletionRequest:
    return CompletionRequest("lib/textwrap.py", "python", SOURCE, offset)


def test_of_many_requests_for_a_document_the_last_is_answered(scheduler: Scheduler, engine: Engine) -> None:
    futures = [scheduler.submit("a", request(offset)) for offset in range(3000, 3030)]
    assert futures[-1].result(DEADLINE).text == engine.complete(request(3029)).text
    assert all(future.cancelled() for future in futures[:-1])


def test_documents_do_not_cancel_each_other(scheduler: Scheduler) -> None:
    futures = [scheduler.submit(document, request(2000)) for document in "abc"]
    assert all(future.result(DEADLINE).timings["queue"] >= 0 for future in futures)


def test_cancelled_work_leaves_the_thread_free(scheduler: Scheduler) -> None:
    long = scheduler.submit("a", replace(request(12_000), max_tokens=200))
    time.sleep(0.05)  # let it start; the test holds either way
    assert long.cancel()
    assert scheduler.submit("b", replace(request(300), max_tokens=1)).result(DEADLINE)
    with pytest.raises(CancelledError):
        long.result(0)


def test_an_error_reaches_the_one_who_asked_and_no_one_else(scheduler: Scheduler) -> None:
    broken = scheduler.submit("a", replace(request(0), text=None))  # type: ignore[arg-type]
    assert isinstance(broken.exception(DEADLINE), Exception)
    assert scheduler.submit("a", replace(request(300), max_tokens=1)).result(DEADLINE)


def test_after_closing_nothing_runs(engine: Engine) -> None:
    scheduler = Scheduler(engine)
    pending = [scheduler.submit(str(index), request(5000)) for index in range(5)]
    scheduler.close()
    assert all(future.done() for future in pending)
    assert scheduler.submit("late", request(10)).cancelled()
