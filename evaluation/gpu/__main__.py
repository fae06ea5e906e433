"""Prove and measure the models on an NVIDIA card, on a machine that may have no network: `python -m evaluation.gpu`.

    --pack DIR             here: download what such a machine lacks, and cut it into pieces to copy
    --unpack DIR           there: check and join the pieces in DIR (wheels go to DIR/wheels), and install them
    --wheels DIR           there, instead: install from a folder of wheels
    --calls DIR DIR        here: print the calls for a machine that is lent for minutes, for pieces of this and of
                           training.card
    --dry-run              here: everything with small models on the processor, in a minute

It prints progress, and writes gpu.json and gpu.md into --out after each step: a run that is stopped leaves the results
so far. README.md beside this file has the commands one after the other.
"""

from __future__ import annotations

import argparse
import os
import site
import sys
import tempfile
from pathlib import Path

from evaluation.gpu.packing import WHEELS, PackingError, install, pack, unpack


def main() -> None:
    """Pack, unpack, install, or measure. Other modules of ours are imported only when their packages are there."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", type=Path, metavar="DIR", help="download and pack into DIR, and measure nothing")
    parser.add_argument("--python", default="3.12", help="what the other machine runs; default: 3.12")
    parser.add_argument("--card", metavar="N.N", help="pack kernels only for cards of this compute capability")
    parser.add_argument("--megabytes", type=int, default=50, help="size of a piece; default: 50, at most 60")
    parser.add_argument("--unpack", type=Path, metavar="DIR", help="join the pieces in DIR and install them")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install from a folder of wheels")
    parser.add_argument("--calls", type=Path, nargs=2, metavar="DIR", help="print the calls that carry these pieces")
    parser.add_argument("--target", type=Path, metavar="DIR", help="where to install; default: site beside the wheels")
    parser.add_argument("--only-install", action="store_true", help="install, and measure nothing")
    parser.add_argument("--models", type=Path, metavar="DIR", help="where models are made and kept; default: for once")
    parser.add_argument(
        "--out", type=Path, default=Path("evaluation/results/gpu"), metavar="DIR", help="where results go"
    )
    parser.add_argument("--seconds", type=float, default=240, help="how long it may take; default: 240")
    parser.add_argument("--only", action="append", default=[], metavar="STEP", help="only steps that begin so")
    parser.add_argument("--dry-run", action="store_true", help="small models on the processor")
    arguments = parser.parse_args()
    try:
        if arguments.pack:
            pack(
                arguments.pack,
                python=arguments.python,
                capability=arguments.card,
                megabytes=min(arguments.megabytes, 60),
                say=_say,
            )
            return
        if arguments.calls:
            _print_calls(*arguments.calls)
            return
        wheels = arguments.wheels
        if arguments.unpack:
            wheels = arguments.unpack / WHEELS
            unpack(arguments.unpack, wheels, say=_say)
        if wheels:
            _use(wheels, arguments.target or wheels.parent / "site")
    except PackingError as error:
        sys.exit(f"{error}.")
    if not arguments.only_install:
        _measure(arguments, wheels)


def _print_calls(measuring: Path, training: Path) -> None:
    from evaluation.gpu.calls import calls, size_of_checkout, table

    checkout = size_of_checkout()
    _say(table(list(calls(measuring, training, checkout=checkout)), checkout))


def _measure(arguments: argparse.Namespace, wheels: Path | None) -> None:
    from evaluation.gpu.runner import run

    def measured(models: Path) -> bool:
        return run(
            models,
            arguments.out,
            wheels=wheels,
            seconds=arguments.seconds,
            dry=arguments.dry_run,
            only=arguments.only,
        )

    if arguments.models:
        sys.exit(not measured(arguments.models))
    with tempfile.TemporaryDirectory(prefix="mellum-gpu-") as temporary:
        held = measured(Path(temporary))
    sys.exit(not held)


def _use(wheels: Path, target: Path) -> None:
    """Install what is missing, and let this process and those that it starts find it first."""
    target.mkdir(parents=True, exist_ok=True)
    install(wheels, target, say=_say)
    place = str(target.resolve())
    site.addsitedir(place)
    sys.path.remove(place)
    sys.path.insert(1, place)  # after this checkout, before what the machine has
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (place, os.environ.get("PYTHONPATH"))))


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
