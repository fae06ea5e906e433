"""Points in source files at which a suggestion is wanted, each with the text that really follows."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import tree_sitter

from indexer.retrieval.nearby_files import LONGEST, MOST_CHARACTERS, MOST_NEIGHBOURS
from syntax.parsing.grammars import parser_for
from training.data.example import LANGUAGES
from training.data.middles import choose_middle, outline_of
from training.data.sources import SourceFile

_SHORTEST, _LONGEST = 80, 2000  # code points of a function's body
_FUNCTIONS = ("function", "method", "constructor")
_FILES = 40  # of each language, so that parsing is quick


@dataclass(frozen=True, slots=True)
class Point:
    """A document with a hole at the cursor."""

    package: str
    path: str
    language: str
    kind: str
    """`function`: the rest of a function's body is wanted; else the kind of the middle, see `training.data.middles`."""
    text: str
    offset: int
    truth: str
    """What was taken out at `offset`."""

    def without_suffix(self) -> Point:
        """The same place in a file that ends at the cursor."""
        return replace(self, text=self.text[: self.offset])


def function_points(files: Sequence[SourceFile], count: int, seed: int) -> list[Point]:
    """Places inside of functions whose rest is not written yet: what typing a new function is like."""
    return _drawn(files, count, random.Random(seed), _point_in_function)


def middle_points(files: Sequence[SourceFile], count: int, seed: int) -> list[Point]:
    """Middles like those of the training, of other packages."""
    return _drawn(files, count, random.Random(seed), _point_at_middle)


def _drawn(
    files: Sequence[SourceFile],
    count: int,
    chance: random.Random,
    draw: Callable[[SourceFile, random.Random], Point | None],
) -> list[Point]:
    """Languages take turns, Python every second one."""
    by_language: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        if file.language in LANGUAGES:  # markup and data have no functions
            by_language[file.language].append(file)
    chosen = {language: chance.sample(group, min(len(group), _FILES)) for language, group in by_language.items()}
    if not chosen:
        raise ValueError("There is no file in a language that is known here; name a folder with code")
    others = sorted(set(chosen) - {"python"})
    points: list[Point] = []
    turn = 0
    while len(points) < count:
        is_python = "python" in chosen and (turn % 2 == 0 or not others)
        language = "python" if is_python else others[turn // 2 % len(others)]
        point = draw(chance.choice(chosen[language]), chance)
        if point is not None:
            points.append(point)
            turn += 1
    return points


def _point_in_function(file: SourceFile, chance: random.Random) -> Point | None:
    bodies = list(function_bodies(file.text, file.language))
    if not bodies:
        return None
    start, end = chance.choice(bodies)
    lines = [index for index in range(start, end) if index == start or file.text[index - 1] == "\n"]
    line = chance.choice(lines)
    line_end = file.text.find("\n", line)
    code = line + len(file.text[line:line_end]) - len(file.text[line:line_end].lstrip())
    if code >= min(line_end, end):
        return None
    offset = code if chance.random() < 0.5 else chance.randrange(code, min(line_end, end))
    text, truth = file.text[:offset] + file.text[end:], file.text[offset:end]
    return Point(file.package, file.path, file.language, "function", text, offset, truth)


def _point_at_middle(file: SourceFile, chance: random.Random) -> Point | None:
    middle = choose_middle(file.text, outline_of(file.text, file.language), chance)
    if middle is None or middle.kind == "nothing":
        return None
    text = file.text[: middle.start] + file.text[middle.end :]
    truth = file.text[middle.start : middle.end]
    return Point(file.package, file.path, file.language, middle.kind, text, middle.start, truth)


def function_bodies(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Where the statements of functions are, in code points: of a braced body what stands between the braces."""
    parser = parser_for(language)
    if parser is None or not text.isascii():  # so that a byte is a code point
        return
    pending: list[tree_sitter.Node] = [parser.parse(text.encode()).root_node]
    while pending:
        node = pending.pop()
        pending.extend(node.children)
        body = node.child_by_field_name("body")
        if body is None or not body.named_children or not any(word in node.type for word in _FUNCTIONS):
            continue
        start, end = body.named_children[0].start_byte, body.named_children[-1].end_byte
        if _SHORTEST <= end - start <= _LONGEST:
            yield start, end


class Neighbourhoods:
    """The files near each place: of its own package and language, those of its own folder first."""

    def __init__(self, files: Iterable[SourceFile]) -> None:
        self._packages: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
        for file in files:
            self._packages[file.package, file.language].append(file)

    def of(self, point: Point) -> tuple[str, ...]:
        """Their texts, at most as many and as much as the index gives for a document."""
        folder = PurePosixPath(point.path).parent
        others = [file for file in self._packages[point.package, point.language] if file.path != point.path]
        others.sort(key=lambda file: PurePosixPath(file.path).parent != folder)
        found, left = [], MOST_CHARACTERS
        for file in others[:MOST_NEIGHBOURS]:
            found.append(file.text[: min(LONGEST, left)])
            left -= len(found[-1])
        return tuple(filter(None, found))
