"""The SQLite file of events: its tables, and the one transaction that adds a batch. Several servers write to it.

`answers` has a row for each answer, of which the oldest are dropped once there are a million (68 MB, with the sums of
a year). `days`, `latencies` and `typed` hold sums by day, added to in the same transaction: `mellum-lsp stats` reads
these few rows, and they stay when their answers are dropped.

Write-ahead logging with `synchronous = NORMAL`: a killed process loses what it had not written yet, and no more; a
system that loses its power, perhaps the last transactions. Neither damages the file. Other programs may: SQLite would
go on writing to the log beside it, and would lose that with the file. So it is looked at where its time has changed.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lsp_server.statistics.events import STEPS, TAKEN, Answer, Event, Kept, Typed, When

VERSION = 1
"""SQLite's `user_version`; raise it for every change of the tables."""
MOST_ANSWERS = 1_000_000
_PRUNE_EVERY = 5_000  # answers
_BUSY = 10.0  # seconds to wait for the other servers
_REMEMBERED = 2_000  # numbers of accepted suggestions whose text may still be looked at
_TABLES = f"""
CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE answers(
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, language INTEGER NOT NULL, model INTEGER NOT NULL,
    outcome INTEGER NOT NULL, reason INTEGER, place INTEGER, explicit INTEGER NOT NULL, probability INTEGER,
    characters INTEGER, lines INTEGER, taken INTEGER, accepted INTEGER, finished INTEGER, on_screen INTEGER,
    since_key INTEGER, total INTEGER NOT NULL, {", ".join(f"{step} INTEGER" for step in STEPS)},
    kept_soon INTEGER, kept_later INTEGER, kept_saved INTEGER);
CREATE TABLE days(
    day INTEGER NOT NULL, language INTEGER NOT NULL, model INTEGER NOT NULL, outcome INTEGER NOT NULL,
    reason INTEGER NOT NULL, answers INTEGER NOT NULL, characters INTEGER NOT NULL, accepted INTEGER NOT NULL,
    taken INTEGER NOT NULL, on_screen INTEGER NOT NULL,
    soon_of INTEGER NOT NULL DEFAULT 0, soon INTEGER NOT NULL DEFAULT 0,
    later_of INTEGER NOT NULL DEFAULT 0, later INTEGER NOT NULL DEFAULT 0,
    saved_of INTEGER NOT NULL DEFAULT 0, saved INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(day, language, model, outcome, reason)) WITHOUT ROWID;
CREATE TABLE latencies(
    day INTEGER NOT NULL, language INTEGER NOT NULL, model INTEGER NOT NULL, step INTEGER NOT NULL,
    bucket INTEGER NOT NULL, answers INTEGER NOT NULL,
    PRIMARY KEY(day, language, model, step, bucket)) WITHOUT ROWID;
CREATE TABLE typed(
    day INTEGER NOT NULL, language INTEGER NOT NULL, model INTEGER NOT NULL, characters INTEGER NOT NULL,
    PRIMARY KEY(day, language, model)) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
_ADD_ANSWER = f"""
INSERT INTO answers(at, language, model, outcome, reason, place, explicit, probability, characters, lines, taken,
    accepted, finished, on_screen, since_key, total, {", ".join(STEPS)})
