"""A model's quality and speed, as tables for its card: `python -m evaluation.card MODEL --sources FOLDER --out OUT`.

Runs `evaluation.replay` (shown, right, characters saved by eagerness, and calibration, at held-out functions),
`evaluation.infilling` (HumanEval-Infilling), `evaluation.typing` and `evaluation.latency` with the model, one after the
other, and prints `OUT/card.md`. Each writes its figures to `OUT` when it is done: stopped, the same command goes
on with the next one; `--only NAME` makes one anew. `--small` runs all of them in minutes, to see that a model works:
those figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.model_folders.locations import find_model
from engine.model_folders.manifest import Manifest, ModelError, read_manifest
from evaluation.harness.report import machine
from syntax.children import python_command
from training.data.sources import add_code

Figures = dict[str, Any]

_WHOLE: Mapping[str, tuple[str, ...]] = {
    "replay": ("--points", "320"),
    "infilling": ("--single", "200", "--multi", "100"),
    "typing": ("--functions", "3"),
    "latency": (),
}
_SMALL: Mapping[str, tuple[str, ...]] = {
    "replay": ("--points", "4"),
    "infilling": ("--single", "4", "--multi", "2"),
    "typing": ("--functions", "1", "--words-a-minute", "200"),
    "latency": ("--positions", "10"),
}


def main() -> None:
    """Make what is missing, and print the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's name, or its folder")
    parser.add_argument("--out", type=Path, required=True, help="where figures and card.md are written")
    parser.add_argument("--only", choices=tuple(_WHOLE), help="make these figures anew, and no others")
    parser.add_argument("--small", action="store_true", help="a few places of each")
    add_code(parser)
    arguments = parser.parse_args()
    try:
        folder = find_model(arguments.model)
        manifest = read_manifest(folder)
    except ModelError as error:
        parser.error(str(error))
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    for name, options in (_SMALL if arguments.small else _WHOLE).items():
        file = out / f"{name}.json"
        if arguments.only not in (None, name) or (arguments.only is None and file.is_file()):
            continue
        print(f"python -m evaluation.{name} {' '.join(options)}", file=sys.stderr, flush=True)
        which = [str(folder)] if name in ("replay", "infilling") else ["--model", str(folder)]
        code = ("--sources", arguments.sources) if arguments.sources else ("--workspace", arguments.workspace)
        more = map(str, code) if name == "replay" else ()
        unfinished = file.with_suffix(".json~")
        try:
            subprocess.run(
                [*python_command(f"evaluation.{name}"), *which, *options, *more, "--json", str(unfinished)], check=True
            )
        except subprocess.CalledProcessError as error:
            parser.exit(1, f"evaluation.{name} ended with {error.returncode}; run this again to go on\n")
        except KeyboardInterrupt:
            parser.exit(130, "\nStopped. The same command goes on with what is missing.\n")
        unfinished.replace(file)
    files = {name: out / f"{name}.json" for name in _WHOLE}
    made = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
    text = card(manifest, made)
    (out / "card.md").write_text(text, encoding="utf-8")
    print(text)


def card(manifest: Manifest, made: Mapping[str, Figures]) -> str:
    """The tables of a model's card, in Markdown, of those figures that there are."""
    fitted = manifest.fitted or ("with its adapter" if manifest.ngrams is not None else "no")
    lines = [
        f"# {manifest.name}",
        "",
        f"{manifest.parameters / 1e6:,.0f} million parameters, {manifest.quantization}, {manifest.license}, from "
        f"{manifest.source}. Fitted: {fitted}; calibration {manifest.calibration:g}. Measured on {machine()['cpu']}.",
    ]
    tables: Mapping[str, Callable[[Figures], Iterator[str]]] = {
        "replay": _replayed,
        "infilling": _infilled,
        "typing": _typed,
        "latency": _waited,
    }
    for name, table in tables.items():
        if name in made:
            lines += ["", *table(made[name])]
    return "\n".join(lines) + "\n"


def _replayed(figures: Figures) -> Iterator[str]:
    (one,) = figures.values()
    yield "| eagerness | shown | of these right | wrong from the first word | saved a place | wrong a place |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for eagerness, row in one["eagerness"].items():
        shares = (row["shown"], row["fully right"], row["wrong from the first word"])
        characters = (row["characters saved a point"], row["wrong characters a point"])
        yield (
            f"| `{eagerness}` | "
            + " | ".join([*(f"{x:.1%}" for x in shares), *(f"{x:.2f}" for x in characters)])
            + " |"
        )
    yield ""
    yield "| stated probability at least | right | suggestions |"
    yield "| --- | --- | --- |"
    for row in one["calibration"]:
        yield f"| {row['from']:.1f} | {row['right']:.0%} | {row['suggestions']} |"


def _infilled(figures: Figures) -> Iterator[str]:
    (answers,) = figures.values()
    yield "| HumanEval-Infilling | holes | pass@1 | exact |"
    yield "| --- | --- | --- | --- |"
    for kind, what in (("single", "one line"), ("multi", "several lines")):
        own = [answer for answer in answers if answer["kind"] == kind]
        if own:
            passes, exact = (sum(map(bool, (one[name] for one in own))) / len(own) for name in ("passes", "exact"))
            yield f"| {what} | {len(own)} | {passes:.1%} | {exact:.1%} |"


def _typed(figures: Figures) -> Iterator[str]:
    (one,) = figures["figures"].values()
    names = (
        "keystrokes saved, %",
        "time to suggestion p50, ms",
        "time to suggestion p90, ms",
        "answered before the next key, %",
        "wrong from the first word, % of time on screen",
        "CPU seconds in 100 characters",
    )
    yield f"| typing, {len(next(iter(figures['functions'].values())))} functions | |"
    yield "| --- | --- |"
    yield from (f"| {name} | {one[name]:.1f} |" for name in names)


def _waited(figures: Figures) -> Iterator[str]:
    yield "| latency | |"
    yield "| --- | --- |"
    for name, value in figures.items():
        if " p99" not in name:
            yield f"| {name} | {value:.2f} |"


if __name__ == "__main__":
    main()
