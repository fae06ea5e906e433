"""From a question to candidate lines of other files, the best first.

Each source (definitions, members, modules, similar code, visited places, neighbours) makes a ranked list of its own.
Reciprocal rank fusion (Cormack and others, 2009) makes one list of them: first comes what several lists have, or what
one has at its top. A source that has no time left is left out.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from indexer.files.paths import folder_of, module_of, subject_of
from indexer.parsing.symbols import TYPES
from indexer.retrieval.nearby_files import imported_files, sibling_files
from indexer.retrieval.query import IS_MODULE, Question
from indexer.store.overlay import Library
from indexer.store.rows import Definition, StoredChunk

_FUSION = 20  # the constant k; the paper's 60 finds 2 points less: what leads a list matters most here
_MOST_NAMES = 160
_COMMON = 24  # definitions of one name; a name with more of them tells little
_SHORT = 6  # lines that are shown whole
_MOST_TYPES = 8
_MOST_MODULES = 12
_MOST_FOLDER = 40  # files of the document's own folder, where that is its module
_NEARER = 0.05
_MOST_MEMBERS = 200  # of one type
_MOST_SHOWN = 6  # definitions that are shown with more than their signature
_MOST_DEFINITIONS = 120
_RARE_NAMES = 12
_MOST_CHUNKS = 60
_LEAST_SIMILAR = 0.04
_MOST_NEIGHBOURS = 6

WEIGHTS = {"definition": 3.0, "member": 2.0, "module": 1.5, "similar": 1.0, "recent": 0.5, "neighbour": 0.5}
"""How much each source counts in the fusion. `python -m evaluation.retrieval` shows what a change does."""


class Candidate(NamedTuple):
    """Some lines of a file that belong together, and why they may help."""

    path: str
    lines: tuple[int, ...]
    """From 0, in order."""
    source: str
    """One of WEIGHTS."""


class Ranked(NamedTuple):
    """A candidate with its score after fusion, and all sources that named it."""

    candidate: Candidate
    score: float
    sources: tuple[str, ...]


def retrieve(
    question: Question, library: Library, recent: Sequence[tuple[str, int]] = (), *, deadline: float = math.inf
) -> list[Ranked]:
    """Find candidates, the best first. `recent`: paths and lines that were edited or viewed, the last one first.

    Sources that have not begun at `deadline` (of `time.monotonic`) are left out.
    """
    lists: list[list[Candidate]] = []
    definitions = _definitions(question, library)
    shown = [_shown(definition, "definition") for _, definition in definitions[:_MOST_SHOWN]]
    lists.append(
        [*shown, *(_brief(definition, "definition") for _, definition in definitions[_MOST_SHOWN:_MOST_DEFINITIONS])]
    )
    for source in (_members, _modules):
        if time.monotonic() < deadline:
            lists.append(source(question, library, definitions))
    if time.monotonic() < deadline:
        lists.append(_recent(question, library, recent))
    if time.monotonic() < deadline:
        likeness = _Likeness.of(question, library)
        lists.append(_similar(question, library, likeness))
        if time.monotonic() < deadline:
            lists.append(_neighbours(question, library, likeness))
    return _fused(lists)


def _fused(lists: Iterable[list[Candidate]]) -> list[Ranked]:
    scores: dict[tuple[str, tuple[int, ...]], float] = {}
    found: dict[tuple[str, tuple[int, ...]], list[Candidate]] = {}
    for ranking in lists:
        for rank, candidate in enumerate(ranking, _FUSION + 1):
            key = candidate[:2]
            if key in scores:
                scores[key] += WEIGHTS[candidate.source] / rank
                found[key].append(candidate)
            else:
                scores[key] = WEIGHTS[candidate.source] / rank
                found[key] = [candidate]
    best = sorted((-score, key) for key, score in scores.items())
    return [Ranked(found[key][0], -score, tuple([one.source for one in found[key]])) for score, key in best]


def _shown(definition: Definition, source: str) -> Candidate:
    """A definition as it is shown first: whole when short, else its signature with its documentation's first line."""
    symbol = definition.symbol
    if symbol.last - symbol.first >= _SHORT:
        return _brief(definition, source, documented=True)
    documented = [symbol.documentation] if symbol.documentation >= 0 else []
    return Candidate(definition.path, tuple(sorted({*range(symbol.first, symbol.last + 1), *documented})), source)