VALUES ({", ".join("?" * (16 + len(STEPS)))})"""
_ADD_DAY = """
INSERT INTO days(day, language, model, outcome, reason, answers, characters, accepted, taken, on_screen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET answers = answers + excluded.answers, characters = characters + excluded.characters,
    accepted = accepted + excluded.accepted, taken = taken + excluded.taken,
    on_screen = on_screen + excluded.on_screen"""
_ADD_LATENCY = """
INSERT INTO latencies(day, language, model, step, bucket, answers) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET answers = answers + excluded.answers"""
_ADD_TYPED = """
INSERT INTO typed(day, language, model, characters) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET characters = characters + excluded.characters"""
_COLUMNS = {When.SOON: "soon", When.LATER: "later", When.SAVED: "saved"}
BUCKETS_AN_OCTAVE = 8
"""Latencies are counted in steps of 9%."""


class NewerFile(Exception):
    """The file was written by a later version; the text is a sentence."""


class Damaged(sqlite3.DatabaseError):
    """Parts of the file do not belong together."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@dataclass(frozen=True, slots=True)
class _Written:
    """Where an accepted suggestion was written."""

    row: int
    day: tuple[int, int, int, int, int]
    accepted: int


class Store:
    """An open file of events. Used by one thread."""

    def __init__(self, file: Path, *, most_answers: int = MOST_ANSWERS) -> None:
        """Open the file, and make it where there is none. Raises sqlite3.Error, OSError and NewerFile."""
        self._file, self._most_answers = file, most_answers
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            with contextlib.suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._identity = identity(file)
        self._database = sqlite3.connect(file, timeout=_BUSY, isolation_level=None)
        try:
            check_version(self._database, file)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("PRAGMA secure_delete = ON")
            with self._transaction():
                _make_tables(self._database, file)
        except BaseException:
            self._database.close()
            raise
        self._seen = _changed_at(file)
        self._names: dict[str, int] = {}
        self._others = -1
        self._written: dict[int, _Written] = {}
        self._until_pruning = 0

    @property
    def is_gone(self) -> bool:
        """Whether the file was removed or replaced by another one."""
        return identity(self._file) != self._identity

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, to read from."""
        return self._database

    def add(self, events: Sequence[Event]) -> None:
        """Write a batch in one transaction: all of it or nothing.

        Raises sqlite3.Error, also where another program has damaged the file: then the batch is lost with it.
        """
        names, written = dict(self._names), dict(self._written)
        try:
            with self._transaction():
                [others] = self._database.execute("PRAGMA data_version").fetchone()
                if others != self._others:  # another process has written: it may have removed all names
                    self._names, self._others = {}, others
                self._add_answers([event for event in events if isinstance(event, Answer)])
                self._add_kept(event for event in events if isinstance(event, Kept))
                self._add_typed(event for event in events if isinstance(event, Typed))
                if self._until_pruning <= 0:
                    self._prune()
        except BaseException:
            self._names, self._written = names, written
            raise
        for number in list(self._written)[:-_REMEMBERED]:
            del self._written[number]
        if (now := _changed_at(self._file)) != self._seen:  # by a checkpoint, or by another program
            with contextlib.suppress(sqlite3.OperationalError):  # cannot be read now: the next batch looks again
                self._check()
                self._seen = now

    def purge(self) -> None:
        """Remove all events, and give their space back to the disk."""
        with self._transaction():
            for table in ("answers", "days", "latencies", "typed", "names"):
                self._database.execute(f"DELETE FROM {table}")
        self._names, self._written = {}, {}
        with contextlib.suppress(sqlite3.OperationalError):  # a server reads just now: the space is used again later
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    def _check(self) -> None:
        """Have SQLite read the whole file: a millisecond for 200 kB. Raises sqlite3.DatabaseError where it is damaged.

        By a connection of its own, as this one may have the pages from before.
        """
        try:
            with reading(self._file) as fresh:
                [found] = fresh.execute("PRAGMA quick_check(1)").fetchone()
        except FileNotFoundError:
            found = "ok" if self.is_gone else "it was emptied"
        if found != "ok":
            raise Damaged(found)

    def _add_answers(self, answers: Sequence[Answer]) -> None:
        days: dict[tuple[int, ...], list[int]] = {}
        latencies: Counter[tuple[int, ...]] = Counter()
        for answer in answers:
            language, model = self._id(answer.language), self._id(answer.model)
            day, reason = _day(answer.at), self._id(answer.reason)
            steps = [_milliseconds(answer.seconds.get(step)) for step in STEPS]
            row = self._database.execute(
                _ADD_ANSWER,
                (
                    int(answer.at), language, model, self._id(answer.outcome), reason if answer.reason else None,
                    self._id(answer.place) if answer.place else None, answer.is_explicit,
                    round(1000 * answer.probability), answer.characters, answer.lines, answer.taken, answer.accepted,
                    answer.is_finished, _milliseconds(answer.on_screen), _milliseconds(answer.since_key),
                    _milliseconds(answer.total), *steps,
                ),
            ).lastrowid  # fmt: skip
            key = day, language, model, self._id(answer.outcome), reason
            if answer.outcome in TAKEN and row is not None:
                self._written[answer.number] = _Written(row, key, answer.accepted)
            sums = (1, answer.characters, answer.accepted, answer.taken, _milliseconds(answer.on_screen) or 0)
            days[key] = [one + more for one, more in zip(days.get(key, [0] * 5), sums, strict=True)]
            for step, seconds in {"total": answer.total, **answer.seconds}.items():
                if step == "total" or step in STEPS:
                    latencies[day, language, model, self._id(step), bucket_of(seconds)] += 1
        self._database.executemany(_ADD_DAY, [(*key, *sums) for key, sums in days.items()])
        self._database.executemany(_ADD_LATENCY, [(*key, count) for key, count in latencies.items()])
        self._until_pruning -= len(answers)

    def _add_kept(self, events: Iterable[Kept]) -> None:
        for kept in events:
            if (written := self._written.get(kept.number)) is None:
                continue
            column = _COLUMNS[kept.when]
            done = self._database.execute(
                f"UPDATE answers SET kept_{column} = ? WHERE id = ? AND kept_{column} IS NULL",
                (round(1000 * kept.share), written.row),
            )
            if done.rowcount:
                self._database.execute(
                    f"UPDATE days SET {column}_of = {column}_of + ?, {column} = {column} + ? "
                    "WHERE day = ? AND language = ? AND model = ? AND outcome = ? AND reason = ?",
                    (written.accepted, round(written.accepted * kept.share), *written.day),
                )

    def _add_typed(self, events: Iterable[Typed]) -> None:
        typed: Counter[tuple[int, ...]] = Counter()
        for event in events:
            typed[_day(event.at), self._id(event.language), self._id(event.model)] += event.characters
        self._database.executemany(_ADD_TYPED, [(*key, count) for key, count in typed.items()])

    def _id(self, name: str) -> int:
        if (found := self._names.get(name)) is None:
            self._database.execute("INSERT OR IGNORE INTO names(name) VALUES (?)", (name,))
            [found] = self._database.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
            self._names[name] = found
        return found

    def _prune(self) -> None:
        self._until_pruning = _PRUNE_EVERY
        last = self._database.execute("SELECT max(id) FROM answers").fetchone()[0] or 0
        self._database.execute("DELETE FROM answers WHERE id <= ?", (last - self._most_answers,))


def identity(file: Path) -> tuple[int, int] | None:
    """Device and inode, by which a file differs from a later one of its name; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _changed_at(file: Path) -> tuple[int, int] | None:
    """When the file was changed, and its size; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the file to read. Raises sqlite3.Error, NewerFile, and FileNotFoundError, also where it has no tables."""
    if not file.exists():
        raise FileNotFoundError(file)
    database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY)
    try:
        if check_version(database, file) == 0:  # the process that made the file was killed, or had no space left
            raise FileNotFoundError(file)
        yield database
    finally:
        database.close()


def names_of(database: sqlite3.Connection) -> Mapping[int, str]:
    """The names by their numbers in the other tables."""
    return dict(database.execute("SELECT id, name FROM names"))


def bucket_of(seconds: float) -> int:
    """The bucket in which a latency is counted; 0 holds everything below a millisecond."""
    return max(0, round(BUCKETS_AN_OCTAVE * math.log2(max(1000 * seconds, 1.0))))


def seconds_of(bucket: int) -> float:
    """The middle of a bucket."""
    return float(2 ** (bucket / BUCKETS_AN_OCTAVE)) / 1000


def _make_tables(database: sqlite3.Connection, file: Path) -> None:
    """Make the tables where there are none. Raises NewerFile."""
    if check_version(database, file) == 0:
        for statement in _TABLES.split(";"):
            database.execute(statement)


def check_version(database: sqlite3.Connection, file: Path) -> int:
    """The version of the file's tables, 0 for none. Raises NewerFile."""
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise NewerFile(f"{file} was written by a newer version of mellum-lsp; upgrade this one, or remove the file")
    return int(version)


def _day(at: float) -> int:
    """The day as the user's clock has it: days since 1970."""
    return int((at + time.localtime(at).tm_gmtoff) // 86400)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)
