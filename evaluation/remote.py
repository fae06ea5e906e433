"""A model on another machine beside the same weights in memory: `python -m evaluation.remote`.

llama.cpp's server on loopback has the default model; two language servers, one with the local model and one with the
remote engine alone, are typed into over stdio, in turns. Prints time to suggestion (p50, p90) of both and their ratio,
and what a cancelled request costs llama.cpp's server in processor seconds, against one that is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from engine.model_folders.locations import DEFAULT_MODEL, cache_folder, find_model
from engine.remote.engine import RemoteEngine
from engine.request import Cancelled, CompletionRequest
from evaluation.harness.client import Client, edit, serving
from evaluation.harness.llama import LlamaServer, control_names, llama_server, weights
from evaluation.harness.sides import cpu_seconds, position
from evaluation.latency import source_files
from export.default_model import ADAPTER

_CONTEXT = 4096
_CANCELLED_AFTER = 0.1  # seconds: a fast typist's next key
_REST = 0.3  # seconds after which what a cancelled request still costs has been spent


@dataclass
class Typed:
    """One language server while it is typed into."""

    name: str
    client: Client
    seconds: list[float] = field(default_factory=list)
    shown: int = 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--characters", type=int, default=100, help="typed in each file, one request each")
    parser.add_argument("--cancelled", type=int, default=20, help="requests that are cancelled, and that are answered")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    texts = [(file.name, file.read_bytes().decode()) for file in source_files()[: arguments.files]]
    figures = asyncio.run(_measure(texts, arguments.characters, arguments.cancelled))
    for name, value in figures.items():
        print(f"{name:58} {value:10.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


async def _measure(texts: list[tuple[str, str]], characters: int, cancelled: int) -> dict[str, float]:
    with ExitStack() as stack:
        names = control_names(find_model(DEFAULT_MODEL))
        [gguf] = stack.enter_context(weights(["Q8_0"], None, ADAPTER, names)).values()
        nothing = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async with llama_server(gguf, context=_CONTEXT) as server:
            url = server.address
            settings = {"remote": {"url": url}, "contextTokens": 768}
            async with serving(cache_folder()) as local, serving(nothing, MELLUM_LSP_REMOTE=url) as remote:
                await local.client.initialize(initializationOptions={"contextTokens": 768})
                await remote.client.initialize(initializationOptions=settings)
                sides = [Typed("local", local.client), Typed("remote", remote.client)]
                for side in sides:
                    await _ready(side.client)
                for name, text in texts:
                    await _type(sides, name, text, characters)
            costs = await asyncio.to_thread(_costs, server, cancelled)
    figures: dict[str, float] = {}
    for side in sides:
        for percent in (50, 90):
            ordered = sorted(side.seconds)
            value = ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]
            figures[f"{side.name}: time to suggestion p{percent}, ms"] = value * 1e3
        figures[f"{side.name}: share shown"] = side.shown / len(side.seconds)
    for percent in (50, 90):
        name = f"time to suggestion p{percent}, ms"
        figures[f"remote / local, p{percent}"] = figures[f"remote: {name}"] / figures[f"local: {name}"]
    return figures | costs


async def _ready(client: Client) -> None:
    """Wait until what suggests is there."""
    await client.state("ready", within=120)
    while (remote := (await client.request("mellum/status"))["remote"]) is not None and remote["state"] != "ready":
        pass  # a request takes a millisecond


async def _type(sides: list[Typed], name: str, text: str, characters: int) -> None:
    """Delete a stretch of a file's code and type it again at both, a key at one and then at the other."""
    uri = Path("/workspace", name).as_uri()
    start = text.index("\n", len(text) // 2) + 1
    for side in sides:
        side.client.open(uri, text[:start] + text[start + characters :])
        await side.client.complete(uri, *position(text, start))
    for index, character in enumerate(text[start : start + characters]):
        place = position(text, start + index)
        for side in sides:
            side.client.change(uri, 2 + index, edit(place, place, character))
            asked = time.perf_counter()
            side.shown += bool(await side.client.complete(uri, *position(text, start + index + 1)))
            side.seconds.append(time.perf_counter() - asked)


def _costs(server: LlamaServer, count: int) -> dict[str, float]:
    """Processor seconds of the server for a request that is cancelled after a tenth of a second, and for a whole one.

    Each is at a new place.
    """
    engine = RemoteEngine(server.address, None, prompt_tokens=768)
    while engine.facts().state == "connecting":
        time.sleep(0.02)
    text = source_files()[0].read_text(encoding="utf-8")
    spent: dict[str, list[float]] = {"cancelled": [], "answered": []}
    late: list[float] = []
    for index in range(count):
        for kind, costs in spent.items():
            offset = text.index("\n", len(text) * (2 * index + (kind == "cancelled")) // (2 * count)) + 1
            request = CompletionRequest(f"{kind}{index}.py", "python", text, offset, max_tokens=96)
            before, stop_at = cpu_seconds(server.pid), time.perf_counter() + _CANCELLED_AFTER
            try:
                if kind == "cancelled":
                    engine.complete(request, lambda: time.perf_counter() > stop_at)  # noqa: B023
                else:
                    engine.complete(request)
            except Cancelled:
                late.append(time.perf_counter() - stop_at)
            time.sleep(_REST)
            costs.append(cpu_seconds(server.pid) - before)
    engine.close()
    figures = {
        f"{kind} request: processor seconds of the server": statistics.mean(costs) for kind, costs in spent.items()
    }
    return figures | {"cancelled request: returns after, ms": statistics.median(late or [0.0]) * 1e3}


if __name__ == "__main__":
    main()
