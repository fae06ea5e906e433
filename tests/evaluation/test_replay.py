"""The replay's figures: what a gate lets through, what counts as right, and that it works on the real model."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Engine
from engine.fitting.answers import Answer
from evaluation.replay import at_gate, at_middles, calibration, evaluate, tables
from training.data.points import Neighbourhoods, Point, function_bodies, function_points, middle_points
from training.data.sources import SourceFile

HOUSE = Path(__file__).parents[2]


def point(truth: str, kind: str = "function") -> Point:
    return Point("package", "file.py", "python", kind, "", 0, truth)


def answer(*tokens: tuple[str, float]) -> Answer:
    text, probability = "", 1.0
    beginnings = []
    for token, own in tokens:
        text, probability = text + token, probability * own
        beginnings.append((text, probability))
    return Answer(text, tuple(beginnings))


@pytest.fixture(scope="module")
def files() -> list[SourceFile]:
    return [
        SourceFile("engine", path.relative_to(HOUSE).as_posix(), "python", path.read_text("utf-8"), held_out=True)
        for path in sorted((HOUSE / "engine").rglob("*.py"))
    ]


def test_a_gate_cuts_at_the_first_token_that_breaks_it() -> None:
    given = answer(("return", 0.9), (" self", 0.9), (".size", 0.5), ("()", 1.0))
    assert [given.shown_at(gate) for gate in (0.0, 0.4, 0.7, 0.85, 0.95)] == [
        "return self.size()",
        "return self.size()",
        "return self",
        "return",
        "",
    ]
    assert given.probability == pytest.approx(0.405)


def test_right_is_any_beginning_of_what_really_stands_there() -> None:
    pairs = [
        (point("return self.size\n"), answer(("return self", 0.9), (".size", 0.6))),
        (point("return self.area\n"), answer(("return self", 0.9), (".size", 0.6))),
        (point("pass"), answer()),
        (point("x = 1"), answer(("y", 0.3))),
    ]
    open_gate, gate = at_gate(pairs, 0.0), at_gate(pairs, 0.7)
    assert open_gate["shown"] == 3 / 4
    assert open_gate["fully right"] == 1 / 3
    assert open_gate["characters saved a point"] == len("return self.size") / 4
    assert open_gate["wrong characters a point"] == len("sizey") / 4
    assert gate["shown"] == 2 / 4
    assert gate["fully right"] == 1
    assert gate["wrong characters a point"] == 0
    stated = {row["from"]: (row["suggestions"], row["right"]) for row in calibration(pairs)}
    assert stated == {0.3: (1, 0.0), 0.5: (2, 0.5)}


def test_middles_count_by_kind_and_a_rest_of_line_by_its_line() -> None:
    pairs = [
        (point("a + b", "line"), answer(("a + b\nreturn", 0.5))),
        (point("a + b", "statement"), answer(("a + b\nreturn", 0.5))),
    ]
    rows = at_middles(pairs)
    assert rows["line"]["exact"] == 1
    assert rows["statement"]["exact"] == 0
    assert 0 < rows["statement"]["similarity"] < 1
    assert rows["all"] == rows["python"]
    assert rows["all"]["points"] == 2


def test_points_lie_in_real_functions_and_hold_their_rest(files: list[SourceFile]) -> None:
    text = {file.path: file.text for file in files}
    points = function_points(files, 30, seed=3)
    assert points == function_points(files, 30, seed=3)
    for one in points:
        whole = one.text[: one.offset] + one.truth + one.text[one.offset :]
        assert whole == text[one.path]
        ends = {end for _, end in function_bodies(whole, "python")}
        assert one.offset + len(one.truth) in ends
    for one in middle_points(files, 10, seed=3):
        assert one.text[: one.offset] + one.truth + one.text[one.offset :] == text[one.path]
        assert one.without_suffix().text == one.text[: one.offset]


def test_braces_are_not_part_of_what_a_function_holds() -> None:
    code = "class A {\n  int size() {\n" + "    int total = 0;\n" * 8 + "    return total;\n  }\n}\n"
    assert [code[start:end].splitlines()[-1] for start, end in function_bodies(code, "java")] == ["    return total;"]


def test_the_default_model_is_evaluated(engine: Engine, files: list[SourceFile]) -> None:
    said: list[str] = []
    points = function_points(files, 2, seed=4), middle_points(files, 2, seed=4)
    figures = evaluate(engine, *points, Neighbourhoods(files), said.append)
    assert set(figures["gates"]) == {"0.0", "0.5", "0.7", "0.9"}
    assert len(figures["answers"]) == 4
    assert len(said) == 6
    assert "right by stated probability" in tables({"model": figures})
