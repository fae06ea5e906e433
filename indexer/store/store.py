"""What the index keeps, in SQLite: files with their text, definitions, and the names that each piece of code uses.

What is read together lies together: a file's definitions, its pieces with their names, its text in blocks of lines, of
which a snippet needs one or two. A file that has changed gets a new number, so what was read of a number stays true.
One process writes; any number read at the same time (WAL). The same tables in memory hold what the editor has open.
A file is replaced as a whole within one transaction: a reader, or a restart after a crash, never sees half of it. What
cannot be what was written raises Damaged, which is one of SQLite's errors.
"""

from __future__ import annotations

import errno
import functools
import json
import sqlite3
import stat
import zlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from indexer.files.paths import folder_of, module_of, packages_of, subject_of
from indexer.parsing.analysis import Analysis
from indexer.parsing.chunks import Chunk
from indexer.parsing.symbols import Symbol
from indexer.store.schema import TABLES, VERSION

K = TypeVar("K")
V = TypeVar("V")

_CACHE = 8_000  # kilobytes of pages
_MOST_PATHS = 50_000
_MOST_COMMON = 400  # definitions of names that many files define
_BLOCK = 128  # lines that are compressed together: a quarter of a file more than all of them, and read in 0.03 ms
_EACH = 1 << 20  # more than a file has of anything: its block or definition `n` has the number `file * _EACH + n`
_TEXTS = 512  # blocks of text that are remembered
_ANSWERS = 512  # lists of definitions and pieces of single files, likewise
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
"""What is in them, where it is what was written: SQLite itself keeps any value in any column."""


class FileState(NamedTuple):
    """What tells whether a file on disk is the one that was read."""

    modified: int
    """Nanoseconds."""
    size: int
    hash: bytes


class Place(NamedTuple):
    """A definition, and the file that it stands in."""

    path: str
    symbol: Symbol


class Piece(NamedTuple):
    """A chunk, and the file that it stands in."""

    path: str
    chunk: Chunk


class Damaged(sqlite3.DatabaseError):
    """The index holds what was never written to it."""


class _Connection(sqlite3.Connection):
    """A connection whose errors are all errors of SQLite: what quotes a damaged schema is not even UTF-8."""

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


