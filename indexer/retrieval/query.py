"""The question at a cursor: the names near it by their weight, and how near other files are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from indexer.files.paths import folder_of, module_of, packages_of
from indexer.parsing.analysis import Parsed, family
from indexer.parsing.symbols import TYPES, Imports

IS_MODULE = 0.7
"""The least value of `path_in_imports` for the file that an import names."""

_ABOVE, _BELOW = 40, 15  # lines around the cursor whose names matter
_HALF = 8  # lines from the cursor at which a name counts half as much
_BELOW_WEIGHT = 0.6
_IMPORTED_WEIGHT = 0.25  # of an imported name that is not near the cursor
_AROUND_WEIGHT = 0.8  # of a name in the head of a definition that the cursor is in
_FIELD_WEIGHT = 0.4  # of a name in a field of the type that the cursor is in
_FOLDER_IS_MODULE = frozenset(
    {"go", "jvm", "csharp", "swift"}
)  # families whose files see their folder without an import
_LONGEST_LINE = 2_000  # code points of a line that are searched for names
_LARGE = 1_000_000  # code points; a longer text is not cut into all its lines
_BLOCK = 1 << 16
_WORD = re.compile(r"[^\W\d]\w+")
_SOURCE_FOLDERS = frozenset({"src", "lib", "main", "java", "kotlin", "python", "source", "pkg", "internal"})
_ALIAS = re.compile(r"(\w+)\s+as\s+(\w+)|(\w+)\s*=>\s*(\w+)")


@dataclass(frozen=True, slots=True)
class Question:
    """A cursor in a document, as a search for help there sees it."""

    path: str
    family: str
    line: int
    """From 0."""
    text: str
    weights: Mapping[str, float]
    """Names near the cursor or imported, and how much each matters, up to 1."""
    near: frozenset[str]
    """Those near the cursor."""
    imports: tuple[Imports, ...]
    imported: frozenset[str]
    """All words of import statements that may name a module."""
    statements: Mapping[str, Sequence[Imports]]
    """Import statements by the words in them."""
    agreements: dict[str, float] = field(default_factory=dict, compare=False, repr=False)
    """Remembered answers of `path_in_imports`."""
    nearnesses: dict[str, float] = field(default_factory=dict, compare=False, repr=False)
    """Remembered answers of `nearness`, by folder."""

    def explicitly_imported(self, name: str) -> Sequence[Imports]:
        """Import statements that name a name."""
        return self.statements.get(name, ())

    def path_in_imports(self, path: str, imports: Sequence[Imports] = ()) -> float:
        """How well a file's path agrees with one of some import statements: from 0 to 1, which is the named module.

        By default these are all statements of the document. They name a module by the end of its path: `from a.b import
        c` may mean `x/a/b.py`, `x/a/b/__init__.py` or `x/a/b/c.py`; Go and Java name the folder.
        """
        if imports:
            return _agreement(path, imports)
        if path not in self.agreements:
            names = (module_of(path), *packages_of(path)[-1:])
            said = [one for name in names if name in self.imported for one in self.statements[name]]
            self.agreements[path] = _agreement(path, said) if said else 0.0
        return self.agreements[path]

    def sees_folder(self) -> bool:
        """Whether its language sees the files of its folder without an import."""
        return self.family in _FOLDER_IS_MODULE

    def nearness(self, path: str) -> float:
        """How near a file lies in the tree of folders, 1 in the same folder, less for every step between."""
        folder = folder_of(path)
        if folder not in self.nearnesses:
            mine, other = (one.split("/") if one else [] for one in (folder_of(self.path), folder))
            common = 0
            for one, two in zip(mine, other, strict=False):
                if one != two:
                    break
                common += 1
            self.nearnesses[folder] = 1 / (1 + len(mine) + len(other) - 2 * common)
        return self.nearnesses[folder]


def ask(parsed: Parsed, path: str, line: int, kin: str | None = None) -> Question:
    """Make the question at a line of a document. `path`: its key in the library; `kin`: its family."""
    weights: dict[str, float] = {}

    def weigh(text: str, weight: float) -> None:
        for name in _WORD.findall(text[:_LONGEST_LINE]):
            if weights.get(name, 0.0) < weight:
                weights[name] = weight

    for at, text in _lines_near(parsed, line):
        distance = abs(at - line)
        weigh(text, (1.0 if at <= line else _BELOW_WEIGHT) * _HALF / (_HALF + distance))
    for symbol in parsed.outline.symbols:
        if symbol.first <= line <= symbol.last and (symbol.kind in TYPES or symbol.kind in ("function", "method")):
            for at in range(symbol.first, symbol.head + 1):
                weigh(parsed.lines[at], _AROUND_WEIGHT)
    types = {one.name for one in parsed.outline.symbols if one.kind in TYPES and one.first <= line <= one.last}
    for symbol in parsed.outline.symbols:
        if symbol.kind == "field" and symbol.container in types:
            weigh(parsed.lines[symbol.first], _FIELD_WEIGHT)
    near = frozenset(weights)
    for one in parsed.outline.imports:
        for pair in _ALIAS.findall(one.text):
            name, alias = (pair[0] or pair[2]), (pair[1] or pair[3])
            weights[name] = max(weights.get(name, 0.0), weights.get(alias, 0.0))
        weigh(one.text, _IMPORTED_WEIGHT)
    statements: dict[str, list[Imports]] = {}
    for one in parsed.outline.imports:
        for word in dict.fromkeys(one.words):
            statements.setdefault(word, []).append(one)
    imported = frozenset(word for word in statements if len(word) > 1)
    kin = kin or family(path, parsed.language)
    return Question(path, kin, line, parsed.text, weights, near, parsed.outline.imports, imported, statements)


def _lines_near(parsed: Parsed, line: int) -> Iterator[tuple[int, str]]:
    """The lines around a line, with their numbers. In a large text, the lines before them are only counted."""
    first, last = max(line - _ABOVE, 0), line + _BELOW
    if len(parsed.text) <= _LARGE:
        yield from enumerate(parsed.lines[first : last + 1], first)
        return
    text, start, number = parsed.text, 0, 0
    while number < first and start < len(text):
        ends = text.count("\n", start, start + _BLOCK)
        if number + ends < first:
            number, start = number + ends, start + _BLOCK
        else:
            for _ in range(first - number):
                start = text.index("\n", start) + 1
            number = first
    while number <= last and start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield number, text[start : min(end, start + _LONGEST_LINE)]
        number, start = number + 1, end + 1


def _agreement(path: str, imports: Iterable[Imports]) -> float:
    module, packages = module_of(path), packages_of(path)
    best = 0.0
    for one in imports:
        words = one.words
        if module in words:
            agree = 0
            for package in reversed([name for name in packages if name not in _SOURCE_FOLDERS]):
                if package not in words:
                    break
                agree += 1
            best = max(best, IS_MODULE + min(agree, 3) * 0.1)
        elif packages and packages[-1] in words:
            best = max(best, 0.5 if packages[-1] in words[-2:] else 0.35)
    return best
