"""The one exponent of all tokens' probabilities under which it is likeliest that answers are right where they are.

Power calibration, the one-parameter form of Platt scaling; Guo et al. 2017, arXiv 1706.04599, scale logits likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.fitting.answers import Answer
from engine.fitting.place import Point

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
