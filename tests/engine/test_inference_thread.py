"""The inference thread: the newest request of a document wins, cancelled work stops, and an error reaches its request.

In idle time it works ahead, as long as no request waits and the user is there.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CompletionRequest, Engine, InferenceThread, StopReason, Suggestion
from engine.prompt.layout import Budget
from engine.runtime.kv_slots import Slots

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
DEADLINE = 60


@pytest.fixture
def inference(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[InferenceThread]:
    """Without states from other tests, and with idle time enough for a slow machine."""
    memory = 20_000 * engine.manifest.kv_bytes_per_token
    monkeypatch.setattr(engine, "_slots", Slots(engine._model, capacity=1280, memory=memory))

    inference = InferenceThread(engine)
    inference._queue.idle_seconds = DEADLINE
    yield inference
    inference.close()


def request(offset: int, document: str = "a") -> CompletionRequest:
    return CompletionRequest("lib/textwrap.py", "python", SOURCE, offset, document=document)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, but not forever."""
    last = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.005)


def is_quiet(inference: InferenceThread) -> bool:
    with inference._changed:
        return not inference._queue.jobs()


def after_acceptance(request: CompletionRequest, suggestion: Suggestion) -> CompletionRequest:
    before, after = request.text[: request.offset], request.text[request.offset + suggestion.replaces :]
    return replace(
        request, text=before + suggestion.text + after, offset=request.offset + len(suggestion.text), explicit=False
    )


def test_of_many_requests_for_a_document_the_last_is_answered(inference: InferenceThread, engine: Engine) -> None:
    # one token: further on, two that are equally likely may change places between steps of different width
    requests = [replace(request(offset), max_tokens=1) for offset in range(3000, 3030)]
    futures = [inference.submit(request) for request in requests]
    assert futures[-1].result(DEADLINE).tokens == engine.complete(requests[-1]).tokens
    assert all(future.cancelled() for future in futures[:-1])


@pytest.mark.parametrize("confidence", [0.0, 1.0], ids=["shown", "silent"])
def test_the_whole_prompt_takes_over_after_idle_time(
    inference: InferenceThread, engine: Engine, monkeypatch: pytest.MonkeyPatch, confidence: float
) -> None:
    monkeypatch.setattr(engine, "first_budget", Budget(128))
    asked = replace(request(12_000), confidence=confidence, deadline=100.0)
    assert inference.submit(asked).result(DEADLINE).is_provisional
    until(lambda: is_quiet(inference))
    later = inference.submit(replace(asked, text=SOURCE[:12_000] + "#" + SOURCE[12_000:], offset=12_001))
    whole = later.result(DEADLINE)
    assert not whole.is_provisional
    assert whole.prompt_tokens > 350
    assert whole.computed_tokens < 128


def test_documents_do_not_cancel_each_other(inference: InferenceThread) -> None:
    futures = [inference.submit(request(2000, document)) for document in "abc"]
    assert all(future.result(DEADLINE).timings["queue"] >= 0 for future in futures)


def test_cancelled_work_leaves_the_thread_free(inference: InferenceThread) -> None:
    long = inference.submit(replace(request(12_000), max_tokens=200))
    time.sleep(0.05)  # let it start; the test holds either way
    assert long.cancel()
    assert inference.submit(replace(request(300, "b"), max_tokens=1)).result(DEADLINE)
    with pytest.raises(CancelledError):
        long.result(0)


def test_an_error_reaches_the_request_that_caused_it_alone(inference: InferenceThread) -> None:
    broken = inference.submit(replace(request(0), text=None))  # type: ignore[arg-type]
    assert isinstance(broken.exception(DEADLINE), Exception)
    assert inference.submit(replace(request(300), max_tokens=1)).result(DEADLINE)


def test_after_closing_nothing_runs(engine: Engine) -> None:
    inference = InferenceThread(engine)
    pending = [inference.submit(request(5000, str(index))) for index in range(5)]
    inference.close()
    assert all(future.done() for future in pending)
    assert inference.submit(request(10, "late")).cancelled()


