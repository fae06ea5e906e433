"""Whether what was written this session is worth a source of its own: `python -m evaluation.written --sources FOLDER`.

Functions of a package are written in turn, each into its own file. At each the engine is asked four times: as it is
served, with the files near the document as n-grams; with what was written before, the newest first, as drafts, too; as
drafts and n-grams; and with the files near the document as drafts, which hold what was written as well. Prints tokens a
step, steps, characters saved, and what is wrong, each with its difference to the first side, place by place, and the
standard error of that.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine import CompletionRequest, Engine, Suggestion
from engine.decoding.draft import Speculation
from engine.decoding.passages import Lookup
from engine.fitting.answers import PROMPT_TOKENS
from engine.model_folders.locations import DEFAULT_MODEL, find_model
from lsp_server.configuration.settings import CONFIDENCES, Settings
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, Point, function_points
from training.data.sources import SourceFile, add_code, code_of

SIDES = ("as served", "drafts", "drafts and n-grams", "drafts of files near")
MOST = 16_000
"""Code points of what was written that are remembered."""
_FEWEST_FILES = 6  # of a package
_CONFIDENCE = CONFIDENCES[Settings().eagerness]


class Remembering(Lookup):
    """A look-up that copies drafts from what was written, too."""

    written: tuple[str, ...] = ()
    """The newest first."""
    is_near = False
    """Whether drafts are copied from files near the document."""

    def around(self, request: CompletionRequest) -> list[NDArray[np.int32]]:
        """See `Lookup`; the newest text stands nearest."""
        near = [self._neighbours(request.neighbours).tokens[:-1]] if self.is_near and request.neighbours else []
        return [*near, *(self._file(text) for text in self.written[::-1]), *super().around(request)]


def remembered(written: Sequence[str], text: str) -> tuple[str, ...]:
    """What is remembered once this text was written, too."""
    found, left = [text[-MOST:]], MOST - len(text)
    for older in written:
        if (left := left - len(older)) < 0:
            break
        found.append(older)
    return tuple(found)


def in_turn(
    engine: Engine,
    lookup: Remembering,
    speculations: Sequence[Speculation],
    points: Sequence[Point],
    near: Neighbourhoods,
    teacher: Teacher,
) -> Iterator[tuple[Point, list[Suggestion]]]:
    """Write the rest of each function, and say what the sides suggest before; nothing at the first one.

    Each side has a speculation of its own: it learns how long drafts should be from its own drafts alone.
    """
    written: tuple[str, ...] = ()
    for point in points:
        plain = CompletionRequest(
            point.path,
            point.language,
            point.text,
            point.offset,
            context=teacher.snippets(point, point.text, point.offset),
            neighbours=near.of(point),
            confidence=_CONFIDENCE,
        )
        if written:
            known = dataclasses.replace(plain, neighbours=(*written, *plain.neighbours))
            found = []
            asked = ((plain, (), False), (plain, written, False), (known, written, False), (plain, (), True))
            for how, engine._speculation in zip(asked, speculations, strict=True):
                request, lookup.written, lookup.is_near = how
                found.append(engine.complete(request))
            yield point, found
        written = remembered(written, point.truth)


def table(results: Sequence[tuple[Point, Sequence[Suggestion]]]) -> Iterator[str]:
    """A line for each side."""
    yield f"{f'{len(results)} places':22}{'tokens a step':>14}{'steps':>24}{'characters saved':>24}{'wrong':>24}"
    each = np.array([[_figures(point, one) for one in found] for point, found in results])
    for side, name in enumerate(SIDES):
        tokens, steps = each[:, side, 0].sum(), each[:, side, 1].sum()
        cells = "".join(f"{_beside(each[:, side, column], each[:, 0, column]):>24}" for column in (1, 2, 3))
        yield f"{name:22}{tokens / steps:>14.3f}{cells}"


def _figures(point: Point, suggestion: Suggestion) -> tuple[float, float, float, float]:
    text = suggestion.text.rstrip()
    is_right = point.truth.startswith(text)
    return len(suggestion.tokens), suggestion.steps, len(text) if is_right else 0, bool(text) and not is_right


def _beside(own: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    apart = own - other
    return f"{own.mean():.2f} ({apart.mean():+.3f} ± {apart.std() / len(apart) ** 0.5:.3f})"


def _packages(files: Sequence[SourceFile], count: int, seed: int) -> list[list[SourceFile]]:
    """The files of some packages, each in one language."""
    groups: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
    for file in files:
        groups[file.package, file.language].append(file)
    chosen = [groups[name] for name in sorted(groups) if len(groups[name]) >= _FEWEST_FILES]
    return random.Random(seed).sample(chosen, min(count, len(chosen)))


def main() -> None:
    """Write functions in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="a model folder or a model's name")
    parser.add_argument("--packages", type=int, default=24)
    parser.add_argument("--functions", type=int, default=8, help="of each package")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int)
    add_code(parser)
    arguments = parser.parse_args()
    files = code_of(arguments, held_out=False)
    engine = Engine.load(find_model(arguments.model), threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)
    engine._lookup = lookup = Remembering(engine.tokenizer)
    speculations = [Speculation(engine.rates.verify) for _ in SIDES]
    near, teacher = Neighbourhoods(files), Teacher(files, engine.tokenizer, engine.manifest.prompt)
    results: list[tuple[Point, list[Suggestion]]] = []
    for group in _packages(files, arguments.packages, arguments.seed):
        try:
            points = function_points(group, arguments.functions, arguments.seed)
        except ValueError:  # no functions of a usual length
            continue
        for result in in_turn(engine, lookup, speculations, points, near, teacher):
            results.append(result)
            print(f"{len(results)} places", end="\r", flush=True)
    print(*table(results), sep="\n")


if __name__ == "__main__":
    main()
