"""Does the context hold what the next line needs? `python -m evaluation.retrieval`.

Tasks come from real packages (see `packages.py`): a line in a function's body that uses a name which the package
defines exactly once, in another file that the document can see. The line is taken out, and context is asked for at its
start. Recall is the share of tasks whose packed context holds the first line of that definition, at 512, 1024 and 2048
tokens, for four strategies: none, files by path distance, chunks by BM25 of the names around the cursor, and ours.
`--lines N` completes N of the lines with the default model, or `--model`, in prompts of 1024 tokens, three eighths of
which are for context, and prints exact match and edit similarity; and the same where n-grams are looked up in the files
near by, too, without context and with ours. `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import builtins
import difflib
import io
import json
import random
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from engine import CompletionRequest, ContextSnippet, Engine
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import TOKENIZER_FILE
from engine.prompt.tokenizer import Tokenizer
from evaluation.harness.workspaces import PACKAGES, Package, sources_of
from indexer.files.paths import folder_of
from indexer.parsing.analysis import Parsed, family, parse
from indexer.retrieval.nearby_files import MOST_CHARACTERS, MOST_NEIGHBOURS, nearest
from indexer.retrieval.pack import Snippet, pack
from indexer.retrieval.query import Question, ask
from indexer.retrieval.ranking import Candidate, Ranked, retrieve
from indexer.store.overlay import Layer, Library
from indexer.store.rows import Definition, StoredChunk
from indexer.store.store import Store
from indexer.store.writing import WritableStore
from indexer.sync.folder import Folder
from syntax import language_of
from syntax.parsing.grammars import parser_for
from syntax.parsing.identifiers import identifiers_in

BUDGETS = (512, 1024, 2048)
_TASKS = 60  # of one package
_TASKS_A_FILE = 3
_SHORTEST_NAME = 4
_CHUNKS = 60  # that BM25 and path distance may choose from
_LINE_TOKENS = 48  # a line has fewer

_FAMILIES = {"Python": "python", "TypeScript": "javascript", "Go": "go", "Java": "jvm", "Rust": "rust"}
_BUILT_IN = frozenset(
    {*dir(builtins), *dir(str), *dir(bytes), *dir(list), *dir(dict), *dir(set), *dir(io.TextIOWrapper)}
)
"""A line that uses one of these names mostly means Python's own."""

Strategy = Callable[[Question, Library], Iterable[Ranked]]


@dataclass(frozen=True, slots=True)
class Task:
    """A line that was taken out of a document, and the definition that it needs."""

    package: Package
    path: str
    line: int
    text: str
    """The document, with only its indentation left of the line."""
    wanted: str
    """The line without its indentation."""
    needed: Definition
    head: str
    """The first line of the needed definition."""


def no_context(question: Question, library: Library) -> Iterable[Ranked]:
    """Nothing."""
    return ()


def by_path(question: Question, library: Library) -> Iterable[Ranked]:
    """All of the nearest files, chunk after chunk."""
    paths = sorted(
        (path for path in library.paths(question.family) if path != question.path),
        key=lambda path: (-question.nearness(path), path),
    )
    chunks = (chunk for path in paths for chunk in library.chunks_of(path))
    return [_ranked(rank, chunk) for rank, chunk in zip(range(_CHUNKS), chunks, strict=False)]


def by_bm25(question: Question, library: Library) -> Iterable[Ranked]:
    """The chunks that SQLite's FTS5 finds best for all names around the cursor."""
    names = [name for name, count in library.frequencies(question.near).items() if count]
    chunks = library.chunks_with(names, question.family, _CHUNKS) if names else []
    return [_ranked(rank, chunk) for rank, chunk in enumerate(one for one in chunks if one.path != question.path)]


def ours(question: Question, library: Library) -> Iterable[Ranked]:
    """What the server does."""
    return retrieve(question, library)


STRATEGIES: dict[str, Strategy] = {"none": no_context, "path distance": by_path, "BM25": by_bm25, "ours": ours}


