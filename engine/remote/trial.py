"""Tries a server as `mellum-lsp doctor` does: how far it is, how soon it begins to answer, how fast it writes."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from engine.remote.engine import RemoteEngine, RemoteFacts
from engine.request import CompletionRequest, Unavailable

_GREETED_WITHIN = 30.0  # seconds
_ROUND_TRIPS = 5
_LEFT = 'def fibonacci(count: int) -> list[int]:\n    """The first numbers of the sequence."""\n    '
_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured; numbers are None where it failed."""

    facts: RemoteFacts
    protocol: str
    """Such as HTTP/2."""
    round_trip: float | None = None
    """Median seconds of a question that needs no model."""
    first_token: float | None = None
    """Seconds until the answer begins."""
    rate: float | None = None
    """Tokens a second after that."""


def try_out(engine: RemoteEngine) -> Trial:
    """Measure a server once it has greeted. Takes seconds; never raises."""
    until = time.monotonic() + _GREETED_WITHIN
    while engine.facts().state == "connecting" and time.monotonic() < until:
        time.sleep(0.02)
    if not engine.is_ready:
        return Trial(engine.facts(), engine.connection.protocol)
    trips: list[float] = []
    request = CompletionRequest("fibonacci.py", "python", _LEFT, len(_LEFT), explicit=True, max_tokens=_TOKENS)
    try:
        for _ in range(_ROUND_TRIPS):
            begun = time.perf_counter()
            engine.connection.start(engine.connection.get("/v1/models")).result(_GREETED_WITHIN)
            trips.append(time.perf_counter() - begun)
        engine.complete(request)  # the first may load something
        said = engine.complete(request)
    except (Unavailable, TimeoutError):
        return Trial(engine.facts(), engine.connection.protocol, statistics.median(trips) if trips else None)
    seconds, written = said.timings.get("decode", 0.0), len(said.tokens) - 1
    return Trial(
        engine.facts(),
        engine.connection.protocol,
        statistics.median(trips),
        said.timings.get("prefill"),
        written / seconds if written > 0 and seconds > 0 else None,
    )
