"""Suggestions of the engine at points in held-out packages: `python -m evaluation.replay MODEL [MODEL ...]`.

A MODEL is a model folder, or a model's name. Packages are downloaded to `--sources` once. Prints, for each model side
by side: at points of functions that are being written, how often a suggestion is shown, fully right, and how many
characters it saves, by the gate; how often text is right by the probability that the model states; and at middles, with
and without what stands below, exact match and edit similarity. `--json FILE` and `--plot FILE` keep it.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from engine import Engine
from engine.fitting.answers import PROMPT_TOKENS, Answer, answer_of, common_length
from engine.model_folders.locations import find_model
from lsp_server.configuration.settings import CONFIDENCES
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, Point, function_points, middle_points
from training.data.sources import add_code, code_of
from training.fitting.eagerness import outcomes_at

_BINS = 10
Figures = dict[str, Any]


def at_confidence(pairs: Sequence[tuple[Point, Answer]], confidence: float) -> Figures:
    """What a user sees at functions that are being written; any beginning of the rest of the body is right."""
    shown, right, misleads, saved = outcomes_at(pairs, confidence).sum(axis=0)
    texts = [(point.truth, answer.shown_at(confidence)) for point, answer in pairs]
    wrong = sum(len(text) - common_length(text, truth) for truth, text in texts)
    return {
        "shown": shown / len(pairs),
        "fully right": right / max(shown, 1),
        "wrong from the first word": misleads / max(shown, 1),
        "characters saved a point": saved / len(pairs),
        "wrong characters a point": wrong / len(pairs),
    }


def calibration(pairs: Sequence[tuple[Point, Answer]]) -> list[Figures]:
    """By the stated probability of whole suggestions: how many there are, and how many are right."""
    bins: dict[int, list[bool]] = defaultdict(list)
    for point, answer in pairs:
        if answer.text.strip():
            is_right = point.truth.startswith(answer.text.rstrip())
            bins[min(int(answer.probability * _BINS), _BINS - 1)].append(is_right)
    return [
        {"from": index / _BINS, "suggestions": len(bins[index]), "right": sum(bins[index]) / len(bins[index])}
        for index in sorted(bins)
    ]


def at_middles(pairs: Sequence[tuple[Point, Answer]]) -> dict[str, Figures]:
    """Exact match and edit similarity over all, by kind and by language; of a rest of line, the first line counts."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for point, answer in pairs:
        text = answer.text.partition("\n")[0] if point.kind == "line" else answer.text
        for group in ("all", point.kind, point.language):
            groups[group].append((text.strip(), point.truth.strip()))
    return {
        group: {
            "points": len(both),
            "exact": sum(text == truth for text, truth in both) / len(both),
            "similarity": sum(difflib.SequenceMatcher(None, *one, autojunk=False).ratio() for one in both) / len(both),
        }
        for group, both in sorted(groups.items())
    }


def evaluate(
    engine: Engine,
    functions: Sequence[Point],
    middles: Sequence[Point],
    near: Neighbourhoods,
    teacher: Teacher,
    say: Callable[[str], None],
) -> Figures:
    """All figures of one model."""

    def answers(points: Sequence[Point], what: str, *, suffix: bool = True) -> list[tuple[Point, Answer]]:
        asked = [point if suffix else point.without_suffix() for point in points]
        return [
            (point, answer_of(engine, point, near.of(point), teacher.snippets(point, point.text, point.offset)))
            for point in _counted(asked, what, say)
        ]

    at_functions = answers(functions, "functions")
    with_suffix = answers(middles, "middles")
    without = answers(middles, "no suffix", suffix=False)
    return {
        "eagerness": {name: at_confidence(at_functions, confidence) for name, confidence in CONFIDENCES.items()},
        "calibration": calibration(at_functions),
        "with suffix": at_middles(with_suffix),
        "without suffix": at_middles(without),
        "answers": [
            {"path": point.path, "kind": point.kind, "offset": point.offset, "truth": point.truth, "text": answer.text}
            for point, answer in (*at_functions, *with_suffix)
        ],
    }


def tables(results: dict[str, Figures]) -> str:
    """The figures of all models, side by side."""
    names = list(results)
    lines = ["eagerness " + "".join(f"{name[:48]:>50}" for name in names), " " * 10 + _HEAD * len(names)]
    for eagerness in CONFIDENCES:
        cells = (results[name]["eagerness"][eagerness] for name in names)
        lines.append(f"{eagerness:10}" + "".join(_row(cell) for cell in cells))
    for name in names:
        stated = "  ".join(
            f"{row['from']:.1f}: {row['right']:.0%} of {row['suggestions']}" for row in results[name]["calibration"]
        )
        lines.append(f"{name}: right by stated probability  {stated}")
    for name in names:
        for side in ("with suffix", "without suffix"):
            told = "  ".join(
                f"{group} {row['exact']:.0%}/{row['similarity']:.2f} of {row['points']}"
                for group, row in results[name][side].items()
            )
            lines.append(f"{name}, {side}: exact/similarity  {told}")
    return "\n".join(lines)


_HEAD = f"{'shown':>10}{'right':>10}{'misleads':>10}{'saved':>10}{'wrong':>10}"


def _row(cell: Figures) -> str:
    return (
        f"{cell['shown']:>10.1%}{cell['fully right']:>10.1%}{cell['wrong from the first word']:>10.1%}"
        f"{cell['characters saved a point']:>10.2f}{cell['wrong characters a point']:>10.2f}"
    )


def plot(results: dict[str, Figures], file: Path) -> None:
    """Draw shown against right, one line a model, and characters saved by eagerness."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    for name, figures in results.items():
        cells = list(figures["eagerness"].values())
        left.plot([cell["shown"] for cell in cells], [cell["fully right"] for cell in cells], marker="o", label=name)
        right.plot(list(CONFIDENCES), [cell["characters saved a point"] for cell in cells], marker="o", label=name)
    left.set(xlabel="shown", ylabel="fully right of shown", title="quiet, balanced, eager, always from left to right")
    right.set(xlabel="eagerness", ylabel="characters saved a point")
    left.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def main() -> None:
    """Evaluate each model at the same points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--points", type=int, default=200, help="how many functions, and how many middles")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="for each model")
    parser.add_argument("--json", type=Path, help="also write figures and answers to this file")
    parser.add_argument("--plot", type=Path, help="also draw the figures (needs matplotlib, extra `train`)")
    arguments = parser.parse_args()
    files = code_of(arguments, held_out=True)
    functions = function_points(files, arguments.points, arguments.seed)
    middles = middle_points(files, arguments.points, arguments.seed)
    near = Neighbourhoods(code_of(arguments) if arguments.workspace else files)  # packages are held out as a whole
    results: dict[str, Figures] = {}
    for model in arguments.models:
        folder = find_model(model)
        engine = Engine.load(folder, threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)
        teacher = Teacher(files, engine.tokenizer, engine.manifest.prompt)
        show = functools.partial(print, end="\r", flush=True)
        results[model] = evaluate(engine, functions, middles, near, teacher, show)
    print(f"{len(functions)} functions and {len(middles)} middles of {len({file.package for file in files})} packages")
    print(tables(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)


def _counted(points: Sequence[Point], what: str, say: Callable[[str], None]) -> Iterable[Point]:
    for index, point in enumerate(points):
        say(f"{what} {index + 1} of {len(points)}   ")
        yield point


if __name__ == "__main__":
    main()
