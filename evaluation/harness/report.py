"""Figures of a typing simulation: as a table, beside an earlier run's, as JSON, and as a plot."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

Record = dict[str, Any]
"""One function's record, see `evaluation.typing.Record`, as plain values."""


def figures(records: Sequence[Record]) -> dict[str, float]:
    """Sum functions up: ratios of sums, and percentiles over all their requests."""

    def total(name: str) -> float:
        return float(sum(record[name] for record in records))

    def of_all(name: str) -> list[float]:
        return [value for record in records for value in record[name]]

    seconds, waits = of_all("seconds"), of_all("waits")
    computed = {
        step: [tokens for record in records for tokens in record["computed"][step]]
        for step in ("arrival", "character", "enter", "accept")
    }
    models = sum(len(tokens) for tokens in computed.values())
    taken = {part: sum(record["taken"][part] for record in records) for part in ("whole", "line", "word")}
    requests = len(seconds) + total("superseded")
    return {
        "characters": total("characters"),
        "keys": total("keys"),
        "keystrokes saved, %": 100 * (1 - total("keys") / max(total("keys_alone"), 1)),
        "keystrokes saved, standard error": standard_error(records, "keys", "keys_alone"),
        **{f"taken: {part}": float(count) for part, count in taken.items()},
        **{f"time to suggestion p{p}, ms": 1e3 * percentile(seconds, p) for p in (50, 90, 99)},
        **{f"from a key to the next answer p{p}, ms": 1e3 * percentile(waits, p) for p in (50, 90, 99)},
        "answered before the next key, %": 100 * len(seconds) / max(requests, 1),
        "answered without the model, % of answers": 100 * (1 - models / max(len(seconds), 1)),
        "wrong from the first word, % of time on screen": 100 * total("wrong") / max(total("on_screen"), 1e-9),
        "wrong from the first word, standard error": standard_error(records, "wrong", "on_screen"),
        "flickers in 100 keys": 100 * total("flickers") / max(total("keys"), 1),
        **{
            f"tokens recomputed after {step}, {name}": percentile(tokens, p)
            for step, tokens in computed.items()
            if step != "arrival"
            for name, p in (("median", 50), ("p95", 95))
        },
        "tokens recomputed in 100 characters": 100 * sum(map(sum, computed.values())) / max(total("characters"), 1),
        "CPU seconds in 100 characters": 100 * total("cpu_seconds") / max(total("characters"), 1),
    }


def standard_error(records: Sequence[Record], part: str, whole: str) -> float:
    """The standard error, in percent, of a share of sums over functions, as functions vary; NaN of fewer than two.

    Each function is left out once: the jackknife (Efron and Stein, "The jackknife estimate of variance", 1981).
    """
    sums = [sum(record[name] for record in records) for name in (part, whole)]
    left = [100 * (sums[0] - one[part]) / max(sums[1] - one[whole], 1e-9) for one in records]
    mean = sum(left) / max(len(left), 1)
    squares = sum((share - mean) ** 2 for share in left)
    return math.sqrt(squares * (len(left) - 1) / len(left)) if len(left) > 1 else float("nan")


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed; NaN of nothing."""
    if not values:
        return float("nan")
    return sorted(values)[max(-(-len(values) * percent // 100) - 1, 0)]


def progress(side: str, record: Record) -> str:
    """One line for a function that has been typed."""
    keys, alone = record["keys"], record["keys_alone"]
    p50, p90 = (1e3 * percentile(record["seconds"], percent) for percent in (50, 90))
    return (
        f"{side:20} {record['function']:60.60} {keys:4} keys for {alone:4}   "
        f"time to suggestion p50 {p50:6.1f}, p90 {p90:6.1f} ms"
    )


def give(records: dict[str, list[Record]], arguments: argparse.Namespace) -> None:
    """Print the table of all sides, and write what the options ask for."""
    sides = {side: figures(of_side) for side, of_side in records.items()}
    earlier: dict[str, dict[str, float]] = {}
    if arguments.compare:
        found = json.loads(arguments.compare.read_text(encoding="utf-8"))
        earlier = {f"{side}, earlier": values for side, values in found["figures"].items()}
    print(table({**sides, **earlier}))
    if arguments.json:
        options = {name: str(value) for name, value in vars(arguments).items() if name not in ("json", "plot")}
        whole = {"machine": machine(), "options": options, "figures": sides, "functions": records}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(records, arguments.plot)


def table(columns: dict[str, dict[str, float]]) -> str:
    """Figures side by side, and how each side's differ from the first one's: a table that Markdown reads, too."""
    first, *others = columns
    width = max(len(row) for values in columns.values() for row in values)
    lines = [f"| {'':{width}} | {first:>12} |" + "".join(f" {name:>24} |" for name in others)]
    lines.append(f"| {'-' * width} | {'-' * 11}: |" + f" {'-' * 23}: |" * len(others))
    for row, value in columns[first].items():
        line = f"| {row:{width}} | {value:12.2f} |"
        for name in others:
            other = columns[name].get(row, float("nan"))
            line += f" {other:12.2f} ({other / value:7.2f} x) |" if value else f" {other:12.2f}             |"
        lines.append(line)
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    if (known := Path("/proc/cpuinfo")).is_file():
        named = [line.split(":", 1)[1].strip() for line in known.read_text().splitlines() if "model name" in line]
        cpu = named[0] if named else cpu
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("mellum-lsp", "numpy", "tokenizers"))
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "load": f"{psutil.getloadavg()[0]:.1f} processes wanted to run in the last minute",
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": packages,
    }


def plot(records: dict[str, list[Record]], file: Path) -> None:
    """Draw what share of requests is answered within which time, and what is saved and wrong. Wants matplotlib."""
    import matplotlib as mpl  # the extra `evaluation`

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (times, shares) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for side, of_side in records.items():
        waits = sorted(1e3 * wait for record in of_side for wait in record["waits"])
        times.plot(waits, [100 * (index + 1) / len(waits) for index in range(len(waits))], label=side)
    times.set(xscale="log", xlabel="milliseconds from a key to the next answer", ylabel="% of keys", ylim=(0, 100))
    times.grid(alpha=0.3)
    times.legend()
    rows = ("keystrokes saved, %", "answered before the next key, %", "wrong from the first word, % of time on screen")
    for index, (side, of_side) in enumerate(records.items()):
        found = figures(of_side)
        places = [row + (index - (len(records) - 1) / 2) * 0.8 / len(records) for row in range(len(rows))]
        shares.barh(places, [found[row] for row in rows], height=0.8 / len(records), label=side)
    shares.set_yticks(range(len(rows)), [row.replace(", ", ",\n") for row in rows])
    shares.set(xlim=(0, 100), xlabel="%")
    shares.invert_yaxis()
    figure.savefig(file, dpi=110)
