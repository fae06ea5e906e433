"""Opening and checking the SQLite file of an index. What was never written to it raises Damaged."""

from __future__ import annotations

import errno
import functools
import sqlite3
import stat
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from indexer.store.schema import TABLES, VERSION

_CACHE = 8_000  # kilobytes of pages that a reader keeps; the writer keeps four times as many
_WAIT = 5_000  # milliseconds for another process to finish its transaction
_SCHEMA = "SELECT name, sql FROM sqlite_master WHERE name <> 'sqlite_sequence'"
_TYPES = {
    "files": dict.fromkeys(("path", "family", "folder", "module", "package", "subject"), "text")
    | dict.fromkeys(("modified", "size"), "integer")
    | {"hash": "blob"},
    "symbols": dict.fromkeys(("name", "kind", "container"), "text")
    | dict.fromkeys(("first", "head", "last", "documentation"), "integer"),
    "chunks": dict.fromkeys(("file", "first", "last"), "integer") | {"words": "text"},
}
"""The types of the columns, which `check` asserts: SQLite itself keeps any value in any column."""


class Damaged(sqlite3.DatabaseError):
    """The index holds values that were never written to it. One handler takes it with SQLite's other errors."""


class _Connection(sqlite3.Connection):
    """A connection that raises errors of SQLite only: a message that quotes a damaged schema may not be UTF-8."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except UnicodeDecodeError as error:
            raise Damaged("its schema is not UTF-8") from error

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().executemany(*arguments)
        except UnicodeDecodeError as error:
            raise Damaged("its schema is not UTF-8") from error


def memory() -> sqlite3.Connection:
    """Make empty tables that no other process sees."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(TABLES)
    return connection


def writable(file: Path, *, make: bool) -> sqlite3.Connection:
    """Open a database to write to it; with `make`, make it where it is missing.

    Raises sqlite3.Error; Damaged where the file is something else.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    check_regular(file)
    connection = sqlite3.connect(file, isolation_level=None, timeout=_WAIT / 1e3, factory=_Connection)
    try:
        if make and connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA cache_size = -{4 * _CACHE}")
        _check_version(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def readable(file: Path) -> sqlite3.Connection:
    """Open a database that another process writes to. Raises sqlite3.Error where it is missing, or another one."""
    check_regular(file)
    connection = sqlite3.connect(
        f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, factory=_Connection
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        connection.execute("PRAGMA query_only = ON")
        _check_version(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def check(connection: sqlite3.Connection) -> None:
    """Read everything. Raises Damaged, or another sqlite3.Error, where it is not as it was written."""
    (first,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if first != "ok":
        raise Damaged(first)
    for table, columns in _TYPES.items():
        wrong = " OR ".join(f"typeof({column}) <> '{kind}'" for column, kind in columns.items())
        if connection.execute(f"SELECT 1 FROM {table} WHERE {wrong}").fetchone() is not None:
            raise Damaged(f"the table {table} holds values of a wrong type")
        for _ in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
            pass  # which raises an error for a text that is not UTF-8
    for (block,) in connection.execute("SELECT lines FROM texts"):
        unpacked(block)
    connection.execute("INSERT INTO names(names) VALUES ('integrity-check')")


def check_regular(file: Path) -> None:
    """Refuse a file that SQLite would wait for, such as a pipe. Raises Damaged; a missing file is accepted."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Damaged("it is a link to itself") from error
        return
    if not stat.S_ISREG(mode):
        raise Damaged("it is no file")


def unpacked(block: object) -> str:
    """The lines of a block of the table `texts`. Raises Damaged."""
    try:
        return zlib.decompress(block).decode("utf-8", "replace")  # type: ignore[arg-type]
    except (zlib.error, TypeError) as error:
        raise Damaged(f"a text in it cannot be unpacked: {error}") from error


def split(words: object) -> list[str]:
    """The names in the column `words` of the table `chunks`. Raises Damaged."""
    if not isinstance(words, str):
        raise Damaged("the names of a chunk are no text")
    return words.split()


def _check_version(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != VERSION or set(connection.execute(_SCHEMA)) != _schema():
        raise Damaged("its tables are not those of this version")


@functools.cache
def _schema() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return set(connection.execute(_SCHEMA))