class Store:
    """An open database. Errors of SQLite are raised as they are: what to do about them depends on who asks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counted: Counter[str] = Counter()  # what a transaction changes of how many chunks use a name
        self._frequencies: dict[str, int] = {}
        self._counts: dict[int, dict[str, int]] = {}  # of definitions of a name, as far as was asked
        self._ids: dict[str, int | None] = {}
        self._texts: OrderedDict[int, list[str]] = OrderedDict()
        self._definitions: OrderedDict[tuple[int, str | None], list[Place]] = OrderedDict()
        self._pieces: OrderedDict[int, list[Piece]] = OrderedDict()
        self._version = -1
        self._has_remains = False

    @classmethod
    def in_memory(cls) -> Store:
        """Make an empty store that no other process sees."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(TABLES)
        return cls(connection)

    @classmethod
    def writable(cls, file: Path, *, make: bool = True) -> Store:
        """Open a store to write to it; with `make`, made if it is not there.

        Raises sqlite3.Error; Damaged for something else.
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
        return cls(connection)

    @classmethod
    def readable(cls, file: Path) -> Store:
        """Open a store that another process writes to. Raises sqlite3.Error where there is none, or it is another."""
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
        return cls(connection)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def check(self) -> None:
        """Read everything. Raises Damaged, or another sqlite3.Error, where it is not as it was written."""
        (first,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if first != "ok":
            raise Damaged(first)
        for table, columns in _TYPES.items():
            wrong = " OR ".join(f"typeof({column}) <> '{kind}'" for column, kind in columns.items())
            if self._connection.execute(f"SELECT 1 FROM {table} WHERE {wrong}").fetchone() is not None:
                raise Damaged(f"the table {table} holds values of a wrong type")
            for _ in self._connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                pass  # which raises an error for a text that is not UTF-8
        for (block,) in self._connection.execute("SELECT lines FROM texts"):
            _unpacked(block)
        self._connection.execute("INSERT INTO names(names) VALUES ('integrity-check')")

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
            self._forget()
            for remembered in (self._texts, self._definitions, self._pieces):
                remembered.clear()  # the numbers of what is undone are given again
            raise
        finally:
            self._counted.clear()
        self._connection.execute("COMMIT")

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Answer all that is asked inside from one moment: what another process writes meanwhile is seen afterwards."""
        self._connection.execute("BEGIN")
        try:
            self.version()  # what has changed is noticed before anything is remembered
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def put(self, path: str, state: FileState, content: Analysis | str) -> None:
        """Keep a file: its analysis, or the reason why it has none."""
        analysis = content if isinstance(content, Analysis) else None
        self._remove(path, for_good=analysis is None)
        file = self._connection.execute(
            "INSERT INTO files(path, family, folder, module, package, subject, modified, size, hash, refusal) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            ),
        ).lastrowid
        if analysis is None or file is None:
            return
        lines = analysis.text.split("\n")
        blocks = ("\n".join(lines[at : at + _BLOCK]) for at in range(0, len(lines), _BLOCK))
        self._connection.executemany(
            "INSERT INTO texts VALUES (?, ?)",
            [
                (file * _EACH + number, zlib.compress(block.encode("utf-8", "replace"), 1))
                for number, block in enumerate(blocks)
            ],
        )
        self._connection.executemany(
            "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(file * _EACH + number, *symbol) for number, symbol in enumerate(analysis.outline.symbols)],
        )
        self._connection.executemany(
            "INSERT INTO chunks(file, first, last, words) VALUES (?, ?, ?, ?)",
            [(file, chunk.first, chunk.last, " ".join(sorted(chunk.names))) for chunk in analysis.chunks],
        )
        self._connection.execute("INSERT INTO names(rowid, words) SELECT id, words FROM chunks WHERE file = ?", (file,))
        for chunk in analysis.chunks:
            self._counted.update(chunk.names)

    def touch(self, path: str, state: FileState) -> None:
        """Note that a file has a new date but its old content."""
        self._connection.execute(
            "UPDATE files SET modified = ?, size = ? WHERE path = ?", (state.modified, state.size, path)
        )

    def remove(self, paths: Iterable[str]) -> None:
        """Forget files; those that are not there do not matter. `wipe` removes what is left of them in the file."""
        for path in paths:
            self._remove(path, for_good=True)

    def wipe(self) -> None:
        """Leave nothing in the file of what was removed since, or had to be left out: it may have become private.

        The names would stay in the full-text index and in the table of frequencies, and all of it in the log. Takes a
        tenth of a second a thousand files, and nothing where nothing was removed. Where a reader is in the way, the
        next call does it.
        """
        if not self._has_remains:
            return
        with self.transaction():
            self._connection.execute("DELETE FROM frequencies WHERE chunks <= 0")
            self._connection.execute("INSERT INTO names(names) VALUES ('optimize')")
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._has_remains = bool(busy)

    def _remove(self, path: str, *, for_good: bool) -> None:
        self._forget()
        row = self._connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
        if row is None:
            return
        for (words,) in self._connection.execute("SELECT words FROM chunks WHERE file = ?", row):
            self._counted.subtract(_words(words))
        self._connection.execute(
            "INSERT INTO names(names, rowid, words) SELECT 'delete', id, words FROM chunks WHERE file = ?", row
        )
        self._connection.execute("DELETE FROM chunks WHERE file = ?", row)
        for table in ("symbols", "texts"):
            self._connection.execute(f"DELETE FROM {table} WHERE id >= ? AND id < ?", _range(row[0]))
        self._connection.execute("DELETE FROM files WHERE id = ?", row)
        self._has_remains |= for_good

    def states(self, paths: Collection[str] | None = None) -> dict[str, FileState]:
        """Every file that is known, or those of some that are; refused ones too."""
        where, values = ("", ()) if paths is None else (f" WHERE path IN ({_marks(paths)})", (*paths,))
        rows = self._connection.execute(f"SELECT path, modified, size, hash FROM files{where}", values)
        return {row[0]: FileState._make(row[1:]) for row in rows}

    def below(self, folder: str) -> list[str]:
        """Every file that is known below a folder."""
        query = "SELECT path FROM files WHERE path > ? AND path < ?"  # "0" follows on "/"
        return [path for (path,) in self._connection.execute(query, (f"{folder}/", f"{folder}0"))]

    def counts(self) -> tuple[int, int, int]:
        """How many files are kept, how many are refused by what they contain, and how many definitions there are."""
        kept, refused = self._connection.execute(
            "SELECT count(*) - count(refusal), count(refusal) FROM files"
        ).fetchone()
        return kept, refused, self._connection.execute("SELECT count(*) FROM symbols").fetchone()[0]

    def version(self) -> int:
        """A number that changes whenever another process has written. Asking for it is what notices that."""
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:
            self._version = version
            self._forget()
        return version

    def _forget(self) -> None:
        """Forget which files there are; how often names stand in all of them changes slowly."""
        self._ids.clear()
        self._counts.clear()

    def refusal(self, path: str) -> str | None:
        """Why a file's content is not used; None where it is, or where the file is not known."""
        row = self._connection.execute("SELECT refusal FROM files WHERE path = ?", (path,)).fetchone()
        return row[0] if row is not None else None

    def has(self, path: str) -> bool:
        """Whether a file's content is used."""
        row = self._connection.execute("SELECT refusal IS NULL FROM files WHERE path = ?", (path,)).fetchone()
        return row is not None and bool(row[0])

    def text(self, path: str) -> str | None:
        """A file's text as it was read; None where it is not kept."""
        if (file := self._id(path)) is None:
            return None
        query = "SELECT lines FROM texts WHERE id >= ? AND id < ? ORDER BY id"
        rows = self._connection.execute(query, _range(file))
        return "\n".join(_unpacked(block) for (block,) in rows)

    def lines(self, path: str, wanted: Sequence[int]) -> list[str] | None:
        """Some lines of a file's text, by their numbers from 0; None where the file is not kept, or is shorter."""
        if (file := self._id(path)) is None:
            return None
        found, number, block = [], -1, list[str]()
        for line in wanted:
            if line // _BLOCK != number:
                number = line // _BLOCK
                block = self._block(file * _EACH + number)
            if line % _BLOCK >= len(block):
                return None
            found.append(block[line % _BLOCK])
        return found

    def _block(self, number: int) -> list[str]:
        block = self._texts.get(number)
        if block is None:
            row = self._connection.execute("SELECT lines FROM texts WHERE id = ?", (number,)).fetchone()
            block = _unpacked(row[0]).split("\n") if row is not None else []
        return _remember(self._texts, number, block, _TEXTS)

    def _id(self, path: str) -> int | None:
        """The number of a file whose content is used; None where there is none."""
        if path not in self._ids:
            row = self._connection.execute(
                "SELECT id FROM files WHERE path = ? AND refusal IS NULL", (path,)
            ).fetchone()
            self._ids[path] = row[0] if row is not None else None
        return self._ids[path]

    def paths(self, family: str, **where: Collection[str]) -> list[str]:
        """Files of a family, in order; `folder`, `module` or `subject` of one of these only (see `paths.py`)."""
        conditions, values = ["family = ?"], [family]
        for column, wanted in where.items():
            conditions.append(f"{column} IN ({_marks(wanted)})")
            values += wanted
        query = f"SELECT path FROM files WHERE {' AND '.join(conditions)} ORDER BY path LIMIT ?"
        return [path for (path,) in self._connection.execute(query, (*values, _MOST_PATHS))]

    def folders(self) -> set[str]:
        """Folders that files of any family lie in."""
        return {folder for (folder,) in self._connection.execute("SELECT DISTINCT folder FROM files")}

    def definitions(
        self, names: Collection[str], family: str, most: int, imported: Collection[str] = ()
    ) -> list[Place]:
        """Definitions of some names in files of a family.

        Of a name with more than `most` of them, none unless it is among the words of import statements, `imported`, and
        then those in files whose module or package is named there, too.
        """
        self.version()  # whoever asks outside of `unchanging` begins with this one
        counts = self._counts.setdefault(most, {})
        if new := [name for name in names if name not in counts]:
            counted = "SELECT count(*) FROM (SELECT 1 FROM symbols WHERE name = value LIMIT ?)"
            query = f"SELECT value, ({counted}) FROM json_each(?)"
            counts |= dict(self._connection.execute(query, (most + 1, json.dumps(new))))
        rare = [name for name in names if 0 < counts[name] <= most]
        found = self._places(f"s.name IN ({_marks(rare)}) AND f.family = ?", (*rare, family)) if rare else []
        common = [name for name in names if counts[name] > most and name in imported]
        if common:
            marks = _marks(imported)
            where = f"s.name IN ({_marks(common)}) AND f.family = ?"
            where += f" AND (f.module IN ({marks}) OR f.package IN ({marks})) LIMIT ?"
            found += self._places(where, (*common, family, *imported, *imported, _MOST_COMMON))
        return found

    def definitions_in(self, path: str, container: str | None = None) -> list[Place]:
        """All definitions of a file, in order; or those of one of its types or, for "", at its top."""
        if (file := self._id(path)) is None:
            return []
        found = self._definitions.get((file, container))
        if found is None:
            inside, values = ("", ()) if container is None else (" AND s.container = ?", (container,))
            found = self._places(f"s.id >= ? AND s.id < ?{inside} ORDER BY s.id", (*_range(file), *values))
        return _remember(self._definitions, (file, container), found, _ANSWERS)

    def _places(self, where: str, values: tuple[object, ...]) -> list[Place]:
        rows = self._connection.execute(
            "SELECT f.path, s.name, s.kind, s.container, s.first, s.head, s.last, s.documentation "
            f"FROM symbols s CROSS JOIN files f ON f.id = s.id / {_EACH} WHERE {where}",
            values,
        )
        return [Place(row[0], Symbol._make(row[1:])) for row in rows]

    def frequencies(self, names: Collection[str]) -> list[int]:
        """In how many chunks each name stands, in any case of its letters. Remembered, as it changes slowly."""
        folded = [name.lower() for name in names]
        if new := [name for name in dict.fromkeys(folded) if name not in self._frequencies]:
            query = f"SELECT name, chunks FROM frequencies WHERE name IN ({_marks(new)})"
            self._frequencies |= dict.fromkeys(new, 0) | dict(self._connection.execute(query, new))
        return [self._frequencies[name] for name in folded]

    def pieces_with(self, names: Collection[str], family: str, most: int) -> list[Piece]:
        """Chunks that use any of these names, the best by BM25 first, at most `most`."""
        query = " OR ".join('"' + name.replace('"', "").lower() + '"' for name in names)
        rows = self._connection.execute(
            "SELECT f.path, c.first, c.last, c.words FROM "
            "(SELECT rowid FROM names WHERE names MATCH ? ORDER BY rank LIMIT ?) n "
            "CROSS JOIN chunks c ON c.id = n.rowid CROSS JOIN files f ON f.id = c.file WHERE f.family = ?",
            (query, 2 * most, family),
        )
        found = [Piece(path, Chunk(first, last, frozenset(_words(text)))) for path, first, last, text in rows]
        return found[:most]

    def pieces_of(self, path: str) -> list[Piece]:
        """All chunks of a file, in order."""
        if (file := self._id(path)) is None:
            return []
        found = self._pieces.get(file)
        if found is None:
            query = "SELECT first, last, words FROM chunks WHERE file = ? ORDER BY id"
            rows = self._connection.execute(query, (file,))
            found = [Piece(path, Chunk(first, last, frozenset(_words(text)))) for first, last, text in rows]
        return _remember(self._pieces, file, found, _ANSWERS)


def _range(file: int) -> tuple[int, int]:
    return file * _EACH, (file + 1) * _EACH


def check_regular(file: Path) -> None:
    """Refuse what SQLite would wait for, such as a pipe. Raises Damaged; what is not there is no matter."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Damaged("it is a link to itself") from error
        return
    if not stat.S_ISREG(mode):
        raise Damaged("it is no file")


def _check_version(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != VERSION or set(connection.execute(_SCHEMA)) != _schema():
        raise Damaged("its tables are not those of this version")


@functools.cache
def _schema() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return set(connection.execute(_SCHEMA))


def _unpacked(block: object) -> str:
    try:
        return zlib.decompress(block).decode("utf-8", "replace")  # type: ignore[arg-type]
    except (zlib.error, TypeError) as error:
        raise Damaged(f"a text in it cannot be unpacked: {error}") from error


def _words(text: object) -> list[str]:
    if not isinstance(text, str):
        raise Damaged("the names of a piece are no text")
    return text.split()


def _remember(memory: OrderedDict[K, V], key: K, value: V, most: int) -> V:
    """Note what was asked for last; what was not asked for longest is forgotten."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
    return value


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
