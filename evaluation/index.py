"""What the index costs in a large workspace: `python -m evaluation.index`.

The workspace is 10,000 Python files: those of this Python's standard library and packages, copied until there are
enough. Prints: seconds of the first index, time to suggestion (p90, at 60 new places) before and meanwhile, memory of
the indexer process and of the server, milliseconds until a saved file is searchable, seconds of a restart without a
change, milliseconds of context at 200 new places (of documents that were never looked at, and of those that were opened
before, as a server's are), of opening them, and while typing, and seconds until the index is up to date after a branch
switch that rewrites 5,000 files, and whether it then equals a fresh one. `--files N` takes fewer, `--json FILE` keeps
them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from engine.model_folders.locations import DEFAULT_MODEL, cache_folder
from evaluation.harness.client import Client, serving
from indexer import Index, database_of, index_now
from indexer.store.store import Store
from indexer.sync.messages import IndexMessage, UpToDate
from indexer.sync.supervisor import Supervisor
from syntax import Cursor, identify

_FILES, _SWITCHED = 10_000, 5_000
_JUMPS, _PLACES, _SAVES = 60, 200, 10
_PATIENCE = 900.0  # seconds


def main() -> None:
    """Run all measurements and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=_FILES, help="size of the workspace")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mellum-lsp-") as folder:
        figures = _measure(Path(folder).resolve(), arguments.files)
    for name, value in figures.items():
        print(f"{name:58} {value:10.1f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _measure(folder: Path, files: int) -> dict[str, float]:
    root, cache = folder / "workspace", folder / "cache"
    shutil.copytree(cache_folder() / "models" / DEFAULT_MODEL, cache / "models" / DEFAULT_MODEL)
    figures = _make_workspace(root, files)
    database = database_of(root, cache)
    figures |= asyncio.run(_first_index(root, cache))
    said: list[IndexMessage] = []
    started = time.perf_counter()
    supervisor = Supervisor(root, database, said.append)
    _until(lambda: any(isinstance(one, UpToDate) for one in said))
    figures["restart without a change, s"] = time.perf_counter() - started
    figures |= _saves(root, database)
    figures |= _contexts(root, cache)
    figures |= _branch_switch(root, database, min(_SWITCHED, files // 2), folder / "fresh.sqlite")
    supervisor.close()
    return figures


def _make_workspace(root: Path, files: int) -> dict[str, float]:
    """Copy packages until there are enough files, each time below another folder."""
    paths = sysconfig.get_paths()
    sources = sorted({file for name in ("stdlib", "purelib") for file in Path(paths[name]).rglob("*.py")})
    count = lines = copy = 0
    while count < files:
        for source in sources[: files - count]:
            base = next(Path(paths[n]) for n in ("purelib", "stdlib") if source.is_relative_to(paths[n]))
            target = root / f"copy{copy}" / source.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            data = source.read_bytes()
            target.write_bytes(data)
            lines += data.count(b"\n")
            count += 1
        copy += 1
    return {"files": float(count), "lines": float(lines)}


async def _first_index(root: Path, cache: Path) -> dict[str, float]:
    async with serving(cache) as server:  # no workspace, and so no index
        await server.client.initialize()
        await server.client.state("ready", within=120)
        idle = await _jumps(server.client)
        alone = psutil.Process(server.process.pid).memory_info().rss
    async with serving(cache) as server:
        client = server.client
        started = time.perf_counter()
        await client.initialize(workspaceFolders=[{"uri": root.as_uri(), "name": "workspace"}])
        await client.state("ready", within=120)
        (indexer,) = await asyncio.to_thread(_until, psutil.Process(server.process.pid).children)
        meanwhile = await _jumps(client)
        is_still_busy = (await client.request("mellum/status"))["index"]["busy"]
        most = 0
        async with asyncio.timeout(_PATIENCE):
            while (await client.request("mellum/status"))["index"]["busy"]:
                most = max(most, indexer.memory_info().rss)
                await asyncio.sleep(0.2)
        seconds = time.perf_counter() - started
        await _jumps(client)
        together = psutil.Process(server.process.pid).memory_info().rss
    return {
        "first index, s": seconds,
        "time to suggestion p90 without an index, ms": 1e3 * _percentile(idle, 90),
        "time to suggestion p90 during the first index, ms": 1e3 * _percentile(meanwhile, 90),
        "the first index lasted longer than these (1 yes)": float(is_still_busy),
        "memory of the indexer process, MB": most / 1e6,
        "memory that the server has more, MB": (together - alone) / 1e6,
    }


async def _jumps(client: Client) -> list[float]:
    """Seconds of suggestions, each at a new place."""
    chance = random.Random(7)
    file = Path(sysconfig.get_paths()["stdlib"]) / "argparse.py"
    text = file.read_text(encoding="utf-8")
    client.open(file.as_uri(), text)
    seconds = []
    for _ in range(_JUMPS):
        offset = chance.randrange(len(text))
        line, character = text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1)
        started = time.perf_counter()
        await client.complete(file.as_uri(), line, character)
        seconds.append(time.perf_counter() - started)
    client.notify("textDocument/didClose", {"textDocument": {"uri": file.as_uri()}})
    return seconds


def _saves(root: Path, database: Path) -> dict[str, float]:
    """How long a saved file takes to be found by a name in it."""
    store = Store.readable(database)
    seconds = []
    for number in range(_SAVES):
        name = f"saved_function_{number}"
        started = time.perf_counter()
        (root / "copy0" / "saved.py").write_text(f"def {name}():\n    return {number}\n", encoding="utf-8")
        _until(lambda name=name: store.definitions([name], "python", 2))  # type: ignore[misc]
        seconds.append(time.perf_counter() - started)
    store.close()
    return {
        "a saved file is searchable after, median, ms": 1e3 * statistics.median(seconds),
        "a saved file is searchable after, longest, ms": 1e3 * max(seconds),
    }


def _contexts(root: Path, cache: Path) -> dict[str, float]:
    """How long context takes at new places of real files, and at the next characters there."""
    index = Index(cache)
    index.open_folder(root, watched=False)
    chance = random.Random(3)
    files = chance.sample(sorted((root / "copy0").rglob("*.py")), 5 * _PLACES)
    texts = {file: text for file in files if len(text := file.read_text(encoding="utf-8", errors="replace")) >= 2000}
    new, opening, opened, typed = list[float](), list[float](), list[float](), list[float]()
    for number, (file, text) in enumerate(list(texts.items())[: 2 * _PLACES]):
        document, offset = identify(file.as_uri(), index.folders()), chance.randrange(len(text))
        if is_opened := number % 2 == 1:
            started = time.perf_counter()
            index.update(document, "python", text)
            index.refresh()
            opening.append(time.perf_counter() - started)
        for at in range(3):
            cursor = Cursor(document, "python", text[:offset] + "x" * at + text[offset:], offset + at)
            started = time.perf_counter()
            index.context_for(cursor, within=1.0)
            (typed if at else opened if is_opened else new).append(time.perf_counter() - started)
        index.forget(document)
    index.close()
    figures = {
        "context at a new place of an unknown document": new,
        "opening a document": opening,
        "context at a new place of an opened document": opened,
        "context while typing": typed,
    }
    return {
        f"{name} p{percent}, ms": 1e3 * _percentile(values, percent)
        for name, values in figures.items()
        for percent in (50, 95)
    }


def _branch_switch(root: Path, database: Path, switched: int, fresh: Path) -> dict[str, float]:
    """Rewrite many files, as a checkout does, and wait until the index holds what is on disk."""
    store = Store.readable(database)
    known = store.states()  # the index leaves out what is vendored
    files = [root / path for path in random.Random(5).sample(sorted(known), min(switched, len(known)))]
    started = time.perf_counter()
    for file in files:
        file.write_bytes(file.read_bytes() + b"\n\ndef of_the_other_branch():\n    return 1\n")
    on_disk = {
        file.relative_to(root).as_posix(): (state.st_mtime_ns, state.st_size)
        for file in files
        for state in [file.stat()]
    }

    def is_in_step() -> bool:
        states = store.states()
        return all((one := states.get(path)) and (one.modified, one.size) == seen for path, seen in on_disk.items())

    _until(is_in_step, every=0.5)
    seconds = time.perf_counter() - started
    index_now(root, fresh, lambda message: None)
    other = Store.readable(fresh)
    hashes = [{path: one.hash for path, one in each.states().items()} for each in (store, other)]
    is_same = hashes[0] == hashes[1] and store.counts() == other.counts()
    store.close()
    other.close()
    return {
        f"up to date again after {len(files):,} files changed, s": seconds,
        "the same as a fresh index (1 yes)": float(is_same),
    }


def _until(condition: Callable[[], Any], *, every: float = 0.002) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("What the measurement waits for does not happen")
        time.sleep(every)
    return found


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


if __name__ == "__main__":
    main()
