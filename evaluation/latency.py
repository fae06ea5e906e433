"""How long a user waits, measured from outside over stdio: `python -m evaluation.latency`.

Prints: seconds from the server's start to its first suggestion; time to suggestion (p50, p90, p99) at 200 cursor
positions in 10 files of the standard library, each a jump to a new place; the same and the tokens recomputed for 200
characters typed one by one in each of 5 of them; resident memory. `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from engine.model_folders.locations import cache_folder
from evaluation.harness.client import Client, edit, environment, serving
from syntax.children import python_command

_FILES, _POSITIONS = 10, 200
_TYPED_FILES, _TYPED = 5, 200
_SMALLEST, _LARGEST = 10_000, 80_000  # bytes


def main() -> None:
    """Run all measurements and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's name or folder; default: the chosen one")
    parser.add_argument("--positions", type=int, default=_POSITIONS, help=f"places to jump to; default: {_POSITIONS}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--first", action="store_true", help="also measure the very first start, with no model cached")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    if arguments.first:
        figures |= asyncio.run(_first_start())
    figures |= asyncio.run(_measure(arguments.model, arguments.positions))
    for name, value in figures.items():
        print(f"{name:58} {value:10.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def source_files() -> list[Path]:
    """Choose files of the standard library, the same ones for the same Python."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [file for file in sorted(folder.glob("*.py")) if _SMALLEST < file.stat().st_size < _LARGEST]
    return random.Random(11).sample(files, _FILES)


async def _first_start() -> dict[str, float]:
    """From nothing: set the model up, start the server, get a suggestion."""
    cache = Path(tempfile.mkdtemp(prefix="mellum-lsp-"))
    try:
        started = time.perf_counter()
        command = python_command("lsp_server.cli", "setup")
        await asyncio.to_thread(subprocess.run, command, env=environment(cache), check=True, capture_output=True)
        made = time.perf_counter() - started
        return {
            "setup without a cached model, s": made,
            "setup and server start to first suggestion, s": made + await _start_to_suggestion(cache),
        }
    finally:
        shutil.rmtree(cache)


async def _start_to_suggestion(cache: Path, model: str | None = None) -> float:
    """Seconds from starting the server's process to its first non-empty answer, asked for as soon as it is ready."""
    started = time.perf_counter()
    async with serving(cache) as server:
        client = server.client
        await client.initialize(initializationOptions={"model": model})
        client.open("file:///start.py", "def add(a, b):\n    return a + ")  # what follows is sure
        await _ready(client)
        if not await client.complete("file:///start.py", 1, 15):
            raise RuntimeError("The first request got no suggestion")
        return time.perf_counter() - started


async def _ready(client: Client) -> None:
    """Wait until the model is loaded. Raises RuntimeError where there is none."""
    status = await client.state("ready", "no-model", "failed", within=120)
    if status["state"] != "ready":
        raise RuntimeError(status["message"])


async def _measure(model: str | None, positions: int) -> dict[str, float]:
    cache = cache_folder()
    starts = [await _start_to_suggestion(cache, model) for _ in range(3)]
    figures = {"server start to first suggestion, s": statistics.median(starts)}
    async with serving(cache) as server:
        client = server.client
        folder = Path("/workspace")  # what lies outside of every folder would not help, and cost nothing
        folders = [{"uri": folder.as_uri(), "name": folder.name}]
        await client.initialize(workspaceFolders=folders, initializationOptions={"model": model})
        await _ready(client)
        texts = {(folder / file.name).as_uri(): file.read_bytes().decode() for file in source_files()}
        for uri, text in texts.items():
            client.open(uri, text)
        figures |= await jumps(client, texts, positions=positions)
        figures |= await typing(client, texts)
        figures["resident memory, MB"] = psutil.Process(server.process.pid).memory_info().rss / 1e6
    return figures


async def jumps(client: Client, texts: dict[str, str], *, positions: int = _POSITIONS) -> dict[str, float]:
    """Ask at places all over the files, each far from the last, so that little state can be reused."""
    chance = random.Random(7)
    seconds, shown = [], 0
    for _ in range(positions):
        uri, text = chance.choice(list(texts.items()))
        line, character = _position(text, chance.randrange(len(text)))
        started = time.perf_counter()
        shown += bool(await client.complete(uri, line, character))
        seconds.append(time.perf_counter() - started)
    return {**_percentiles("jump: time to suggestion", seconds), "jump: share shown": shown / positions}


async def typing(
    client: Client, texts: dict[str, str], *, files: int = _TYPED_FILES, characters: int = _TYPED
) -> dict[str, float]:
    """In some files, delete a stretch of real code and type it again, asking after every character as VS Code does."""
    seconds: list[float] = []
    computed: list[int] = []  # for each keystroke that the model answered
    remembered = 0
    for uri, text in list(texts.items())[:files]:
        start = text.index("\n", len(text) // 2) + 1
        client.change(uri, 2, edit(_position(text, start), _position(text, start + characters), ""))
        await client.complete(uri, *_position(text, start))
        before = (await client.request("mellum/status", None))["statistics"]
        for index, character in enumerate(text[start : start + characters]):
            place = _position(text, start + index)
            client.change(uri, 3 + index, edit(place, place, character))
            asked = time.perf_counter()
            await client.complete(uri, *_position(text, start + index + 1))
            seconds.append(time.perf_counter() - asked)
            after = (await client.request("mellum/status", None))["statistics"]
            if after["remembered"] == before["remembered"]:
                computed.append(after["computed_tokens"] - before["computed_tokens"])
            remembered += after["remembered"] - before["remembered"]
            before = after
    return {
        **_percentiles("typing: time to suggestion", seconds),
        "typing: share answered by an earlier suggestion": remembered / len(seconds),
        "typing: tokens recomputed where the model answers, median": statistics.median(computed or [0]),
        "typing: tokens recomputed where the model answers, p95": _percentile(computed or [0], 95),
        "typing: tokens recomputed where the model answers, most": max(computed, default=0),
    }


def _position(text: str, offset: int) -> tuple[int, int]:
    """Line and character from 0; the files are ASCII where it matters, so a character is a code point."""
    return text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1)


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    return {f"{name} p{percent}, ms": _percentile(seconds, percent) * 1e3 for percent in (50, 90, 99)}


if __name__ == "__main__":
    main()
