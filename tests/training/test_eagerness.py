"""How often text of some confidence is right, and how many keys it saves."""

from __future__ import annotations

import pytest

from engine.fitting.answers import Answer
from training.data.points import Point
from training.fitting.eagerness import first_word, outcomes_at, saved, table


def point(truth: str) -> Point:
    return Point("package", "file.py", "python", "function", "", 0, truth)


SURE = Answer("return self.size", (("return self", 0.9), ("return self.size", 0.5)))
PAIRS = [
    (point("return self.size\n"), SURE),
    (point("return self.area\n"), SURE),
    (point("raise"), SURE),
    (point("x"), Answer("", ())),
]


@pytest.mark.parametrize(
    ("confidence", "seen"),
    [
        (0.4, [(1, 1, 0, 16), (1, 0, 0, 0), (1, 0, 1, 0), (0, 0, 0, 0)]),
        (0.6, [(1, 1, 0, 11), (1, 1, 0, 11), (1, 0, 1, 0), (0, 0, 0, 0)]),
        (0.95, [(0, 0, 0, 0)] * 4),
    ],
)
def test_what_is_seen_at_a_confidence(confidence: float, seen: list[tuple[int, ...]]) -> None:
    assert [tuple(row) for row in outcomes_at(PAIRS, confidence)] == seen


def test_no_word_is_shown_in_part() -> None:
    answer = Answer("self.widget", (("self.", 0.9), ("self.wid", 0.8), ("self.widget", 0.3)))
    assert [answer.shown_at(confidence) for confidence in (0.2, 0.5, 0.85)] == ["self.widget", "self.", "self."]


def test_the_editor_writes_indentation() -> None:
    assert saved("if a:\n        b\n    ") == len("if a:\nb")
    assert (first_word(" in range"), first_word("(a"), first_word("")) == (" in", "(", "")


def test_the_table_weighs_right_ones_against_wrong_ones() -> None:
    lines = list(table(PAIRS))
    at = {float(line.split()[0]): line.split() for line in lines[1:]}
    assert len(at) == 13
    assert at[0.6][1:4] == ["75.0%", "66.7%", "33.3%"]
    assert [float(cell) for cell in at[0.6][6:]] == [22 / 4 - price / 4 for price in (5, 10, 15, 20, 30)]
