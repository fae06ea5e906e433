"""What the index keeps, in SQLite: files with their text, definitions, and the names that each piece of code uses.

One process writes; any number read at the same time (WAL). The same tables in memory hold what the editor has open.
A file is replaced as a whole within one transaction: a reader, or a restart after a crash, never sees half of it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from indexer.analysis import Analysis
from indexer.chunks import Chunk
from indexer.paths import folder_of, module_of, packages_of, subject_of
from indexer.symbols import Symbol

K = TypeVar("K")
V = TypeVar("V")

SCHEMA = 2
"""A new number for every change of the tables, or of what they are filled with: the file's name has it."""
_TABLES = """
CREATE TABLE IF NOT EXISTS files(
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, family TEXT NOT NULL, folder TEXT NOT NULL,
    module TEXT NOT NULL, package TEXT NOT NULL, subject TEXT NOT NULL, modified INTEGER NOT NULL,
    size INTEGER NOT NULL, hash BLOB NOT NULL, refusal TEXT, text BLOB);
CREATE INDEX IF NOT EXISTS files_by_folder ON files(folder);
CREATE INDEX IF NOT EXISTS files_by_module ON files(module);
CREATE INDEX IF NOT EXISTS files_by_subject ON files(subject);
CREATE TABLE IF NOT EXISTS symbols(
    file INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, container TEXT NOT NULL,
    first INTEGER NOT NULL, head INTEGER NOT NULL, last INTEGER NOT NULL, documentation INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS symbols_by_name ON symbols(name);
CREATE INDEX IF NOT EXISTS symbols_by_file ON symbols(file);
CREATE TABLE IF NOT EXISTS chunks(
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_file ON chunks(file);
CREATE VIRTUAL TABLE IF NOT EXISTS names USING fts5(
    words, detail = none, tokenize = "unicode61 remove_diacritics 0 tokenchars '_$'");
CREATE TABLE IF NOT EXISTS frequencies(name TEXT PRIMARY KEY, chunks INTEGER NOT NULL) WITHOUT ROWID;
"""
_CACHE = 8_000  # kilobytes of pages
_MOST_PATHS = 50_000
_MOST_COMMON = 400  # definitions of names that many files define
_TEXTS = 64  # files whose text is remembered until something changes
_ANSWERS = 512  # lists of definitions and pieces of single files, likewise
_WAIT = 5_000  # milliseconds for another process to finish its transaction


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells whether a file on disk is the one that was read."""

    modified: int
    """Nanoseconds."""
    size: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A definition, and the file that it stands in."""

    path: str
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk, and the file that it stands in."""

    path: str
    chunk: Chunk


class Store:
    """An open database. Errors of SQLite are raised as they are: what to do about them depends on who asks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counted: Counter[str] = Counter()  # what a transaction changes of how many chunks use a name
        self._frequencies: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._definitions: OrderedDict[tuple[str, str | None], list[Place]] = OrderedDict()
        self._pieces: OrderedDict[str, list[Piece]] = OrderedDict()
        self._version = -1

    @classmethod
    def in_memory(cls) -> Store:
        """Make an empty store that no other process sees."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(_TABLES)
        return cls(connection)

    @classmethod
    def writable(cls, file: Path) -> Store:
        """Open a store to write to it; made if it is not there."""
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, isolation_level=None, timeout=_WAIT / 1e3)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{4 * _CACHE}")
            connection.executescript(_TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    def readable(cls, file: Path) -> Store:
        """Open a store that another process writes to. Raises sqlite3.Error where there is none yet."""
        connection = sqlite3.connect(
            f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        connection.execute("PRAGMA query_only = ON")
        return cls(connection)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing of what is written inside."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.executemany(
                "INSERT INTO frequencies VALUES (?, ?) "
                "ON CONFLICT(name) DO UPDATE SET chunks = chunks + excluded.chunks",
                self._counted.items(),
            )
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._counted.clear()
        self._connection.execute("COMMIT")

    def put(self, path: str, state: FileState, content: Analysis | str) -> None:
        """Keep a file: its analysis, or the reason why it has none."""
        self.remove([path])
        analysis = content if isinstance(content, Analysis) else None
        text = zlib.compress(analysis.text.encode("utf-8", "replace"), 1) if analysis is not None else None
        file = self._connection.execute(
            "INSERT INTO files(path, family, folder, module, package, subject, modified, size, hash, refusal, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                path,
                analysis.family if analysis is not None else "",
                folder_of(path),
                module_of(path),
                packages_of(path)[-1] if packages_of(path) else "",
                subject_of(path),
                state.modified,
                state.size,
                state.hash,
                content if isinstance(content, str) else None,
                text,
            ),
        ).lastrowid
        if analysis is None:
            return
        self._connection.executemany(
            "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (file, one.name, one.kind, one.container, one.first, one.head, one.last, one.documentation)
                for one in analysis.outline.symbols
            ],
        )
        for chunk in analysis.chunks:
            row = self._connection.execute(
                "INSERT INTO chunks(file, first, last) VALUES (?, ?, ?)", (file, chunk.first, chunk.last)
            ).lastrowid
            self._connection.execute(
                "INSERT INTO names(rowid, words) VALUES (?, ?)", (row, " ".join(sorted(chunk.names)))
            )
            self._counted.update({name.lower() for name in chunk.names})

    def touch(self, path: str, state: FileState) -> None:
        """Note that a file has a new date but its old content."""
        self._connection.execute(
            "UPDATE files SET modified = ?, size = ? WHERE path = ?", (state.modified, state.size, path)
        )

    def remove(self, paths: Iterable[str]) -> None:
        """Forget files; those that are not there do not matter."""
        for path in paths:
            self._forget()
            row = self._connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
            if row is None:
                continue
            inside = "rowid IN (SELECT id FROM chunks WHERE file = ?)"
            for (words,) in self._connection.execute(f"SELECT words FROM names WHERE {inside}", row):
                self._counted.subtract(set(words.lower().split()))
            self._connection.execute(f"DELETE FROM names WHERE {inside}", row)
            for table in ("chunks", "symbols"):
                self._connection.execute(f"DELETE FROM {table} WHERE file = ?", row)
            self._connection.execute("DELETE FROM files WHERE id = ?", row)

    def states(self) -> dict[str, FileState]:
        """Every file that is known, refused ones too."""
        rows = self._connection.execute("SELECT path, modified, size, hash FROM files")
        return {path: FileState(modified, size, hash_) for path, modified, size, hash_ in rows}

    def counts(self) -> tuple[int, int, int]:
        """How many files are kept, how many are refused by what they contain, and how many definitions there are."""
        kept, refused = self._connection.execute("SELECT count(text), count(refusal) FROM files").fetchone()
        return kept, refused, self._connection.execute("SELECT count(*) FROM symbols").fetchone()[0]

    def version(self) -> int:
        """A number that changes whenever another process has written. Asking for it is what notices that."""
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:
            self._version = version
            self._forget()
        return version

    def _forget(self) -> None:
        """Forget what depends on single files; how often names stand in all of them changes slowly."""
        for remembered in (self._texts, self._definitions, self._pieces, self._counts):
            remembered.clear()

    def refusal(self, path: str) -> str | None:
        """Why a file's content is not used; None where it is, or where the file is not known."""
        row = self._connection.execute("SELECT refusal FROM files WHERE path = ?", (path,)).fetchone()
        return row[0] if row is not None else None

    def has(self, path: str) -> bool:
        """Whether a file's content is used."""
        row = self._connection.execute("SELECT text IS NOT NULL FROM files WHERE path = ?", (path,)).fetchone()
        return row is not None and bool(row[0])

    def text(self, path: str) -> str | None:
        """A file's text as it was read; None where it is not kept."""
        text = self._texts.get(path)
        if text is None:
            row = self._connection.execute("SELECT text FROM files WHERE path = ?", (path,)).fetchone()
            if row is None or row[0] is None:
                return None
            text = zlib.decompress(row[0]).decode("utf-8", "replace")
        return _remember(self._texts, path, text, _TEXTS)

    def paths(self, family: str, **where: Collection[str]) -> list[str]:
        """Files of a family, in order; `folder`, `module` or `subject` of one of these only (see `paths.py`)."""
        conditions, values = ["family = ?"], [family]
        for column, wanted in where.items():
            conditions.append(f"{column} IN ({_marks(wanted)})")
            values += wanted
        query = f"SELECT path FROM files WHERE {' AND '.join(conditions)} ORDER BY path LIMIT ?"
        return [path for (path,) in self._connection.execute(query, (*values, _MOST_PATHS))]

    def definitions(
        self, names: Collection[str], family: str, most: int, imported: Collection[str] = ()
    ) -> list[Place]:
        """Definitions of some names in files of a family.

        Of a name with more than `most` of them, none unless it is among the words of import statements, `imported`, and
        then those in files whose module or package is named there, too.
        """
        self.version()  # a question begins with this one: what has changed is noticed before anything is remembered
        if new := [name for name in names if name not in self._counts]:
            query = f"SELECT name, count(*) FROM symbols WHERE name IN ({_marks(new)}) GROUP BY name"
            self._counts |= dict.fromkeys(new, 0) | dict(self._connection.execute(query, new))
        rare = [name for name in names if 0 < self._counts[name] <= most]
        found = self._places(f"s.name IN ({_marks(rare)}) AND f.family = ?", (*rare, family)) if rare else []
        common = [name for name in names if self._counts[name] > most and name in imported]
        if common:
            marks = _marks(imported)
            where = f"s.name IN ({_marks(common)}) AND f.family = ?"
            where += f" AND (f.module IN ({marks}) OR f.package IN ({marks})) LIMIT ?"
            found += self._places(where, (*common, family, *imported, *imported, _MOST_COMMON))
        return found

    def definitions_in(self, path: str, container: str | None = None) -> list[Place]:
        """All definitions of a file, in order; or those of one of its types or, for "", at its top."""
        found = self._definitions.get((path, container))
        if found is None:
            inside, values = ("", (path,)) if container is None else (" AND s.container = ?", (path, container))
            found = self._places(f"f.path = ?{inside} ORDER BY s.first", values)
        return _remember(self._definitions, (path, container), found, _ANSWERS)

    def _places(self, where: str, values: tuple[object, ...]) -> list[Place]:
        rows = self._connection.execute(
            "SELECT f.path, s.name, s.kind, s.container, s.first, s.head, s.last, s.documentation "
            f"FROM symbols s JOIN files f ON f.id = s.file WHERE {where}",
            values,
        )
        return [Place(path, Symbol(*values)) for path, *values in rows]

    def frequencies(self, names: Collection[str]) -> list[int]:
        """In how many chunks each name stands, in any case of its letters. Remembered, as it changes slowly."""
        folded = [name.lower() for name in names]
        if new := [name for name in dict.fromkeys(folded) if name not in self._frequencies]:
            query = f"SELECT name, chunks FROM frequencies WHERE name IN ({_marks(new)})"
            self._frequencies |= dict.fromkeys(new, 0) | dict(self._connection.execute(query, new))
        return [self._frequencies[name] for name in folded]

    def pieces_with(self, names: Collection[str], family: str, most: int) -> list[Piece]:
        """Chunks that use any of these names, the best by BM25 first, at most `most`."""
        query = " OR ".join('"' + name.replace('"', "") + '"' for name in names)
        rows = self._connection.execute(
            "SELECT f.path, c.first, c.last, n.words FROM "
            "(SELECT rowid, words FROM names WHERE names MATCH ? ORDER BY rank LIMIT ?) n "
            "JOIN chunks c ON c.id = n.rowid JOIN files f ON f.id = c.file WHERE f.family = ?",
            (query, 2 * most, family),
        )
        found = [Piece(path, Chunk(first, last, frozenset(text.split()))) for path, first, last, text in rows]
        return found[:most]

    def pieces_of(self, path: str) -> list[Piece]:
        """All chunks of a file, in order."""
        found = self._pieces.get(path)
        if found is None:
            rows = self._connection.execute(
                "SELECT c.first, c.last, n.words FROM files f "
                "JOIN chunks c ON c.file = f.id JOIN names n ON n.rowid = c.id WHERE f.path = ? ORDER BY c.first",
                (path,),
            )
            found = [Piece(path, Chunk(first, last, frozenset(text.split()))) for first, last, text in rows]
        return _remember(self._pieces, path, found, _ANSWERS)


def _remember(memory: OrderedDict[K, V], key: K, value: V, most: int) -> V:
    """Note what was asked for last; what was not asked for longest is forgotten."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
    return value


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