@pytest.mark.parametrize("explicit", [False, True])
def test_what_follows_a_suggestion_is_there_when_it_is_accepted(inference: InferenceThread, explicit: bool) -> None:
    asked = CompletionRequest("a.py", "python", "def add(a, b):\n    return ", 26, explicit=explicit, max_tokens=16)
    suggestion = inference.submit(asked).result(DEADLINE)
    assert suggestion.text
    until(lambda: is_quiet(inference))
    accepted = inference.submit(after_acceptance(asked, suggestion))
    assert accepted.done()
    assert accepted.result().timings == {}


def test_typing_what_is_shown_leaves_the_work_ahead_alone(inference: InferenceThread) -> None:
    asked = CompletionRequest("a.py", "python", "def add(a, b):\n    return ", 26, max_tokens=16)
    suggestion = inference.submit(asked).result(DEADLINE)
    for typed in range(1, len(suggestion.text)):
        text = asked.text + suggestion.text[:typed]
        assert inference.submit(replace(asked, text=text, offset=len(text))).done()
    until(lambda: is_quiet(inference))
    assert inference.submit(after_acceptance(asked, suggestion)).done()


def test_a_request_does_not_wait_for_idle_work(inference: InferenceThread, engine: Engine) -> None:
    elsewhere = request(14_000)
    inference.warm_up(elsewhere)
    until(lambda: any(slot.tokens for slot in engine._slots._slots))
    assert inference.submit(replace(request(300, "b"), max_tokens=1)).result(DEADLINE)
    warm = engine.lay_out(elsewhere).tokens
    assert all(len(slot.tokens) < len(warm) - 1 for slot in engine._slots._slots)
    until(lambda: is_quiet(inference))  # and then it is finished
    assert inference.submit(replace(elsewhere, max_tokens=1)).result(DEADLINE).computed_tokens == 1


def test_an_explicitly_invoked_request_goes_before_a_typed_one(inference: InferenceThread) -> None:
    order: list[str] = []
    typing = inference.submit(request(14_000))
    asking = inference.submit(replace(request(300, "b"), explicit=True, max_tokens=1))
    typing.add_done_callback(lambda _: order.append("typing"))
    asking.add_done_callback(lambda _: order.append("asking"))
    assert typing.result(DEADLINE).tokens
    assert order == ["asking", "typing"]


def test_a_cancelled_place_is_warmed_up_in_idle_time(inference: InferenceThread) -> None:
    assert inference.submit(request(14_000)).cancel()
    until(lambda: is_quiet(inference))
    assert inference.submit(replace(request(14_000), max_tokens=1)).result(DEADLINE).computed_tokens == 1


def test_no_idle_work_runs_once_the_user_has_rested(
    inference: InferenceThread, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference._queue, "idle_seconds", -1)
    inference.warm_up(request(14_000))
    inference.submit(replace(request(300, "b"), max_tokens=1)).result(DEADLINE)
    until(lambda: is_quiet(inference))
    assert engine.complete(replace(request(14_000), max_tokens=1)).computed_tokens > 1


def test_resting_stops_all_work_and_leaves_none(inference: InferenceThread) -> None:
    futures = [inference.submit(request(14_000, document)) for document in "ab"]
    inference.rest()
    assert all(future.cancelled() for future in futures)
    with inference._changed:
        assert not inference._queue.waiting


def test_what_is_forgotten_is_made_anew_and_no_work_of_before_brings_it_back(inference: InferenceThread) -> None:
    asked = request(2000)
    first = inference.submit(asked).result(timeout=DEADLINE)
    assert first.timings
    assert not inference.submit(asked).result(timeout=DEADLINE).timings  # it was remembered
    inference.forget()
    assert inference.submit(asked).result(timeout=DEADLINE).timings


def test_a_document_of_the_same_path_and_text_is_another_one(inference: InferenceThread) -> None:
    one, other = (replace(request(2000), document=document) for document in ("file:///a/x.py", "file:///b/x.py"))
    assert inference.submit(one).result(timeout=DEADLINE).timings
    assert inference.submit(other).result(timeout=DEADLINE).timings  # which may have other context
    assert not inference.submit(other).result(timeout=DEADLINE).timings


