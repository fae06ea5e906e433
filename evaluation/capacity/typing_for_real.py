"""Developers of the simulation in real time, against llama.cpp's server: the same functions, rests and rules."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from evaluation.capacity.simulation import Conditions, Life, Outcome
from evaluation.capacity.trace import Place, Typed
from evaluation.harness.llama import LlamaServer


class Stream:
    """One streamed completion; closing it is how a request is cancelled."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def end(self) -> dict[str, float]:
        """Wait for the last token; returns the server's timings."""
        while line := await self._reader.readline():
            if line.startswith(b"data: ") and b'"stop":true' in line:
                timings: dict[str, float] = json.loads(line[len(b"data: ") :])["timings"]
                return timings
        raise ConnectionError("llama-server has closed the connection")

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@asynccontextmanager
async def completion(server: LlamaServer, slot: int, tokens: Sequence[int], count: int) -> AsyncIterator[Stream]:
    """Let a slot write `count` tokens after a prompt."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 24)
    fields = {"prompt": list(tokens), "n_predict": count, "id_slot": slot, "stream": True}
    body = json.dumps({**fields, "temperature": 0.0, "ignore_eos": True, "cache_prompt": True}).encode()
    head = f"POST /completion HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    stream = Stream(reader, writer)
    try:
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        await writer.drain()
        yield stream
    finally:
        stream.close()


async def type_together(
    trace: Sequence[Typed], developers: int, server: LlamaServer, conditions: Conditions
) -> Outcome:
    """Let so many developers type for `conditions.seconds`; returns what became of their requests."""
    outcome = Outcome(seconds=conditions.seconds)
    chance = random.Random(conditions.seed)
    lives = [Life(trace, random.Random(chance.random()), conditions) for _ in range(developers)]
    began = time.perf_counter()
    typing = [_live(life, slot, server, conditions, outcome, began) for slot, life in enumerate(lives)]
    with suppress(TimeoutError):
        async with asyncio.timeout(conditions.seconds):
            await asyncio.gather(*typing)
    return outcome


async def _live(
    life: Life, slot: int, server: LlamaServer, conditions: Conditions, outcome: Outcome, began: float
) -> None:
    def now() -> float:
        return time.perf_counter() - began

    at = life.first
    while True:
        await asyncio.sleep(at - now())
        typist = life.begin()
        start, asked = now(), True
        key_at = start + typist.pause
        while not typist.is_done:
            if asked:
                sent = now()
                request = asyncio.create_task(_ask(server, slot, typist.place))
                done, _ = await asyncio.wait([request], timeout=max(key_at - now(), 0))
                answered = now()
                if done:
                    request.result()
                    typist.answered(answered)
                else:
                    request.cancel()
                if sent >= conditions.settled:
                    outcome.times.append((answered - sent, bool(done)))
                    outcome.in_time += bool(done)
            await asyncio.sleep(max(key_at - now(), 0))
            asked = typist.key(now())
            key_at += 0.0 if typist.is_done else typist.pause
        at = now() + life.rest(now() - start)


async def _ask(server: LlamaServer, slot: int, place: Place) -> None:
    async with completion(server, slot, place.prompt, max(place.decoded, 1)) as stream:
        await stream.end()
