"""Typing on a simulated clock, in front of answers that are known; what a filter learns; answers that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import Engine
from engine.fitting.answers import Answer
from evaluation.gates.__main__ import chosen, events_of, figures, filters, learned_gate, passing, table
from evaluation.gates.answers import Asked, TypedFunction, kept_functions
from evaluation.gates.filter import fitted
from evaluation.gates.replay import typed
from training.data.sources import SourceFile

TARGET = "total = first + second\n    return total / count"
HOUSE = Path(__file__).parents[2]


def function(says: str, stated: float, target: str = TARGET, place: str = "statement") -> TypedFunction:
    """A function at whose keys the model says `says`, or, where it is empty, what really follows."""
    answers = []
    for written in range(len(target)):
        text = says or target[written:]
        answers.append(Asked(written, Answer(text, ((text, stated),)), place))
    return TypedFunction("package", "a.py", "python", "    ", target, tuple(answers))


def test_what_is_right_is_taken_by_one_key() -> None:
    record, shown = typed(function("", 0.9), 0.6)
    assert record.keys < record.keys_alone / 2
    assert record.wrong == 0
    assert record.on_screen > 0.2
    assert [(one.is_right, one.situation.stated) for one in shown] == [(True, 0.9)]


def test_what_is_wrong_costs_no_key_and_stands_on_the_screen() -> None:
    record, shown = typed(function("nothing_of_this()", 0.9), 0.6)
    assert record.keys == record.keys_alone
    assert record.wrong == pytest.approx(record.on_screen)
    assert record.wrong > 0
    assert not any(one.starts_right for one in shown)
    assert shown[-1].situation.taken_lately < 0.1


@pytest.mark.parametrize(("gate", "is_shown"), [(0.6, True), (0.95, False)])
def test_a_gate_and_a_policy_hide(gate: float, is_shown: bool) -> None:
    assert bool(typed(function("", 0.9), gate)[1]) == is_shown
    assert typed(function("", 0.9), gate, lambda situation: False)[1] == []


def test_a_filter_learns_what_the_stated_probability_does_not_say() -> None:
    functions = [function("", 0.7), function("wrong()", 0.7, place="string")] * 6
    events = events_of(functions, 0.6)
    filter = fitted(events, whole=True)
    right, wrong = ([one.situation for one in events if one.is_right is is_right] for is_right in (True, False))
    assert min(map(filter.chance, right)) > 0.6 > max(map(filter.chance, wrong))
    got = figures(functions, 0.6, passing(filter, 0.5))
    assert got[:, 1].sum() < figures(functions, 0.6)[:, 1].sum() / 2
    assert got[:, 0].sum() == figures(functions, 0.6)[:, 0].sum()
    choice = chosen(functions, filters(functions))
    assert figures(functions, choice.gate, choice.policy)[:, 1].sum() <= got[:, 1].sum()


def test_the_gate_learns_from_events() -> None:
    right, wrong = (events_of([function(says, 0.7)] * 3, 0.6) for says in ("", "wrong()"))
    assert learned_gate(right, 500, 1.0) <= 0.6 < learned_gate(wrong, 500, 1.0)
    lines = list(table([function("", 0.7), function("wrong()", 0.7)], [function("", 0.8)]))
    assert lines[2].startswith("shipped gate")
    assert lines[-2].startswith("first word from")
    assert lines[-1].startswith("filter of")


def test_answers_are_asked_once(engine: Engine, tmp_path: Path) -> None:
    text = (HOUSE / "syntax" / "common_start.py").read_text(encoding="utf-8")
    files = [SourceFile("syntax", "common_start.py", "python", text, held_out=True)]
    kept = tmp_path / "answers" / "some.jsonl"
    [first] = kept_functions(kept, lambda: engine, lambda: files, 1, seed=4)
    assert first.target.startswith(first.target[: first.answers[1].written])
    assert first.answers[0].written == 0
    assert {one.place for one in first.answers} <= {"", "statement", "argument", "string", "comment"}
    assert json.loads(kept.read_text(encoding="utf-8"))["package"] == "syntax"

    def not_again() -> Engine:
        raise AssertionError("the model is asked again")

    assert kept_functions(kept, not_again, list, 1, seed=4) == [first]
