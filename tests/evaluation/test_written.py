"""What was written before is copied from, newest first, and no more of it than is remembered."""

from __future__ import annotations

from pathlib import Path

from engine import Engine
from engine.decoding.draft import Speculation
from engine.request import CompletionRequest
from evaluation.written import MOST, SIDES, Remembering, in_turn, remembered, table
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, function_points
from training.data.sources import SourceFile

HOUSE = Path(__file__).parents[2]


def test_the_newest_texts_are_remembered() -> None:
    assert remembered(("b", "a"), "c") == ("c", "b", "a")
    assert remembered(("b" * (MOST - 2), "a"), "cc") == ("cc", "b" * (MOST - 2))
    assert remembered(("b",), "c" * (MOST + 5)) == ("c" * MOST,)


def test_drafts_are_copied_from_what_was_written(engine: Engine) -> None:
    lookup, request = Remembering(engine.tokenizer), CompletionRequest("a.py", "python", "x = ", 4)
    before = len(lookup.around(request))
    lookup.written = ("newest", "oldest")
    found = lookup.around(request)
    assert len(found) == before + 2
    assert engine.tokenizer.decode(found[1].tolist()) == "newest"


def test_all_sides_are_asked_at_the_same_places(engine: Engine) -> None:
    files = [
        SourceFile("syntax", path.name, "python", path.read_text(encoding="utf-8"), held_out=False)
        for path in sorted((HOUSE / "syntax").glob("*.py"))
    ]
    points = function_points(files, 2, seed=2)
    kept = engine._lookup, engine._speculation
    engine._lookup = lookup = Remembering(engine.tokenizer)
    try:
        teacher = Teacher(files, engine.tokenizer, engine.manifest.prompt)
        speculations = [Speculation(engine.rates.verify) for _ in SIDES]
        results = list(in_turn(engine, lookup, speculations, points, Neighbourhoods(files), teacher))
    finally:
        engine._lookup, engine._speculation = kept
    assert [(point, len(found)) for point, found in results] == [(points[1], len(SIDES))]
    lines = list(table(results))
    assert [line.startswith(side) for line, side in zip(lines[1:], SIDES, strict=True)] == [True] * len(SIDES)