def _brief(definition: Definition, source: str, *, documented: bool = False) -> Candidate:
    """A definition's signature."""
    symbol = definition.symbol
    lines = tuple(range(symbol.first, symbol.head + 1))
    if documented and symbol.documentation >= 0:
        lines = tuple(sorted({*lines, symbol.documentation}))
    return Candidate(definition.path, lines, source)


def _definitions(question: Question, library: Library) -> list[tuple[float, Definition]]:
    """Definitions of names near the cursor: imported ones first, then by rarity and nearness."""
    names = sorted(question.weights, key=lambda name: (-question.weights[name], name))[:_MOST_NAMES]
    by_name: dict[str, list[Definition]] = {}
    for definition in library.definitions(names, question.family, _COMMON, question.imported):
        if definition.path != question.path:
            by_name.setdefault(definition.symbol.name, []).append(definition)
    scored: list[tuple[float, Definition]] = []
    for name, definitions in by_name.items():
        explicit = question.explicitly_imported(name)
        agreements = [
            agrees and agrees + _NEARER * question.nearness(one.path)  # which one `from .name import` means
            for one in definitions
            for agrees in [question.path_in_imports(one.path, explicit)]
        ]
        best = max(agreements)
        for definition, agrees in zip(definitions, agreements, strict=True):
            if best >= IS_MODULE and agrees < best:
                continue  # the imports say which one is meant
            if agrees and explicit:
                affinity = 2.0 + 2.0 * agrees
            elif explicit and len(definitions) <= _COMMON:
                affinity = 1.5 / len(definitions)
            elif agrees:
                affinity = 0.5 + agrees
            elif len(definitions) <= _COMMON:
                affinity = (0.5 + question.nearness(definition.path)) / len(definitions)
            else:
                continue
            scored.append((question.weights[name] * affinity, definition))
    scored.sort(key=lambda item: (-item[0], item[1].path, item[1].symbol.first))
    return scored


def _members(question: Question, library: Library, definitions: list[tuple[float, Definition]]) -> list[Candidate]:
    """Members of the types among the best definitions, those used most often first."""
    types = [(score, definition) for score, definition in definitions if definition.symbol.kind in TYPES][:_MOST_TYPES]
    members = [
        (score, one)
        for score, definition in types
        for one in library.definitions_in(definition.path, definition.symbol.name)[:_MOST_MEMBERS]
        if one.symbol != definition.symbol
    ]
    return [_brief(definition, "member") for definition in _interesting(question, library, members)]


def _interesting(
    question: Question, library: Library, definitions: Sequence[tuple[float, Definition]]
) -> list[Definition]:
    """Definitions of a type or a module, the likeliest first: those used often, used near the cursor, and public."""
    often = library.frequencies({definition.symbol.name for _, definition in definitions})
    scored: list[tuple[float, Definition]] = []
    for score, definition in definitions:
        name = definition.symbol.name
        interest = math.log2(2 + min(often[name], 200)) * (1.0 + 2 * question.weights.get(name, 0.0))
        scored.append((score * interest * (0.3 if _is_private(name) else 1.0), definition))
    scored.sort(key=lambda item: -item[0])
    return [definition for _, definition in scored[:_MOST_DEFINITIONS]]


def _is_private(name: str) -> bool:
    return name.startswith(("_", "#")) and name != "__init__"