def test_what_the_deadline_cut_off_is_finished_in_idle_time(inference: InferenceThread, engine: Engine) -> None:
    text = "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci("
    asked = CompletionRequest("a.py", "python", text, len(text), deadline=0.0)
    part = inference.submit(asked).result(DEADLINE)
    assert part.stop is StopReason.DEADLINE
    until(lambda: is_quiet(inference))
    whole = inference.submit(asked)
    assert whole.done()
    assert whole.result().stop is not StopReason.DEADLINE
    assert whole.result().text.startswith(part.text)
    assert len(whole.result().text) > len(part.text)


class Panic(BaseException):
    """What pyo3 raises where a library panics: no Exception."""


def test_what_is_no_exception_ends_that_request_and_no_thread(
    inference: InferenceThread, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*_: object, **__: object) -> None:
        raise Panic("a native library gave up")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "lay_out", panic)
        failed = inference.submit(request(300)).exception(DEADLINE)
        assert isinstance(failed, Exception)
        assert "Panic: a native library gave up" in str(failed)
        inference.warm_up(request(400))
        until(lambda: is_quiet(inference))
    assert inference.submit(replace(request(300), max_tokens=1)).result(DEADLINE)


@pytest.mark.parametrize("is_remembered", [False, True])
def test_what_fails_after_the_answer_is_logged_and_the_answer_stays(
    inference: InferenceThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_remembered: bool
) -> None:
    asked = CompletionRequest("a.py", "python", "def add(a, b):\n    return ", 26, max_tokens=16, document="a")
    if is_remembered:
        assert inference.submit(asked).result(DEADLINE).text

    def fail(*_: object) -> None:
        raise ValueError("no plan")

    monkeypatch.setattr(inference, "_plan_ahead", fail)
    assert inference.submit(asked).result(DEADLINE).text
    until(lambda: "Nothing is made ahead for a" in caplog.text)
    assert "ValueError: no plan" in caplog.text


def test_of_thousands_of_places_only_the_last_are_warmed_up(inference: InferenceThread) -> None:
    for index in range(2_000):
        inference.warm_up(request(300 + index, str(index)))
    with inference._changed:
        waiting = [job.document for job in inference._queue.waiting]
    assert len(waiting) <= 17  # one of them may run, and come back
    assert "1999" in waiting
    inference.rest()


def test_in_a_comment_nothing_is_suggested_where_that_is_set_but_by_a_key(inference: InferenceThread) -> None:
    text = "def add(a, b):\n    return a + b  # the s"
    asked = CompletionRequest("a.py", "python", text, len(text), max_tokens=8)
    assert inference.submit(asked).result(DEADLINE).stop is not StopReason.PLACE
    here = inference.submit(replace(asked, disabled_in=("comment",))).result(DEADLINE)
    assert (here.text, here.stop, here.computed_tokens) == ("", StopReason.PLACE, 0)
    by_a_key = inference.submit(replace(asked, disabled_in=("comment",), explicit=True)).result(DEADLINE)
    assert by_a_key.stop is not StopReason.PLACE
    elsewhere = inference.submit(replace(asked, disabled_in=("string",))).result(DEADLINE)
    assert elsewhere.stop is not StopReason.PLACE


def test_a_suggestion_that_is_typed_into_a_comment_is_not_shown_there(inference: InferenceThread) -> None:
    asked = CompletionRequest("a.py", "python", "x = 1", 5, disabled_in=("comment",))
    said = Suggestion("  # one", 0, (), (), StopReason.END, 1, 0)
    inference._suggestions.remember(asked, said)
    in_code = inference.submit(replace(asked, text="x = 1 ", offset=6)).result(DEADLINE)
    assert in_code.text == " # one"
    in_comment = inference.submit(replace(asked, text="x = 1  # o", offset=10)).result(DEADLINE)
    assert (in_comment.text, in_comment.stop) == ("", StopReason.PLACE)
