"""The gate learns: how far the model's stated probabilities are true for this user, by model and language.

A suggestion with a stated probability p was right for the user, or it was not: all of it was accepted or typed and
stayed, or something else was written. The fit finds the exponent a under which p^a, the probability with which such a
suggestion is right, makes these outcomes likeliest. That is power calibration, the monotone one-parameter family in
which the shipped calibration lies, too (see `training.fitting.confidence`): p^a is Platt's scaling (1999) of log p
without its constant, or temperature scaling (Guo et al. 2017, arXiv 1706.04599) of a token that stands for the text.

    L(a) = sum over events of      y log p^a + (1 - y) log(1 - p^a)
         + n/|Q| sum over q in Q of  q^b log q^a + (1 - q^b) log(1 - q^a)

The second line is the prior: n = 300 events that never happened, whose share of right ones is exactly what b states.
It is highest at a = b, as Gibbs' inequality says, so without events a = b; it is the beta prior of a binomial, spread
over the probabilities Q of shown text. For all languages of a model together b = 1, the shipped calibration; for a
single language b is what was found for all of them: a rare language learns from the others (partial pooling, Gelman
and Hill 2007, chapter 12).

A suggestion shall be right with the probability g that `eagerness` means: p^a >= g becomes p >= g^(1/a). Only events at
probabilities above the gate are seen; a family with one parameter does not need the others, isotonic regression would.

Rules that the mathematics does not have: under 100 events nothing changes; under 500 the gate is never lower than
the shipped one; the exponent counts as 0.7 to 1.6, so that a gate of 0.6 stays within 0.48 and 0.73. Who types much
that was suggested rightly would else be shown next to nothing, and nothing to learn from. At 120 functions of held-out
packages (`python -m evaluation.learned_gate --points 240 --sources FOLDER`):

    gate                             0.60   0.70   0.80   0.90   0.95
    characters saved a point         4.40   3.83   2.88   1.51   0.79
    wrong characters a point         0.76   0.33   0.18   0.01   0.00
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lsp_server.statistics.events import TAKEN, Outcome

PRIOR_EVENTS = 300
_PRIOR_AT = (0.625, 0.675, 0.725, 0.775, 0.825, 0.875, 0.925, 0.975)  # stated probabilities of shown text: Q
_UNKNOWN = 1000  # thousandths, as probabilities are written down
LEAST_EVENTS = 100
"""Below, the gate is the shipped one."""
ENOUGH_EVENTS = 500
"""Below, the gate is never lower than the shipped one."""
LEAST_EXPONENT, MOST_EXPONENT = 0.7, 1.6
_EXPONENTS = tuple(math.exp(math.log(4) * (step / 100 - 1)) for step in range(201))  # 0.25 to 4 in steps of 1.4%
_NEWEST = 20_000  # answers that are learned from
_KEPT = 500  # in thousandths: accepted text of which less stands after 30 s was wrong
_RIGHT_OR_WRONG = (*TAKEN, Outcome.TYPED, Outcome.REFUSED, Outcome.DISMISSED)
"""Of a user who moved away, it is not known what they thought."""

Gates = Mapping[tuple[str, str], "Calibration"]
"""By model and language."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far stated probabilities are true for the user."""

    exponent: float
    events: int
    right: int
    stated: float
    """The mean of the stated probabilities: that share should be right."""

    def gate(self, confidence: float) -> float:
        """The stated probability from which text is right with probability `confidence`, within the limits."""
        if not 0 < confidence < 1 or self.events < LEAST_EVENTS:
            return confidence
        found = self._exact(confidence)
        if self.events < ENOUGH_EVENTS:
            found = max(found, confidence)
        return round(found, 2)  # cached suggestions were made with a gate: it must not change with every event

    def reason(self, confidence: float) -> str:
        """Explain in a sentence how the gate was found."""
        if self.events < LEAST_EVENTS:
            return f"{self.events} suggestions are too few to learn from: the gate moves from {LEAST_EVENTS} on."
        gate = self.gate(confidence)
        share = self.right / self.events
        said = f"{self.right:,} of {self.events:,} were right, or {share:.0%}; the model had stated {self.stated:.0%}"
        if gate == confidence:
            held = self._exact(confidence) < confidence - 0.005
            why = f"it may become lower from {ENOUGH_EVENTS} on" if held else "that is as it should be"
            return f"{said}: {why}."
        if not LEAST_EXPONENT <= self.exponent <= MOST_EXPONENT:
            return f"{said}. The gate moves no further than to {gate:.0%}."
        return f"{said}. For a suggestion to be right with {confidence:.0%}, the model has to state {gate:.0%}."

    def _exact(self, confidence: float) -> float:
        exponent = min(max(self.exponent, LEAST_EXPONENT), MOST_EXPONENT)
        return math.exp(math.log(confidence) / exponent)


