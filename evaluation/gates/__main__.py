"""The gate, the gate that has learned, and a filter, in one table: `python -m evaluation.gates --sources FOLDER`.

A typist types parts of functions on a simulated clock (see `replay`), and takes what is right. The model's answer at
each key is asked once, and kept in the folder that `--answers` names: that takes minutes for ten functions. The gate
learns from suggestions at functions of the training's packages, and the filter is fitted to them; all are judged at
functions of held-out packages. Prints keys saved, and the time and number of suggestions on the screen that are wrong
from their first word, each with its difference to the shipped gate, function by function, and the standard error of
that; the time includes what is left of a suggestion once its right beginning was typed.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import Engine
from engine.fitting.answers import PROMPT_TOKENS
from engine.model_folders.locations import DEFAULT_MODEL, find_model
from evaluation.gates.answers import TypedFunction, kept_functions
from evaluation.gates.filter import Filter, fitted
from evaluation.gates.replay import Policy, Shown, typed
from evaluation.statistics import fit
from lsp_server.configuration.settings import CONFIDENCES, Settings
from training.data.sources import add_code, code_of

_SHIPPED = CONFIDENCES[Settings().eagerness]
_FIXED = (0.5, 0.55, 0.65, 0.7)
_EVENTS = (500, 5_000)
_TAKEN = (1.0, 0.8)
"""Shares of what is right that users take."""
_CUTS = (0.45, 0.5, 0.55, 0.6)
"""Gates that cut what a filter, or a rule for the first word, is asked about."""

Figures = NDArray[np.float64]
"""[functions, 6]: keys saved, seconds of wrong suggestions on the screen, and of all; how many suggestions were shown,
were wrong, and were right to their end. Wrong is what is wrong from its first word."""


def figures(functions: Sequence[TypedFunction], gate: float, policy: Policy = lambda situation: True) -> Figures:
    """What typing the functions brings."""
    rows = []
    for function in functions:
        record, shown = typed(function, gate, policy)
        wrong, right = sum(not one.starts_right for one in shown), sum(one.is_right for one in shown)
        rows.append((record.keys_alone - record.keys, record.wrong, record.on_screen, len(shown), wrong, right))
    return np.array(rows, float)


def events_of(functions: Sequence[TypedFunction], gate: float) -> list[Shown]:
    """All that is shown by a gate while the functions are typed."""
    return [event for function in functions for event in typed(function, gate)[1]]


def learned_gate(events: Sequence[Shown], count: int, taken: float, seed: int = 1) -> float:
    """The gate after so many of the events, for a user who takes this share of what is right."""
    chance, counts = random.Random(seed), Counter[tuple[float, bool]]()
    for event in chance.choices(events, k=count):
        counts[round(event.situation.stated, 2), event.is_right and chance.random() < taken] += 1
    return fit(counts).gate(_SHIPPED)


def passing(filter: Filter, least: float) -> Policy:
    """Show what is taken with at least this probability."""
    return lambda situation: filter.chance(situation) >= least


def sure_first_word(least: float) -> Policy:
    """Show what begins with a word of at least this probability."""
    return lambda situation: situation.first_stated >= least


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to choose what is shown."""

    name: str
    gate: float
    """Where texts are cut."""
    policy: Policy = lambda situation: True


def filters(functions: Sequence[TypedFunction]) -> Iterator[list[Choice]]:
    """Filters that were fitted to these functions, each with all of its thresholds, the highest first."""
    for cut in _CUTS:
        events = events_of(functions, cut)
        for whole in (True, False):
            filter, what = fitted(events, whole=whole), "whole texts" if whole else "first words"
            leasts = sorted({round(filter.chance(event.situation), 2) for event in events}, reverse=True)
            yield [Choice(f"filter of {what} from {least:.2f} on", cut, passing(filter, least)) for least in leasts]


def rules() -> Iterator[list[Choice]]:
    """A gate of its own for the first word, the highest first, for each gate of the rest."""
    for cut in _CUTS:
        firsts = (step / 100 for step in range(95, round(100 * cut), -1))
        yield [Choice(f"first word from {first:.2f} on", cut, sure_first_word(first)) for first in firsts]


def chosen(functions: Sequence[TypedFunction], choices: Iterable[Sequence[Choice]]) -> Choice:
    """Of those that save as many keys at these functions as the shipped gate, the one with the least time wrong."""
    wanted, found = figures(functions, _SHIPPED)[:, 0].sum(), list[tuple[float, Choice]]()
    for thresholds in choices:
        for choice in thresholds:
            got = figures(functions, choice.gate, choice.policy)
            if got[:, 0].sum() >= wanted:
                found.append((got[:, 1].sum(), choice))
                break
    return min(found, key=lambda one: one[0])[1]


def table(learning: Sequence[TypedFunction], judging: Sequence[TypedFunction]) -> Iterator[str]:
    """A line for each way to choose what is shown."""
    events = events_of(learning, _SHIPPED)
    rows = [Choice("shipped gate", _SHIPPED), *(Choice(f"gate fixed at {gate}", gate) for gate in _FIXED)]
    for taken in _TAKEN:
        for count in _EVENTS:
            name = f"after {count:,}, {taken:.0%} of right ones taken"
            rows.append(Choice(name, learned_gate(events, count, taken)))
    rows += [chosen(learning, rules()), chosen(learning, filters(learning))]
    yield f"{len(learning)} functions to learn from, with {len(events):,} suggestions; {len(judging)} to judge at"
    names = f"{'keys saved':>22}{'seconds wrong':>22}{'of the time':>13}{'wrong':>22}{'shown':>8}{'all right':>11}"
    yield f"{'':44}{'gate':>6}{names}"
    shipped = figures(judging, _SHIPPED)
    for row in rows:
        got = figures(judging, row.gate, row.policy)
        yield (
            f"{row.name:44}{row.gate:>6.2f}{_beside(got, shipped, 0):>22}{_beside(got, shipped, 1):>22}"
            f"{got[:, 1].sum() / max(got[:, 2].sum(), 1e-9):>13.1%}"
            f"{_beside(got, shipped, 4):>22}{got[:, 3].mean():>8.2f}{got[:, 5].sum() / max(got[:, 3].sum(), 1):>11.1%}"
        )


def _beside(got: Figures, shipped: Figures, column: int) -> str:
    """A mean, its difference to the shipped gate, and the standard error of that."""
    apart = got[:, column] - shipped[:, column]
    return f"{got[:, column].mean():.2f} ({apart.mean():+.2f} ± {apart.std() / len(apart) ** 0.5:.2f})"


def main() -> None:
    """Ask the model where answers are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="a model folder or a model's name")
    parser.add_argument("--functions", type=int, default=60, help="to learn from, and as many to judge at")
    parser.add_argument("--answers", type=Path, required=True, help="the folder in which the model's answers are kept")
    parser.add_argument("--threads", type=int)
    add_code(parser)
    arguments = parser.parse_args()

    @functools.cache
    def engine() -> Engine:
        return Engine.load(find_model(arguments.model), threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)

    def functions(name: str, seed: int, *, held_out: bool) -> list[TypedFunction]:
        files = functools.partial(code_of, arguments, held_out=held_out)
        return kept_functions(arguments.answers / f"{name}.jsonl", engine, files, arguments.functions, seed)

    learning = functions("learned", 11, held_out=False)
    print(*table(learning, functions("held_out", 12, held_out=True)), sep="\n")


if __name__ == "__main__":
    main()
