"""From packages to shards: everything that needs grammars, an index and a network, once before the training.

A shard is one language of one package. Existing shards are kept, so gathering can be stopped and started again.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TypeVar

from engine.model_folders.manifest import PromptFormat
from engine.prompt.tokenizer import Tokenizer
from training.card.data.files import SHARD, Region, TaughtFile, write_shard
from training.data.examples import Teacher
from training.data.middles import outline_of
from training.data.sources import SourceFile

_HIDDEN = 900  # code points of a region: a little more than the longest middle has
_APART = 2500  # code points of a file for each region
_MOST_REGIONS = 6
_CODE_POINTS_A_CUT = 120  # of a file, for each statement and each child of a block that is kept

Say = Callable[[str], None]


def gather(
    files: Sequence[SourceFile],
    folder: Path,
    tokenizer: Tokenizer,
    style: PromptFormat,
    *,
    say: Say,
    seconds: float = float("inf"),
    processes: int = 2,
) -> bool:
    """Write the shards of `files` that `folder` lacks; False where `seconds` were over before the last."""
    until = time.monotonic() + seconds
    groups: dict[str, list[SourceFile]] = {}
    for file in files:
        groups.setdefault(_name(file), []).append(file)
    missing = [name for name in groups if not (folder / name).exists()]
    random.Random(0).shuffle(missing)  # what there is when the time is over is of all languages
    teachers = {
        held_out: Teacher((file for file in files if file.held_out == held_out), tokenizer, style)
        for held_out in (False, True)
    }
    context = multiprocessing.get_context("fork")  # so that the files are shared
    running: dict[int, tuple[str, ForkProcess]] = {}
    done = 0
    while running or missing:
        while missing and len(running) < processes and time.monotonic() < until:
            name = missing.pop()
            process = context.Process(target=_write, args=(folder / name, groups[name], teachers))
            process.start()
            running[process.sentinel] = name, process
        if not running:
            return False
        for sentinel in connection.wait(list(running)):
            assert isinstance(sentinel, int)
            name, process = running.pop(sentinel)
            process.join()
            done += 1
            failed = "" if process.exitcode == 0 else f"; {name} could not be made (exit code {process.exitcode})"
            say(f"{done} of {done + len(running) + len(missing)} shards{failed}")
    return True


def _name(file: SourceFile) -> str:
    part = "held-out" if file.held_out else "train"
    return f"{part}.{file.language}.{re.sub(r'[^A-Za-z0-9.-]+', '-', file.package)}{SHARD}"


def _write(path: Path, files: Sequence[SourceFile], teachers: Mapping[bool, Teacher]) -> None:
    """In a process of its own, for a parser may end it."""
    write_shard(path, [taught(file, teachers[file.held_out]) for file in files])


def taught(file: SourceFile, teacher: Teacher) -> TaughtFile:
    """Find the cuts of a file, and what the index tells at some of its places."""
    chance = random.Random(f"{file.package} {file.path}")
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
        regions=[_region(file, start, teacher) for start in _starts(file.text, chance)],
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