def main() -> None:
    """Make the tasks, run all strategies, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="*", help="only these")
    parser.add_argument("--lines", type=int, default=0, help="complete this many lines with the model, too")
    parser.add_argument("--no-recall", action="store_true", help="only those lines")
    parser.add_argument("--prompt-tokens", type=int, default=1024, help="for them: of the longest prompt, default 1024")
    parser.add_argument("--model", help="a model's name or folder; without it, the default model")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    tokenizer = Tokenizer(find_model(arguments.model) / TOKENIZER_FILE)

    @cache
    def count(text: str) -> int:
        return len(tokenizer.encode(text))

    found: dict[tuple[str, int], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    seconds: list[float] = []
    tasks: list[Task] = []
    for package in PACKAGES:
        if arguments.packages and package.name not in arguments.packages:
            continue
        _say(f"recall: {package.name}")
        store = _indexed(package)
        made = make_tasks(package, store)
        tasks += made
        for task in [] if arguments.no_recall else made:
            library = _library(package, store)
            question = ask(parse(task.text, task.path), task.path, task.line)
            for name, strategy in STRATEGIES.items():
                started = time.perf_counter()
                ranked = list(strategy(question, library))
                if name == "ours":
                    seconds.append(time.perf_counter() - started)
                for budget in BUDGETS:
                    hit = holds(pack(ranked, question, library, budget, count), task)
                    found[name, budget][package.language].append(hit)
                    found[name, budget][package.name].append(hit)
        store.close()
    figures = {} if arguments.no_recall else _print_recall(found, seconds)
    if arguments.lines:
        engine = Engine.load(find_model(arguments.model), prompt_tokens=arguments.prompt_tokens)
        figures |= _print_lines(random.Random(5).sample(tasks, min(arguments.lines, len(tasks))), engine)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _library(package: Package, store: Store) -> Library:
    return Library(WritableStore.in_memory(), [Layer(Path(package.name), store)], lambda root, path: True)


def _say(what: str) -> None:
    """Show what is being done, on a line that is written over."""
    print(f"{what:50}", end="\r", file=sys.stderr, flush=True)


def holds(snippets: list[Snippet], task: Task) -> bool:
    """Whether the context holds the definition that a task needs."""
    return any(one.path == task.needed.path and task.head in one.text.split("\n") for one in snippets)


def make_tasks(package: Package, store: Store) -> list[Task]:
    """Choose lines that use a name which one other file defines, the same ones every time."""
    places: dict[str, list[Definition]] = defaultdict(list)
    wanted = _FAMILIES[package.language]
    paths = sorted(store.states())
    for path in paths:
        for place in store.definitions_in(path):
            if family(path, language_of(path)) == wanted:
                places[place.symbol.name].append(place)
    once = {
        name: found[0]
        for name, found in places.items()
        if len(found) == 1 and len(name) >= _SHORTEST_NAME and found[0].symbol.kind != "field" and name not in _BUILT_IN
    }
    chance = random.Random(17)
    chance.shuffle(paths)
    tasks: list[Task] = []
    for path in paths:
        text = store.text(path)
        if text is None or len(tasks) >= _TASKS or family(path, language_of(path)) != wanted:
            continue
        parsed = parse(text, path)
        visible = {name: place for name, place in once.items() if _is_visible(place, path, parsed)}
        lines = [(at, name) for at in _lines_in_definitions(parsed) if (name := _needed(parsed, at, visible))]
        for at, name in chance.sample(lines, min(_TASKS_A_FILE, len(lines))):
            tasks.append(_task(package, parsed, path, at, once[name], store))
    return tasks[:_TASKS]


def _lines_in_definitions(parsed: Parsed) -> list[int]:
    """Lines inside of functions and methods, after their signatures."""
    bodies = [one for one in parsed.outline.symbols if one.kind in ("function", "method")]
    return sorted({at for one in bodies for at in range(one.head + 1, one.last + 1)})


def _is_visible(place: Definition, path: str, parsed: Parsed) -> bool:
    """Whether a document can mean this definition: its module is imported or its folder is the document's.

    A member counts where its type is named in the document. Without this, half of the lines that call `is_none` or
    `isEmpty` would be taken to mean the one method of the package that happens to have that name.
    """
    if place.path == path:
        return False
    if place.symbol.container:
        return re.search(rf"\b{re.escape(place.symbol.container)}\b", parsed.text) is not None
    question = ask(parsed, path, 0)
    named = any(place.symbol.name in one.words for one in parsed.outline.imports)
    shares_folder = question.sees_folder() and folder_of(place.path) == folder_of(path)
    return shares_folder or (
        bool(question.path_in_imports(place.path, parsed.outline.imports))
        and (named or parsed.language != "typescript")
    )


@lru_cache(maxsize=2)
def _names_by_line(text: str, language: str) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    if (parser := parser_for(language)) is not None:
        source = text.encode("utf-8", "replace")
        for name, line, _ in identifiers_in(parser.parse(source), source, language):
            found[line].add(name)
    return found


def _needed(parsed: Parsed, at: int, visible: dict[str, Definition]) -> str | None:
    """The name on a line that another file defines, if there is just one."""
    names = _names_by_line(parsed.text, parsed.language).get(at, ())
    needed = [name for name in names if name in visible]
    return needed[0] if len(needed) == 1 and f"import {needed[0]}" not in parsed.lines[at] else None


def _task(package: Package, parsed: Parsed, path: str, at: int, needed: Definition, store: Store) -> Task:
    line = parsed.lines[at]
    indentation = line[: len(line) - len(line.lstrip())]
    text = "\n".join([*parsed.lines[:at], indentation, *parsed.lines[at + 1 :]])
    defining = store.text(needed.path) or ""
    return Task(package, path, at, text, line.strip(), needed, defining.split("\n")[needed.symbol.first])


def _indexed(package: Package) -> Store:
    store = WritableStore.in_memory()
    Folder(sources_of(package), store).scan()
    return store


def _ranked(rank: int, stored: StoredChunk) -> Ranked:
    lines = tuple(range(stored.chunk.first, stored.chunk.last + 1))
    return Ranked(Candidate(stored.path, lines, "similar"), 1 / (1 + rank), ("similar",))


def _print_recall(found: dict[tuple[str, int], dict[str, list[bool]]], seconds: list[float]) -> dict[str, float]:
    groups = list(found["ours", BUDGETS[0]])
    print(f"{'recall of the needed definition, %':36}" + "".join(f"{group:>15}" for group in groups))
    print(f"{'tasks':36}" + "".join(f"{len(found['ours', BUDGETS[0]][group]):15}" for group in groups))
    figures: dict[str, float] = {}
    for name in STRATEGIES:
        for budget in BUDGETS:
            shares = {group: statistics.mean(found[name, budget][group]) for group in groups}
            figures |= {f"recall {group}, {name}, {budget} tokens": share for group, share in shares.items()}
            print(f"{f'{name}, {budget} tokens':36}" + "".join(f"{100 * shares[group]:15.1f}" for group in groups))
    ordered = sorted(seconds)
    for percent in (50, 95):
        figures[f"ranking p{percent}, ms"] = 1e3 * ordered[len(ordered) * percent // 100]
        print(f"{f'ranking p{percent}, ms':36}{figures[f'ranking p{percent}, ms']:15.1f}")
    return figures


def _print_lines(tasks: list[Task], engine: Engine) -> dict[str, float]:
    """Complete lines by strategy: how often they are exactly right, and how much of their text is."""
    stores = {
        name: _indexed(next(one for one in PACKAGES if one.name == name)) for name in {t.package.name for t in tasks}
    }
    figures: dict[str, float] = {}
    sides = [(name, strategy, False) for name, strategy in STRATEGIES.items()]
    sides += [(f"{name}, n-grams", STRATEGIES[name], True) for name in ("none", "ours")]
    for name, strategy, looks_up in sides:
        exact, similar = [], []
        for index, task in enumerate(tasks):
            _say(f"lines, {name}: {index + 1} of {len(tasks)}")
            library = _library(task.package, stores[task.package.name])
            question = ask(parse(task.text, task.path), task.path, task.line)
            snippets = pack(
                strategy(question, library), question, library, engine.budget.context, engine.tokenizer.count
            )
            near = nearest(question, library, (), MOST_NEIGHBOURS, MOST_CHARACTERS) if looks_up else []
            lines = task.text.split("\n")
            offset = sum(len(line) + 1 for line in lines[: task.line]) + len(lines[task.line])
            context = tuple(ContextSnippet(one.path, one.text) for one in snippets)
            language = parse("", task.path).language
            request = CompletionRequest(
                *(task.path, language, task.text, offset, context),
                neighbours=tuple(one.text for one in near),
                max_tokens=_LINE_TOKENS,
            )
            text = engine.complete(request).text.strip().partition("\n")[0].strip()
            exact.append(text == task.wanted)
            similar.append(difflib.SequenceMatcher(None, text, task.wanted, autojunk=False).ratio())
        figures |= {
            f"exact match, {name}": statistics.mean(exact),
            f"edit similarity, {name}": statistics.mean(similar),
        }
        print(f"{name:20} exact match {100 * statistics.mean(exact):5.1f} %, similarity {statistics.mean(similar):.3f}")
    for store in stores.values():
        store.close()
    return figures


if __name__ == "__main__":
    main()