def _modules(question: Question, library: Library, definitions: list[tuple[float, Definition]]) -> list[Candidate]:
    """The other definitions at the top of the imported files."""
    best = {
        path: agrees * question.weights.get(module_of(path), 0.1)
        for path, agrees in imported_files(question, library).items()
    }
    if question.sees_folder():
        for path in library.paths(question.family, folder=[folder_of(question.path)])[:_MOST_FOLDER]:
            if path != question.path:
                best.setdefault(path, 0.1)
    for score, definition in definitions:
        if definition.path in best:
            best[definition.path] = max(best[definition.path], score)
    offered = [
        (score, definition)
        for path, score in sorted(best.items(), key=lambda item: -item[1])[:_MOST_MODULES]
        for definition in library.definitions_in(path, "")
        if not _is_private(definition.symbol.name)
    ]
    return [_brief(definition, "module") for definition in _interesting(question, library, offered)]


@dataclass(frozen=True, slots=True)
class _Likeness:
    """Intersection over union of names, where a name counts less the more chunks of code use it."""

    frequencies: dict[str, int]
    """Of the names near the cursor that code uses at all: keywords are not among them."""
    weights: dict[str, float]
    """By name in lower case, as chunks have them."""
    total: float
    """Of all weights."""

    @classmethod
    def of(cls, question: Question, library: Library) -> _Likeness:
        frequencies = {name: count for name, count in library.frequencies(question.near).items() if count}
        weights = {name.lower(): 1 / math.log2(2 + count) for name, count in frequencies.items()}
        return cls(frequencies, weights, sum(weights.values()))

    def with_names(self, names: frozenset[str]) -> float:
        shared = self.weights.keys() & names
        union = self.total + len(names) - len(shared)
        return sum(self.weights[name] for name in shared) / union if union else 0.0


def _similar(question: Question, library: Library, likeness: _Likeness) -> list[Candidate]:
    """Pieces of code that use the same names: found by the rarest of them, ranked by likeness."""
    rare = sorted(likeness.frequencies, key=lambda name: (likeness.frequencies[name], name))[:_RARE_NAMES]
    if not rare:
        return []
    chunks = library.chunks_with(rare, question.family, _MOST_CHUNKS)
    scored = [(likeness.with_names(one.chunk.names), one) for one in chunks if one.path != question.path]
    best = sorted(
        (item for item in scored if item[0] >= _LEAST_SIMILAR),
        key=lambda item: (-item[0], item[1].path, item[1].chunk.first),
    )
    return [Candidate(one.path, tuple(range(one.chunk.first, one.chunk.last + 1)), "similar") for _, one in best]


def _recent(question: Question, library: Library, recent: Sequence[tuple[str, int]]) -> list[Candidate]:
    """The chunks that were edited or viewed last."""
    found = []
    for path, line in recent:
        if path == question.path:
            continue
        for one in library.chunks_of(path):
            if _holds(one, line):
                found.append(Candidate(path, tuple(range(one.chunk.first, one.chunk.last + 1)), "recent"))
                break
    return found


def _holds(stored: StoredChunk, line: int) -> bool:
    return stored.chunk.first <= line <= stored.chunk.last


def _neighbours(question: Question, library: Library, likeness: _Likeness) -> list[Candidate]:
    """Definitions of the file's test, of the file it tests, and of its folder that share a name with the cursor."""
    subject, own = subject_of(question.path), folder_of(question.path)
    folder = [path for path in library.paths(question.family, folder=[own]) if path != question.path]
    scored: list[tuple[float, Definition]] = []
    for path in dict.fromkeys([*sibling_files(question, library), *folder[:_MOST_NEIGHBOURS]]):
        weight = 2.0 if subject_of(path) == subject else 1.0
        chunks = library.chunks_of(path)
        ends = [one.chunk.last for one in chunks]
        for definition in library.definitions_in(path, ""):
            symbol = definition.symbol
            at = bisect_left(ends, symbol.first)  # the first chunk that may hold it
            if at == len(chunks) or not _holds(chunks[at], symbol.first) or _is_private(symbol.name):
                continue
            if like := likeness.with_names(chunks[at].chunk.names):
                scored.append((like * weight, definition))
    scored.sort(key=lambda item: -item[0])
    return [_brief(definition, "neighbour") for _, definition in scored]
