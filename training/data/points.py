"""Points in source files at which a suggestion is wanted, each with the text that really follows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.fitting import Point
from export.real_code import Neighbourhoods, draw_points, function_bodies, point_in_function
from training.data.example import LANGUAGES
from training.data.middles import choose_middle, outline_of
from training.data.sources import SourceFile

__all__ = ["Neighbourhoods", "Point", "function_bodies", "function_points", "middle_points"]


def function_points(files: Sequence[SourceFile], count: int, seed: int) -> list[Point]:
    """Places inside of functions whose rest is not written yet: what typing a new function is like."""
    return draw_points(_with_functions(files), count, random.Random(seed), point_in_function)


def middle_points(files: Sequence[SourceFile], count: int, seed: int) -> list[Point]:
    """Middles like those of the training, of other packages."""
    return draw_points(_with_functions(files), count, random.Random(seed), _point_at_middle)


def _with_functions(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Those in languages that have functions: markup and data have none."""
    return [file for file in files if file.language in LANGUAGES]


def _point_at_middle(file: SourceFile, chance: random.Random) -> Point | None:
    middle = choose_middle(file.text, outline_of(file.text, file.language), chance)
    if middle is None or middle.kind == "nothing":
        return None
    text = file.text[: middle.start] + file.text[middle.end :]
    truth = file.text[middle.start : middle.end]
    return Point(file.package, file.path, file.language, middle.kind, text, middle.start, truth)
