"""The local model and the remote one together: no waiting for a slow server, and none for one that is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CompletionRequest, Engine, InferenceThread, StopReason, Suggestion
from engine.remote.pair import Pair
from tests.engine.remote.conftest import Connect
from tests.engine.remote.openai_server import MODEL
from tests.engine.remote.running import Running, running, wait_for
from tests.engine.remote.test_remote_engine import CODE, LONG, at_end

WITHIN = 60


@pytest.fixture
def pair(engine: Engine, connect: Connect) -> Iterator[Pair]:
    remote = connect()
    pair = Pair(InferenceThread(engine), InferenceThread(remote), remote)
    yield pair
    pair.close()


def typed(request: CompletionRequest, text: str) -> CompletionRequest:
    return replace(request, text=request.text + text, offset=request.offset + len(text))


def asked(text: str) -> CompletionRequest:
    return at_end(text, document="file:///a.py")


def test_a_quick_remote_answer_is_shown(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.remote.pair._UNKNOWN", WITHIN)
    assert pair.submit(asked(CODE)).result(WITHIN).model == MODEL


def test_a_slow_remote_answer_is_not_waited_for_and_what_is_shown_stays(pair: Pair, server: Running) -> None:
    server.behave(delay=WITHIN)
    shown = pair.submit(asked(LONG)).result(WITHIN)
    assert shown.model == ""
    assert shown.text
    begun = time.monotonic()
    rest = pair.submit(typed(asked(LONG), shown.text[:1])).result(WITHIN)
    assert time.monotonic() - begun < 1
    assert rest.text == shown.text[1:]
    assert len(server.seen()["prompts"]) == 1


@pytest.mark.parametrize(("late", "stays"), [("limit + 1", False), ("limit", False), ("lower", True), ("", True)])
def test_a_late_remote_answer_comes_in_its_place_only_if_it_goes_on_from_it(
    late: str, stays: bool, pair: Pair, server: Running
) -> None:
    request, shown = asked("x = "), "limit"
    server.behave(delay=WITHIN)
    pair._local._suggestions.remember(request, Suggestion(shown, 0, (1,), (0.0,), StopReason.END, 1, 0))
    pair._remote._suggestions.remember(request, Suggestion(late, 0, (1,), (0.0,), StopReason.END, 1, 0))
    pair._on_screen.add(request.document)
    for text in ("", "l", "li"):
        rest = pair.submit(typed(request, text)).result(WITHIN).text
        assert text + rest == (shown if stays else late)


def test_patience_follows_what_the_remote_engine_mostly_takes(pair: Pair) -> None:
    assert pair.patience == 0.15
    for seconds in (0.1, 0.1, 3.0):
        pair._engine._seconds.append(seconds)
    assert pair.patience == pytest.approx(0.15)
    pair._engine._seconds.extend([1.0] * 9)
    assert pair.patience == 0.4


def test_an_empty_local_answer_leaves_the_remote_one_its_time(pair: Pair, server: Running) -> None:
    server.behave(delay=1.0)
    request = asked(CODE)
    local = replace(request, confidence=0.999999)
    assert not pair._local.submit(local).result(WITHIN).text
    assert pair.submit(local).result(WITHIN).model == MODEL


def test_a_cancelled_request_is_cancelled_at_both(pair: Pair, server: Running) -> None:
    server.behave(pause=0.1)
    future = pair.submit(asked(LONG))
    wait_for(lambda: server.seen()["decoded"] > 0)
    future.cancel()
    wait_for(lambda: server.seen()["cancelled"] == 1 or future.done())
    wait_for(lambda: pair._remote._queue.running is None)


def test_while_the_server_is_gone_the_local_model_goes_on(model_cache: Path, engine: Engine, connect: Connect) -> None:
    with running(model_cache) as first:
        remote = connect(first.url)
        pair = Pair(InferenceThread(engine), InferenceThread(remote), remote)
        first.behave(pause=0.3)
        future = pair.submit(asked(LONG))
        wait_for(lambda: first.seen()["decoded"] > 0)
        first.kill()
        assert future.result(WITHIN).text
        assert pair.submit(asked(CODE)).result(WITHIN).model == ""
        wait_for(lambda: not remote.is_ready)
        assert pair.submit(asked(CODE + " ")).result(WITHIN).model == ""
    with running(model_cache, port=first.port):
        wait_for(lambda: remote.is_ready)
        pair._on_screen.clear()
        numbers = iter(range(1000))
        wait_for(lambda: pair.submit(asked(f"{CODE}{next(numbers)} + ")).result(WITHIN).model == MODEL)
    pair.close()
