"""Real code on this machine, and places in it: the standard library of Python, or a workspace's files.

What follows at a place is known, so numbers can be fitted to a model there (`engine.fitting`).
"""

from __future__ import annotations

import random
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

import tree_sitter

from engine.fitting import Place, Point
from syntax.parsing.grammars import parser_for

MOST_NEIGHBOURS, MOST_CHARACTERS, LONGEST = 24, 400_000, 60_000
"""Files near a place, code points of them, and of one: as many as the index gives (indexer.retrieval.nearby_files)."""

_STANDARD_LIBRARY_SKIPPED = frozenset(
    {"site-packages", "test", "tests", "idlelib", "lib2to3", "encodings", "pydoc_data"}
)
_SHORTEST, _LONGEST = 80, 2000  # code points of a function's body
_FUNCTIONS = ("function", "method", "constructor")
_FILES = 40  # of each language, so that parsing is quick
_MISSED = 2000  # draws without a place, one after the other
_NO_FUNCTION = "There is no function of a usual length in these files; name a folder with more code"
_SAMPLE, _IN_A_FILE = 60, 3  # files, whose tokens are remembered together; places in a file, one after the other


class Code(Protocol):
    """A source file."""

    @property
    def package(self) -> str:
        """What it belongs to: files of one package are near each other."""

    @property
    def path(self) -> str:
        """Within its package, with forward slashes."""

    @property
    def language(self) -> str:
        """Its LSP language id."""

    @property
    def text(self) -> str:
        """All of it."""


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A source file in memory."""

    package: str
    path: str
    language: str
    text: str


AnyCode = TypeVar("AnyCode", bound=Code)


def standard_library(seed: int) -> list[CodeFile]:
    """Some modules of Python's standard library."""
    paths = [path for path in standard_library_paths() if path.stat().st_size <= LONGEST]
    root = Path(sysconfig.get_path("stdlib"))
    return [
        CodeFile("lib", path.relative_to(root).as_posix(), "python", path.read_text("utf-8", errors="replace"))
        for path in random.Random(seed).sample(paths, _SAMPLE)
    ]


def standard_library_paths() -> list[Path]:
    """All its modules, without tests and data."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not _STANDARD_LIBRARY_SKIPPED.intersection(path.relative_to(root).parts)
    ]


def places_in(files: Sequence[AnyCode], seed: int) -> Iterator[Place]:
    """Endless places in functions: whose rest is to be written, and those where the rest of a line is, in turn.

    A few in one file, then in the next. Raises ValueError where the files have no functions.
    """
    chance = random.Random(seed)
    chosen = chance.sample(files, min(len(files), _SAMPLE))
    near, found = Neighbourhoods(chosen), True
    while found:
        found = False
        for file in chosen:
            for _ in range(_IN_A_FILE):
                if (point := point_in_function(file, chance)) is None:
                    continue
                neighbours, found = near.of(point), True
                yield Place(point, neighbours)
                if (in_line := _rest_of_line(point)) is not None:
                    yield Place(in_line, neighbours)
    raise ValueError(_NO_FUNCTION)


def _rest_of_line(point: Point) -> Point | None:
    """The same place, of which all but the rest of its line is written."""
    line, _, others = point.truth.partition("\n")
    if not line.strip() or not others:
        return None
    text = f"{point.text[: point.offset]}\n{others}{point.text[point.offset :]}"
    return replace(point, kind="line", text=text, truth=line)


def draw_points(
    files: Sequence[AnyCode],
    count: int,
    chance: random.Random,
    draw: Callable[[AnyCode, random.Random], Point | None],
) -> list[Point]:
    """Languages take turns, Python every second one. Raises ValueError where no file is given."""
    by_language: dict[str, list[AnyCode]] = defaultdict(list)
    for file in files:
        by_language[file.language].append(file)
    chosen = {language: chance.sample(group, min(len(group), _FILES)) for language, group in by_language.items()}
    if not chosen:
        raise ValueError("There is no file in a language that is known here; name a folder with code")
    others = sorted(set(chosen) - {"python"})
    points: list[Point] = []
    turn = missed = 0
    while len(points) < count:
        is_python = "python" in chosen and (turn % 2 == 0 or not others)
        language = "python" if is_python else others[turn // 2 % len(others)]
        point = draw(chance.choice(chosen[language]), chance)
        if point is not None:
            points.append(point)
            turn, missed = turn + 1, 0
        elif (missed := missed + 1) > _MISSED:
            raise ValueError(_NO_FUNCTION)
    return points


def point_in_function(file: Code, chance: random.Random) -> Point | None:
    """A place inside of a function whose rest is not written yet: what typing a new function is like."""
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

    def __init__(self, files: Iterable[Code]) -> None:
        self._packages: dict[tuple[str, str], list[Code]] = defaultdict(list)
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
