"""The calls for a machine that is lent for minutes: which files go along with each, what it runs, how long it takes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluation.gpu.packing import PIECES, PackingError
from syntax.children import find_program

MEASURE, TRAIN = 200, 420
"""Seconds."""
_HOUSE = Path(__file__).parents[2]
_SCRIPT = "sh evaluation/gpu/on_card.sh"
_START = 90.0  # seconds until a machine answers
_BYTES_A_SECOND = 8e6  # of what is carried; a guess
_UNPACK = 25.0
_SLACK = 20.0  # for what a call takes longer than its command


@dataclass(frozen=True, slots=True)
class Call:
    """One command, with the files that are carried to it."""

    carried: tuple[Path, ...]
    command: str
    limit: int
    """Seconds after which it may be ended."""
    seconds: float
    """What it adds to the time for which the machine is held."""


def calls(measuring: Path, training: Path, *, checkout: int) -> Iterator[Call]:
    """Plan the calls for two folders of pieces; with each goes the checkout, of so many bytes. Raises PackingError.

    Training's pieces are carried while the machine measures.
    """
    first, second = _pieces(measuring), _pieces(training)
    carried = [(measuring / PIECES, piece) for piece in first]
    carried += [(training / PIECES, piece) for piece in second]
    transfers = [(checkout + sum(path.stat().st_size for path in pair)) / _BYTES_A_SECOND for pair in carried]
    during = sum(transfers[len(first) :])
    for index, (pair, transfer) in enumerate(zip(carried, transfers, strict=True)):
        starts = index == len(first) - 1
        command = f"{_SCRIPT} measure {MEASURE}" if starts else f"{_SCRIPT} keep"
        yield Call(pair, command, 60, transfer + (0.0 if index else _START))
    waited = max(_UNPACK + MEASURE - during, 0.0)
    yield Call((), f"{_SCRIPT} report", MEASURE + 100, waited + checkout / _BYTES_A_SECOND)
    yield Call((), f"{_SCRIPT} train {TRAIN}", TRAIN + 100, _UNPACK / 2 + TRAIN + _SLACK + checkout / _BYTES_A_SECOND)


def table(planned: list[Call], checkout: int) -> str:
    """The calls as text, with the largest load and the time of all."""
    lines = []
    for number, call in enumerate(planned, 1):
        size = sum(path.stat().st_size for path in call.carried) + checkout
        lines += [
            f"{number}. {call.seconds:.0f} s; carried: {size / 1e6:.0f} MB with the checkout; limit: {call.limit} s",
            *(f"   carry   {path.as_posix()}" for path in call.carried),
            f"   command {call.command}",
        ]
    return "\n".join([*lines, f"In all about {sum(call.seconds for call in planned):.0f} s"])


def size_of_checkout() -> int:
    """Bytes of the files that git knows, which go along with each call. Raises PackingError."""
    git = find_program("git")
    if git is None:
        raise PackingError("git is not installed, which tells the files of this checkout")
    listed = subprocess.run([git, "-C", str(_HOUSE), "ls-files", "-z"], check=True, capture_output=True, text=True)
    return sum((_HOUSE / name).stat().st_size for name in listed.stdout.split("\0") if name)


def _pieces(folder: Path) -> list[Path]:
    try:
        listed = json.loads((folder / PIECES).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PackingError(f"{folder} has no {PIECES}; pack into it first") from error
    return [folder / name for name in listed.get("pieces", listed.get("sha256", {}))]
