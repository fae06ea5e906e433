"""Time to suggestion of the real server over stdio, with a model on the card."""

from __future__ import annotations

import asyncio
import time

import psutil

from evaluation.gpu.models import DEFAULT, LARGE
from evaluation.gpu.records import Recorder
from evaluation.gpu.workplace import Missing, Workplace
from evaluation.harness.client import serving
from evaluation.latency import jumps, source_files, typing

_TYPING_GOALS = {DEFAULT: {"p50": 8.0}, LARGE: {"p50": 25.0, "p90": 60.0}}
_JUMP_GOAL = 300.0
_READY = 90.0


def measure_server(workplace: Workplace, record: Recorder, title: str) -> None:
    """Start the server with a model; type, and jump to new places."""
    asyncio.run(_measure(workplace, record, title))


async def _measure(workplace: Workplace, record: Recorder, title: str) -> None:
    settings: dict[str, object] = {"model": str(workplace.folder(title).absolute()), "provider": workplace.provider}
    name, _, _ = title.rpartition(" ")
    if name != DEFAULT:  # random weights are never sure; a suggestion of this length stands for one that is shown
        settings |= {"eagerness": "always", "maxTokens": 16}
        record.add(title, "random weights: every suggestion is shown, of 16 tokens at most", "")
    started = time.perf_counter()
    async with serving(workplace.models / "cache") as server:
        client = server.client
        await client.initialize(initializationOptions=settings)
        status = await client.state("ready", "no-model", "failed", within=_READY)
        if status["state"] != "ready":
            raise Missing(status["message"])
        record.add(title, "server start to ready", time.perf_counter() - started, "s")
        providers = ", ".join(status["model"]["providers"])
        record.add(title, "providers, as the server says", providers,
                   passed=workplace.dry or providers.startswith("CUDA"), goal="CUDA")  # fmt: skip
        texts = {file.as_uri(): file.read_bytes().decode() for file in source_files()}
        for uri, text in texts.items():
            client.open(uri, text)
        files = 1 if workplace.dry else 2
        for figures in (
            typing(client, texts, files=files, characters=workplace.sizes.keys),
            jumps(client, texts, positions=workplace.sizes.jumps),
        ):
            for what, value in (await figures).items():
                _add(record, title, name, what, value)
        memory = psutil.Process(server.process.pid).memory_info().rss / 1e6
        record.add(title, "resident memory of the server", memory, "MB")
    if server.stderr:
        record.add(title, "what the server wrote to stderr", server.stderr.decode(errors="replace")[-500:])


def _add(record: Recorder, title: str, name: str, what: str, value: float) -> None:
    what, unit = (what.removesuffix(", ms"), "ms") if what.endswith(", ms") else (what, "")
    percentile = what.rpartition(" ")[2]
    goal = _TYPING_GOALS.get(name, {}).get(percentile) if what.startswith("typing: time") else None
    if what.startswith("jump: time") and percentile == "p50" and name == LARGE:
        goal = _JUMP_GOAL
    if goal is not None:
        record.at_most(title, what, value, goal, unit, speed=True)
    else:
        record.add(title, what, value, unit)
