"""Calibrates a model's probabilities: `python -m training.fitting.confidence MODEL --sources FOLDER [--out ADAPTER]`.

Text with a stated probability of 0.7 should be right seven times of ten, else the gate shows too little or too much. At
points in functions of packages that are not held out, MODEL writes its likeliest text, which is right up to some token.
The fit finds the one exponent of all tokens' probabilities under which these outcomes are likeliest (power calibration,
the one-parameter form of Platt scaling; Guo et al. 2017, arXiv 1706.04599, scale logits likewise). It is written to
MODEL's manifest, and to the adapter's folder as `calibration.json`, which the next export copies into its manifest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine import Engine
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import write_manifest
from export.sources.adapter import CALIBRATION_FILE
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, Point, function_points
from training.data.sources import add_code, code_of
from training.fitting.answers import PROMPT_TOKENS, Answer, answer_of

_EXPONENTS = np.exp(np.linspace(math.log(0.25), math.log(4), 401))
_RESAMPLES = 200
_TINY = 1e-6  # a token is never stated more surely than this leaves room for


@dataclass(frozen=True, slots=True)
class Outcome:
    """A token of an answer, all of whose earlier tokens were right."""

    log_probability: float
    is_right: bool


def outcomes(point: Point, answer: Answer) -> list[Outcome]:
    """The outcomes of an answer's tokens, up to the first wrong one."""
    told, before = [], 0.0
    for text, probability in answer.beginnings:
        joint = math.log(max(probability, 1e-300))
        told.append(Outcome(joint - before, point.truth.startswith(text.rstrip())))
        if not told[-1].is_right:
            break
        before = joint
    return told


def exponent_of(answers: Sequence[Sequence[Outcome]]) -> float:
    """The exponent under which the outcomes are likeliest."""
    return float(_EXPONENTS[np.argmax(_likelihoods(answers).sum(axis=0))])


def standard_error(answers: Sequence[Sequence[Outcome]], seed: int = 0) -> float:
    """The standard error of the exponent, by a bootstrap over answers."""
    each, chance = _likelihoods(answers), np.random.default_rng(seed)
    drawn = (each[chance.integers(len(each), size=len(each))].sum(axis=0) for _ in range(_RESAMPLES))
    return float(np.std([_EXPONENTS[np.argmax(sums)] for sums in drawn]))


def _likelihoods(answers: Sequence[Sequence[Outcome]]) -> np.ndarray:
    """The log likelihood of each answer's outcomes under each exponent: [answers, exponents]."""
    rows = []
    for answer in answers:
        logs = np.minimum([one.log_probability for one in answer], -_TINY)[:, None] * _EXPONENTS
        right = np.array([one.is_right for one in answer], bool)[:, None]
        rows.append(np.where(right, logs, np.log(-np.expm1(logs))).sum(axis=0))
    return np.array(rows)


def main() -> None:
    """Ask at many points, and write the exponent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--out", type=Path, help="the folder of the adapter that the model was made with")
    parser.add_argument("--points", type=int, default=600)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    files = code_of(arguments, held_out=False)
    folder = find_model(arguments.model)
    engine = Engine.load(folder, threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)
    before = engine.manifest.calibration
    near, answers = Neighbourhoods(code_of(arguments) if arguments.workspace else files), []
    teacher = Teacher(files, engine.tokenizer, engine.manifest.prompt)
    for index, point in enumerate(function_points(files, arguments.points, arguments.seed)):
        print(f"{index + 1} of {arguments.points}   ", end="\r", flush=True)
        snippets = teacher.snippets(point, point.text, point.offset)
        if told := outcomes(point, answer_of(engine, point, near.of(point), snippets)):
            # its probabilities were taken to the power of the calibration until now
            answers.append([dataclasses.replace(one, log_probability=one.log_probability / before) for one in told])
    exponent = round(exponent_of(answers), 3)
    found = {
        "calibration": exponent,
        "standard_error": round(standard_error(answers), 3),
        "points": arguments.points,
        "tokens": sum(map(len, answers)),
    }
    write_manifest(folder, dataclasses.replace(engine.manifest, calibration=exponent))
    if arguments.out:
        (arguments.out / CALIBRATION_FILE).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
