"""The index's file, damaged before a server starts and while it runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from evaluation.robustness.faults.session import (
    answers,
    indexed,
    session,
)
from evaluation.robustness.surroundings import database
from indexer import index_now


async def damaged_at_start(damage: Callable[[Path], object], place: Path) -> None:
    root = place / "project"
    root.mkdir()
    (root / "ok.py").write_text("def ok():\n    return 1\n")
    index = database(root, place / "cache")
    index_now(root, index, lambda message: None)
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(index)
    async with session(place) as (_, client, root):
        await indexed(client, 1)
        (root / "late.py").write_text("def late():\n    return 1\n")
        await indexed(client, 2)


async def damaged_while_running(damage: Callable[[Path], object], place: Path) -> None:
    async with session(place) as (_, client, root):
        await indexed(client, 1)
        damage(database(root, place / "cache"))
        await answers(client, root)
        (root / "late.py").write_text("def late():\n    return 1\n")
        await indexed(client, 2)


def _remove_cache(index: Path) -> None:
    shutil.rmtree(index.parents[2])


def _overwrite(start: int, data: bytes, index: Path) -> None:
    with index.open("r+b") as file:
        file.seek(start)
        file.write(data)


def _execute(statement: str, index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(statement)


def _replaced(make: Callable[[Path], object], index: Path) -> None:
    index.unlink()
    make(index)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "no database": lambda index: index.write_bytes(b"something else" * 1000),
    "a folder": partial(_replaced, lambda path: (path / "x").mkdir(parents=True)),
    "a pipe": partial(_replaced, os.mkfifo),
    "no bytes": lambda index: index.write_bytes(b""),
    "half of it": lambda index: os.truncate(index, index.stat().st_size // 2),
    "one page": lambda index: os.truncate(index, 4096),
    "noise in its pages": lambda index: _overwrite(4096, os.urandom(max(index.stat().st_size - 8192, 4096)), index),
    "a table too few": partial(_execute, "DROP TABLE frequencies"),
    "another version": partial(_execute, "PRAGMA user_version = 7"),
}
DAMAGED_UNSEEN: dict[str, Callable[[Path], object]] = {
    "removed": lambda index: index.unlink(),
    "cache folder removed": _remove_cache,
    "half of it": lambda index: os.truncate(index, index.stat().st_size // 2),
    "noise in its pages": DAMAGED["noise in its pages"],
}
