"""A filter as the paper's: the probability that the user takes a suggestion, by logistic regression.

Its features are what a server knows before it shows a suggestion: the stated probability and the length, of all of it
and of its first word, the place, the line before the cursor, the time since the last key, what was taken lately, and
the language.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.gates.replay import Shown, Situation

_PLACES = ("argument", "string", "comment")  # against a statement
_STRENGTH = 3.0  # of the pull to zero, as so many events
_STEPS = 50
_SURE = 0.999


def features(situation: Situation) -> list[float]:
    """What the filter knows of a suggestion; the first one is constant."""
    text, line = situation.text, situation.line
    return [
        1.0,
        _log_odds(situation.stated),
        _log_odds(situation.first_stated),
        math.log(len(text)),
        math.log(len(situation.first_word)),
        float("\n" in text),
        *(float(situation.place == place) for place in _PLACES),
        float(not line.strip()),
        float(line[-1:].isalnum() or line[-1:] == "_"),
        float(line[-1:] == " "),
        min(math.log(max(situation.since_key, 0.01)), 0.0),
        situation.taken_lately - 0.5,
        float(situation.language == "python"),
    ]


def _log_odds(chance: float) -> float:
    chance = min(max(chance, 1 - _SURE), _SURE)
    return math.log(chance / (1 - chance))


@dataclass(frozen=True, slots=True)
class Filter:
    """Weights of the features, after each was scaled to a spread of one."""

    weights: NDArray[np.float64]
    """[features]"""
    scale: NDArray[np.float64]
    """[features]"""

    def chance(self, situation: Situation) -> float:
        """The probability that the suggestion is taken."""
        return float(1 / (1 + np.exp(-(np.array(features(situation)) / self.scale) @ self.weights)))


def fitted(events: Sequence[Shown], *, whole: bool) -> Filter:
    """Fit the weights to what became of suggestions; `whole`: all of it has to be right, else its first word."""
    rows = np.array([features(event.situation) for event in events])
    right = np.array([event.is_right if whole else event.starts_right for event in events], float)
    scale = rows.std(axis=0)
    scale[scale < 1e-9] = 1.0  # a constant
    rows = rows / scale
    weights, pull = np.zeros(rows.shape[1]), np.full(rows.shape[1], _STRENGTH)
    pull[0] = 1e-6
    for _ in range(_STEPS):  # Newton's method
        chance = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (right - chance) - pull * weights
        curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(pull)
        step = np.linalg.solve(curvature, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return Filter(weights, scale)
