"""The model's answer at every key of functions that are typed, asked once and kept: any gate can then be replayed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cattrs

from engine import CompletionRequest, Engine
from engine.fitting.answers import Answer, spelled_out
from evaluation.harness.typist import Assistance, Page, press
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, function_points
from training.data.sources import SourceFile

ASSISTANCE: Assistance = "indent"
LOWEST_GATE = 0.4
"""Answers are known down to this probability."""
_LONGEST = 120  # code points of a function that are typed


@dataclass(frozen=True, slots=True)
class Asked:
    """What the model says at a cursor."""

    written: int
    """Code points of the target that stand before the cursor."""
    answer: Answer
    place: str
    """What the cursor stands in: see `engine.request.Place`."""


@dataclass(frozen=True, slots=True)
class TypedFunction:
    """A part of a function, with the answers at each of its keys."""

    package: str
    path: str
    language: str
    line: str
    """What stands before the cursor in its line."""
    target: str
    answers: tuple[Asked, ...]


def typed_functions(
    engine: Engine, files: Sequence[SourceFile], count: int, seed: int, *, skip: int = 0
) -> Iterator[TypedFunction]:
    """Type parts of functions in these files, and ask the engine after each key; without the first `skip` of them."""
    near, teacher = Neighbourhoods(files), Teacher(files, engine.tokenizer, engine.manifest.prompt)
    for point in function_points(files, count, seed)[skip:]:
        snippets = teacher.snippets(point, point.text, point.offset)
        before, target = point.text[: point.offset], point.truth[:_LONGEST]
        page, answers = Page(before, point.text[point.offset :], target), list[Asked]()
        expected = ""
        while page.rest:
            request = CompletionRequest(
                point.path,
                point.language,
                page.before + page.after,
                len(page.before),
                context=snippets,
                neighbours=near.of(point),
                confidence=LOWEST_GATE,
            )
            suggestion = engine.complete(request, expected=expected)
            answer = spelled_out(engine, request, suggestion)
            answers.append(Asked(page.written, answer, suggestion.place or ""))
            pressed, _ = press(page, ASSISTANCE)
            piece, whole = pressed.before[len(page.before) :], suggestion.text + suggestion.dropped
            expected = whole.removeprefix(piece) if whole.startswith(piece) else ""
            page = pressed
        yield TypedFunction(
            point.package,
            point.path,
            point.language,
            line=before[before.rfind("\n") + 1 :],
            target=target,
            answers=tuple(answers),
        )


def kept_functions(
    file: Path, engine: Callable[[], Engine], files: Callable[[], Sequence[SourceFile]], count: int, seed: int
) -> list[TypedFunction]:
    """The functions in a file that keeps them, a line each; what is missing is typed now, and added to it."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    found = [cattrs.structure(json.loads(line), TypedFunction) for line in lines[:count]]
    if len(found) < count:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as kept:
            for function in typed_functions(engine(), files(), count, seed, skip=len(found)):
                found.append(function)
                kept.write(json.dumps(cattrs.unstructure(function)) + "\n")
                kept.flush()
                print(f"{len(found)} of {count} functions in {file.name}   ", end="\r", flush=True)
    return found
