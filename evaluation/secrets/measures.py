"""Recall at planted secrets, and false positives in ordinary files; both read files as the index reads them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.secrets.corpus import Planted, came_through
from indexer.files.text import Refusal, read_text
from indexer.secrets import Secret, secrets_in

_SUFFIXES = re.compile(r"\.(?:py|pyi|[cm]?js|tsx?|go|rs|java|kt|rb|c|h|cc|cpp|cs|php|sh|json|ya?ml|toml|swift)$")
_LEFT_OUT = frozenset({"test", "tests", "testing", "idle_test", "__tests__", "testdata", "site-packages"})
_TEST = re.compile(r"^test_|[._](?:test|spec)\.")
_LARGEST = 1_000_000  # bytes


def recall(planted: Sequence[Planted]) -> dict[str, tuple[int, list[Planted]]]:
    """By kind: how many were planted, and which came through, read as the index reads files."""
    counts: Counter[str] = Counter()
    missed: dict[str, list[Planted]] = {}
    for one in planted:
        text = read_text(one.text.encode())
        counts[one.kind] += 1
        if came_through(one, None if isinstance(text, Refusal) else text):
            missed.setdefault(one.kind, []).append(one)
    return {kind: (count, missed.get(kind, [])) for kind, count in counts.items()}


def sources(folders: Sequence[Path]) -> Iterator[Path]:
    """Source files below some folders, less tests, whose keys are made up but look as real ones do."""
    for top in folders:
        for folder, inside, names in os.walk(top):
            inside[:] = sorted(name for name in inside if name not in _LEFT_OUT)
            for name in sorted(names):
                if _SUFFIXES.search(name) and not _TEST.search(name):
                    yield Path(folder, name)


def taken(files: Iterator[Path]) -> tuple[int, list[tuple[Path, Secret]]]:
    """How many files there are, and in which something was taken for a secret."""
    count, found = 0, []
    for file in files:
        if file.stat().st_size <= _LARGEST:
            count += 1
            secrets = secrets_in(file.read_text(encoding="utf-8", errors="replace"))
            found += [(file, secrets[0])] if secrets else []
    return count, found
