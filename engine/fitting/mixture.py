"""The numbers of the mixture under which the truth is likeliest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.decoding.ngrams import SMALLEST_DOUBT
from engine.fitting.moments import LEVEL_COUNT, START, Moment
from engine.model_folders.manifest import NgramWeights

Numbers = NDArray[np.float64]
"""Those of NgramWeights, in the order of its fields: [8]."""

_LEAST = 1e-12  # a probability, and the weight of places
_STRENGTH = 3.0  # of what is known before, as if so many tokens of the truth had told it
_STEPS, _SMALLEST_STEP = 200, 1e-10
_LEVELS = np.arange(LEVEL_COUNT)


class Moments:
    """Moments as arrays."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        stacked = (
            np.array([getattr(one, field.name) for one in moments], float) for field in dataclasses.fields(Moment)
        )
        self.truth, self.likeliest, self.all, self.right, self.candidates = stacked

    def __len__(self) -> int:
        return len(self.truth)

    def gained(self, numbers: Numbers) -> NDArray[np.float64]:
        """By how much likelier the mixture holds each token of the truth, in nats: [moments]."""
        return self._gained(numbers)[0]

    def gradient(self, numbers: Numbers) -> tuple[float, Numbers]:
        """The mean of what is gained, and how it grows with each of the numbers."""
        gained, slopes = self._gained(numbers)
        return float(gained.mean()), slopes.mean(axis=1)

    def mean_gain(self, weights: NgramWeights) -> float:
        """By how much likelier the mixture holds the truth: nats a token."""
        return float(self.gained(np.array(dataclasses.astuple(weights))).mean())

    def _gained(self, numbers: Numbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each token gains [moments], and its derivatives by the numbers [8, moments]."""
        weights = np.exp(numbers[:3, None] + numbers[3] * _LEVELS)
        by_source = [(counts * weights).sum(axis=-1) for counts in (self.all, self.right, self.candidates)]
        by_growth = [
            (counts * weights * _LEVELS).sum(axis=(-2, -1)) for counts in (self.all, self.right, self.candidates)
        ]
        evidence = by_source[0].sum(axis=-1)
        safe = np.maximum(evidence, 1e-9)
        right, shares = by_source[1].sum(axis=-1) / safe, by_source[2].sum(axis=-1) / safe[:, None]
        best = shares.argmax(axis=1)
        rows = np.arange(len(best))
        highest = shares[rows, best]
        doubt = np.log(np.maximum(-np.expm1(self.likeliest), SMALLEST_DOUBT))
        terms = np.stack([np.ones_like(doubt), doubt, highest, np.log(safe)])
        share = (evidence > 0) / (1 + np.exp(-(numbers[4:] @ terms)))
        by_model = np.exp(self.truth)
        mixed = np.maximum((1 - share) * by_model + share * right, _LEAST)
        # of what places weigh, by the three sources and by growth: [4, moments]
        of_all, of_right, of_best = (
            np.vstack([part.T, growth])
            for part, growth in (
                (by_source[0], by_growth[0]),
                (by_source[1], by_growth[1]),
                (by_source[2][rows, best], by_growth[2][rows, best]),
            )
        )
        of_evidence = of_all / safe
        of_look_up = of_right / safe - right * of_evidence
        of_highest = of_best / safe - highest * of_evidence
        of_terms = np.vstack([numbers[6] * of_highest + numbers[7] * of_evidence, terms])
        slopes = share * (1 - share) * (right - by_model) * of_terms
        slopes[:4] += share * of_look_up
        return np.log(mixed) - self.truth, slopes / mixed


def fitted(moments: Moments, known: NgramWeights = START) -> NgramWeights:
    """The numbers under which the truth is likeliest; few moments move them little from what was `known` before."""
    start = np.array(dataclasses.astuple(known))

    def lost(numbers: Numbers) -> tuple[float, Numbers]:
        gained, slopes = moments.gradient(numbers)
        away = (numbers - start) * _STRENGTH / len(moments)
        return float(away @ (numbers - start)) / 2 - gained, away - slopes

    return NgramWeights(*(round(number, 3) for number in _least(lost, start).tolist()))


def _least(function: Callable[[Numbers], tuple[float, Numbers]], start: Numbers) -> Numbers:
    """Where a function that comes with its gradient is least, near `start`: the method of Broyden, Fletcher, Goldfarb
    and Shanno, with halved steps.
    """
    numbers, (value, slopes) = start, function(start)
    inverse = np.eye(len(start))
    for _ in range(_STEPS):
        direction = -inverse @ slopes
        if direction @ slopes >= 0:  # rounding has spoilt the estimate of the curvature
            inverse, direction = np.eye(len(start)), -slopes
        size = min(1.0, 2.0 / max(float(np.abs(direction).max()), 1e-300))
        while size > _SMALLEST_STEP:
            reached, (new_value, new_slopes) = numbers + size * direction, function(numbers + size * direction)
            if new_value <= value + 1e-4 * size * (direction @ slopes):
                break
            size /= 2
        else:
            break
        step, change = reached - numbers, new_slopes - slopes
        numbers, improved, value, slopes = reached, value - new_value, new_value, new_slopes
        if improved < _SMALLEST_STEP:
            break
        if (product := float(step @ change)) > 0:
            turn = np.eye(len(start)) - np.outer(step, change) / product
            inverse = turn @ inverse @ turn.T + np.outer(step, step) / product
    return numbers