Outcomes = Mapping[float, tuple[int, int]]
"""How many suggestions were right and how many wrong, by their stated probability."""


def exponent_of(outcomes: Outcomes, prior: float = 1.0) -> float:
    """The exponent under which these outcomes and the prior's are likeliest; `prior` is its exponent."""
    weight = PRIOR_EVENTS / len(_PRIOR_AT)
    rows: list[tuple[float, float, float]] = []
    for at in _PRIOR_AT:
        right = math.exp(prior * math.log(at))
        rows.append((at, weight * right, weight * (1 - right)))
    rows += [(min(max(stated, 0.005), 0.995), right, wrong) for stated, (right, wrong) in outcomes.items()]
    logs: list[tuple[float, float, float]] = [(math.log(stated), right, wrong) for stated, right, wrong in rows]

    def likelihood(exponent: float) -> float:
        return sum(right * exponent * log + wrong * math.log(-math.expm1(exponent * log)) for log, right, wrong in logs)

    return max(_EXPONENTS, key=likelihood)


def calibrations_of(outcomes: Mapping[tuple[str, str], Outcomes]) -> Gates:
    """Fit each language of each model, with the model's languages together as the prior."""
    found: dict[tuple[str, str], Calibration] = {}
    for model in {model for model, _ in outcomes}:
        languages = {language: counts for (its, language), counts in outcomes.items() if its == model}
        prior = exponent_of(_together(languages.values()))
        for language, counts in languages.items():
            right, wrong = (sum(pair[side] for pair in counts.values()) for side in (0, 1))
            stated = sum(at * sum(pair) for at, pair in counts.items()) / max(right + wrong, 1)
            found[model, language] = Calibration(exponent_of(counts, prior), right + wrong, right, stated)
    return found


def gates_of(database: sqlite3.Connection) -> Gates:
    """What the events of a file teach. Raises sqlite3.Error."""
    return calibrations_of(outcomes_in(database))


def outcomes_in(database: sqlite3.Connection) -> dict[tuple[str, str], dict[float, tuple[int, int]]]:
    """The newest outcomes of suggestions that came while typing, by model and language. Raises sqlite3.Error.

    What is as sure as can be teaches nothing: a remote model that states no probabilities seems so.
    """
    marks = ", ".join("?" * len(_RIGHT_OR_WRONG))
    rows = database.execute(
        f"""
        SELECT models.name, languages.name, (probability + 5) / 10, sum(is_right), count(*) FROM (
            SELECT language, model, probability,
                finished AND (accepted = 0 OR coalesce(kept_soon, 1000) >= {_KEPT}) AS is_right
            FROM answers WHERE NOT explicit AND probability < {_UNKNOWN}
                AND outcome IN (SELECT id FROM names WHERE name IN ({marks}))
            ORDER BY id DESC LIMIT {_NEWEST}) AS newest
        JOIN names AS models ON models.id = newest.model JOIN names AS languages ON languages.id = newest.language
        GROUP BY 1, 2, 3""",
        _RIGHT_OR_WRONG,
    )
    found: dict[tuple[str, str], dict[float, tuple[int, int]]] = {}
    for model, language, percent, right, count in rows:
        found.setdefault((model, language), {})[percent / 100] = right, count - right
    return found


def _together(parts: Iterable[Outcomes]) -> Outcomes:
    total: dict[float, tuple[int, int]] = {}
    for part in parts:
        for stated, (right, wrong) in part.items():
            before = total.get(stated, (0, 0))
            total[stated] = before[0] + right, before[1] + wrong
    return total
