"""From packages to shards: everything that needs grammars, an index and a network, once before the training.

A shard is a part of one language of one package. Existing shards are kept, so the work can be stopped and continued.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TypeVar

from engine.model_folders.manifest import PromptFormat
from engine.prompt.tokenizer import Tokenizer
from indexer.parsing.analysis import read_here
from training.card.data.files import SHARD, Region, TaughtFile, write_shard
from training.data.examples import Teacher
from training.data.middles import outline_of
from training.data.sources import Report, SourceFile

_HIDDEN = 900  # code points of a region: a little more than the longest middle has
_APART = 10_000  # code points of a file for each region: what a run reads of it once or twice
_MOST_REGIONS = 3
_WITH_REGIONS = 0.5  # share of the files; the index takes most of the time
_SHARD = 2_000_000  # code points of a shard: some minutes of work
_COUNTED = 8  # files, of which one's tokens are counted
TOLD = "shards.jsonl"
_CODE_POINTS_A_CUT = 300  # of a file, for each statement and each child of a block that is kept

Say = Callable[[str], None]


def gather(
    groups: Iterable[list[SourceFile]],
    folder: Path,
    tokenizer: Tokenizer,
    style: PromptFormat,
    *,
    say: Say,
    seconds: float = float("inf"),
    processes: int = 2,
) -> bool:
    """Write the shards that `folder` lacks of files, which come package by package; False if the time was over before.

    What is said of a shard, and the sum of all, stands in `folder`, one JSON object a line.
    """
    until = time.monotonic() + seconds
    context = multiprocessing.get_context("fork")  # so that the files are shared
    running: dict[int, tuple[Path, ForkProcess]] = {}
    book = Book(folder / TOLD)

    def wait(most: int) -> None:
        while len(running) > most:
            for sentinel in connection.wait(list(running)):
                assert isinstance(sentinel, int)
                path, process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    say(f"{path.name} could not be made (exit code {process.exitcode}); the same command tries again")
                else:
                    say(book.after(path))

    for path, files, teacher in _missing(groups, folder, tokenizer, style):
        if time.monotonic() >= until:
            wait(0)
            return False
        process = context.Process(target=_write, args=(path, files, teacher, book.path, tokenizer))
        process.start()
        running[process.sentinel] = path, process
        wait(processes - 1)
    wait(0)
    return True


def _missing(
    groups: Iterable[list[SourceFile]], folder: Path, tokenizer: Tokenizer, style: PromptFormat
) -> Iterator[tuple[Path, list[SourceFile], Teacher]]:
    """The shards that are not there, with their files, and with all files of their package."""
    for group in groups:
        shards: dict[str, list[list[SourceFile]]] = {}
        for file in group:
            parts = shards.setdefault(_name(file), [[]])
            if sum(len(other.text) for other in parts[-1]) > _SHARD:
                parts.append([])
            parts[-1].append(file)
        for name, parts in shards.items():
            teacher = Teacher((file for part in parts for file in part), tokenizer, style)
            paths = [folder / f"{name}.{index}.{_digest(part)}{SHARD}" for index, part in enumerate(parts)]
            for old in set(folder.glob(f"{name}.*{SHARD}")).difference(paths):
                old.unlink()  # of another list of packages, from which other files were left out as copies
            yield from ((path, part, teacher) for path, part in zip(paths, parts, strict=True) if not path.exists())


def _digest(files: list[SourceFile]) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.path}\0{file.text}\0".encode())
    return found.hexdigest()[:8]


def _name(file: SourceFile) -> str:
    part = "held-out" if file.held_out else "train"
    return f"{part}.{file.language}.{re.sub(r'[^A-Za-z0-9.-]+', '-', file.package)}"


def _write(path: Path, files: Sequence[SourceFile], teacher: Teacher, book: Path, tokenizer: Tokenizer) -> None:
    """In a process of its own, for a parser may end it."""
    read_here()
    done = [taught(file, teacher) for file in files]
    counted = done[::_COUNTED]
    share = sum(len(file.text) for file in done) / sum(len(file.text) for file in counted)
    tokens = round(share * sum(len(tokenizer.encode(file.text)) for file in counted))
    write_shard(path, done)
    told = {"shard": path.name, "files": len(done), "tokens": tokens, "bytes": path.stat().st_size}
    with book.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(told) + "\n")


class Book:
    """What was told of each shard, and its sums."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after(self, shard: Path) -> str:
        """How much there is, after a shard was written."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        told = {entry["shard"]: entry for entry in map(json.loads, lines)}
        told = {name: entry for name, entry in told.items() if (self.path.parent / name).exists()}
        own, all_of_them = told[shard.name], list(told.values())
        tokens, size = (sum(entry[key] for entry in all_of_them) for key in ("tokens", "bytes"))
        return (
            f"{shard.name}: {own['files']} files, {own['tokens']:,} tokens; in all {len(told)} shards, "
            f"{tokens / 1e6:.1f} million tokens, {size / 1e6:.1f} MB, {size / max(tokens, 1):.2f} bytes a token"
        )


def taught(file: SourceFile, teacher: Teacher) -> TaughtFile:
    """Find the cuts of a file, and what the index tells at some of its places."""
    chance = random.Random(f"{file.package} {file.path}")
    is_asked = chance.random() < _WITH_REGIONS or file.held_out
    outline = outline_of(file.text, file.language)
    cuts = max(len(file.text) // _CODE_POINTS_A_CUT, 8)
    blocks, children = [], 0
    for block in chance.sample(outline.blocks, len(outline.blocks)):
        if children + len(block) <= cuts:
            blocks.append(block)
            children += len(block)
    return TaughtFile(
        *(file.package, file.path, file.language, file.held_out, file.text),
        statements=sorted(_some(outline.statements, cuts, chance)),
        blocks=sorted(blocks),
        regions=[_region(file, start, teacher) for start in _starts(file.text, chance)] if is_asked else [],
    )


_One = TypeVar("_One")


def _some(all_of_them: Sequence[_One], most: int, chance: random.Random) -> list[_One]:
    return chance.sample(all_of_them, min(len(all_of_them), most))


def _starts(text: str, chance: random.Random) -> list[int]:
    """Where regions begin: at a line's start, one in each of the equal parts of a file."""
    count = min(max(len(text) // _APART, 1), _MOST_REGIONS)
    part = len(text) // count
    return sorted({text.rfind("\n", 0, index * part + chance.randrange(part)) + 1 for index in range(count)})


def _region(file: SourceFile, start: int, teacher: Teacher) -> Region:
    end = file.text.find("\n", min(start + _HIDDEN, len(file.text)))
    end = len(file.text) if end < 0 else end
    found = teacher.snippets(file, file.text[:start] + file.text[end:], start)
    return Region(start, end, [(snippet.path, snippet.text) for snippet in found])


def write_left_out(path: Path, report: Report, say: Say) -> None:
    """Say how many files were left out, and write by package why."""
    by_package: dict[str, dict[str, int]] = {}
    by_reason: Counter[str] = Counter()
    for (package, reason), count in sorted(report.left_out.items()):
        by_package.setdefault(package, {})[reason] = count
        by_reason[reason] += count
    path.write_text(json.dumps(by_package, indent=1) + "\n", encoding="utf-8")
    told = ", ".join(f"{count} {reason}" for reason, count in by_reason.most_common()) or "nothing"
    say(f"Files left out: {told}; by package: {path}")
