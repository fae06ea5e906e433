"""Whether `mellum-lsp models recommend` predicts well: `python -m evaluation.predictions [MODEL ...] [--rounds N]`.

Each MODEL is a name of the table of known models; its shape is exported whole, with random weights. In turns, so that a
change of the machine's speed meets both sides: a few of its layers are measured and the whole is predicted; then the
whole is run. Prints the best of all rounds of both, and by how much the prediction is off. Random weights end a
suggestion at its first token, so a suggestion at a new place has one step here, on both sides. `--place FOLDER` keeps
the models there, which are made once.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from engine.model_folders.locations import CACHE_VARIABLE
from engine.model_folders.manifest import read_manifest
from engine.runtime.benchmark import benchmark
from engine.runtime.session import Model
from evaluation.harness.client import environment, serving
from export.known_models import KnownModel, Machine, known_model, measure_shape, predict
from export.known_models.predictions import STEPS_JUMP, STEPS_TYPING, prompts
from export.make import export
from export.sources.random_weights import RandomSource
from lsp_server.cli.commands.models.making import Made, count_threads
from lsp_server.cli.console import err

MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
FIGURES = ("while typing, ms", "after a jump, s", "first suggestion, s", "memory, MB", "disk, MB")


def main() -> None:
    """Export each shape, let both sides take turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, help="where the models are made, and kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = (arguments.place or Path(temporary)).absolute()
        os.environ[CACHE_VARIABLE] = str(cache)  # what is measured of random weights stays there
        print("| model | figure | predicted | measured | off by |\n| --- | --- | --- | --- | --- |")
        for known in map(known_model, arguments.models):
            folder = made(known, cache)
            predicted, measured = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
            for _ in range(arguments.rounds):
                for figures, seen in ((_predicted(known), predicted), (_measured(folder, cache), measured)):
                    for name, value in figures.items():
                        seen[name].append(value)
            for name in FIGURES:
                told, true = min(predicted[name]), min(measured[name])
                print(f"| {known.name} | {name} | {told:,.2f} | {true:,.2f} | {told / true - 1:+.0%} |", flush=True)


def made(known: KnownModel, cache: Path) -> Path:
    """A model of the shape with random weights among the models of a cache folder."""
    folder = cache / "models" / f"{known.name}-random"
    if not folder.is_dir():
        source = RandomSource(known.shape)
        err.print(f"Exporting {known.name} with random weights.")
        manifest = export(
            source,
            source.tokenizer(),
            folder,
            style="plain",
            command="python -m evaluation.predictions",
            progress=lambda what, share: None,
        )
        count_threads(Made(folder, manifest, known.shape), lambda what, share: None)  # as `models get` does
    return folder


def _predicted(known: KnownModel) -> dict[str, float]:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", "import lsp_server.server"], env=environment(Path()), check=True)
    machine = Machine.this_one(time.perf_counter() - started)
    told = predict(known.shape, measure_shape(known.shape, "int8", machine.threads), machine)
    later = (STEPS_JUMP - 1) * told.step
    return dict(
        zip(
            FIGURES,
            (told.typing * 1e3, told.jump - later, told.first - later, told.memory / 1e6, told.disk / 1e6),
            strict=True,
        )
    )


def _measured(folder: Path, cache: Path) -> dict[str, float]:
    manifest = read_manifest(folder)
    model = Model(folder, manifest, provider="cpu")
    rates = [benchmark(model) for _ in range(2)]
    length, _ = prompts(max(one.prefill for one in rates), manifest.context)
    tokens = [1000 + index % 20_000 for index in range(length)]
    jumps, step = [], 1 / max(one.decode for one in rates)
    for _ in range(2):
        slot = model.new_slot(length)
        started = time.perf_counter()
        model.run(slot, tokens, [length - 1])
        jumps.append(time.perf_counter() - started + step)
    del model, slot
    first, memory = asyncio.run(_first_suggestion(folder, cache))
    disk = sum(file.stat().st_size for file in folder.iterdir())
    return dict(zip(FIGURES, (STEPS_TYPING * step * 1e3, min(jumps), first, memory / 1e6, disk / 1e6), strict=True))


async def _first_suggestion(folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds from the server's start to its first answer in a long file; bytes resident after some answers."""
    text = inspect.getsource(argparse)
    lines = text.count("\n")
    started = time.perf_counter()
    async with serving(cache) as server:
        client = server.client
        await client.initialize(initializationOptions={"deadline": 0, "model": folder.name})
        client.open("file:///long.py", text)
        status = await client.state("ready", "no-model", "failed", within=600)
        if status["state"] != "ready":
            raise RuntimeError(status["message"])
        await client.complete("file:///long.py", lines // 2, 0)
        first = time.perf_counter() - started
        for place in range(1, 4):
            await client.complete("file:///long.py", place * lines // 5, 0)
        return first, psutil.Process(server.process.pid).memory_info().rss


if __name__ == "__main__":
    main()
