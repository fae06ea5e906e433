"""What an index answers: from its files with their texts, their definitions, and the names that each chunk uses.

What a question reads together lies together: the definitions of a file, its chunks with their names, its text in blocks
of lines, of which a snippet needs one or two. A changed file gets a new number, so answers that are remembered by
number stay right. Any number of processes read while one writes (WAL), see `writing.py`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from indexer.parsing.chunks import Chunk
from indexer.parsing.symbols import Symbol
from indexer.store import database
from indexer.store.rows import Definition, FileState, StoredChunk

K = TypeVar("K")
V = TypeVar("V")

BLOCK = 128
"""Lines that are compressed together: a quarter larger than a whole file compressed, and read in 0.03 ms."""
EACH = 1 << 20
"""More than a file has of anything: its block or definition `n` has the number `file * EACH + n`."""
_MOST_PATHS = 50_000
_MOST_COMMON = 400  # definitions of names that many files define
_TEXTS = 512  # blocks of text that are remembered
_ANSWERS = 512  # lists of definitions and of chunks of single files that are remembered


class Store:
    """An open index, for reading. Errors of SQLite are raised as they are: the caller decides what to do about them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._frequencies: dict[str, int] = {}
        self._counts: dict[int, dict[str, int]] = {}
        """How many definitions each name has, counted up to a limit, by that limit."""
        self._ids: dict[str, int | None] = {}
        self._texts: OrderedDict[int, list[str]] = OrderedDict()
        self._definitions: OrderedDict[tuple[int, str | None], list[Definition]] = OrderedDict()
        self._chunks: OrderedDict[int, list[StoredChunk]] = OrderedDict()
        self._version = -1

    @classmethod
    def readable(cls, file: Path) -> Store:
        """Open an index that another process writes to. Raises sqlite3.Error where it is missing, or another one."""
        return cls(database.readable(file))

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Answer all questions inside from one moment: writes of another process are seen afterwards."""
        self._connection.execute("BEGIN")
        try:
            self.version()  # notices a change before any answer is remembered
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def states(self, paths: Collection[str] | None = None) -> dict[str, FileState]:
        """The states of all known files, or of those among `paths`; refused files are known, too."""
        where, values = ("", ()) if paths is None else (f" WHERE path IN ({_marks(paths)})", (*paths,))
        rows = self._connection.execute(f"SELECT path, modified, size, hash FROM files{where}", values)
        return {row[0]: FileState._make(row[1:]) for row in rows}

    def below(self, folder: str) -> list[str]:
        """All known files below a folder."""
        query = "SELECT path FROM files WHERE path > ? AND path < ?"  # "0" follows on "/"
        return [path for (path,) in self._connection.execute(query, (f"{folder}/", f"{folder}0"))]

    def counts(self) -> tuple[int, int, int]:
        """How many files are kept, how many are refused for their content, and how many definitions there are."""
        kept, refused = self._connection.execute(
            "SELECT count(*) - count(refusal), count(refusal) FROM files"
        ).fetchone()
        return kept, refused, self._connection.execute("SELECT count(*) FROM symbols").fetchone()[0]

    def version(self) -> int:
        """A number that changes whenever another process has written. A call of this is what notices it."""
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:
            self._version = version
            self._forget()
        return version

    def _forget(self) -> None:
        """Forget remembered file numbers; frequencies are kept, as they change slowly."""
        self._ids.clear()
        self._counts.clear()

    def refusal(self, path: str) -> str | None:
        """Why a file's content is refused; None if it is used, or the file is not known."""
        row = self._connection.execute("SELECT refusal FROM files WHERE path = ?", (path,)).fetchone()
        return row[0] if row is not None else None

    def has(self, path: str) -> bool:
        """Whether a file's content is used."""
        row = self._connection.execute("SELECT refusal IS NULL FROM files WHERE path = ?", (path,)).fetchone()
        return row is not None and bool(row[0])

    def text(self, path: str) -> str | None:
        """A file's text as it was read; None if it is not kept."""
        if (file := self._id(path)) is None:
            return None
        query = "SELECT lines FROM texts WHERE id >= ? AND id < ? ORDER BY id"
        rows = self._connection.execute(query, rows_of(file))
        return "\n".join(database.unpacked(block) for (block,) in rows)

    def lines(self, path: str, wanted: Sequence[int]) -> list[str] | None:
        """Some lines of a file's text, by their numbers from 0; None if the file is not kept, or is shorter."""
        if (file := self._id(path)) is None:
            return None
        found, number, block = [], -1, list[str]()
        for line in wanted:
            if line // BLOCK != number:
                number = line // BLOCK
                block = self._block(file * EACH + number)
            if line % BLOCK >= len(block):
                return None
            found.append(block[line % BLOCK])
        return found

    def _block(self, number: int) -> list[str]:
        block = self._texts.get(number)
        if block is None:
            row = self._connection.execute("SELECT lines FROM texts WHERE id = ?", (number,)).fetchone()
            block = database.unpacked(row[0]).split("\n") if row is not None else []
        return _remember(self._texts, number, block, _TEXTS)

    def _id(self, path: str) -> int | None:
        """The number of a file whose content is used; None for any other path."""
        if path not in self._ids:
            row = self._connection.execute(
                "SELECT id FROM files WHERE path = ? AND refusal IS NULL", (path,)
            ).fetchone()
            self._ids[path] = row[0] if row is not None else None
        return self._ids[path]

    def paths(self, family: str, **where: Collection[str]) -> list[str]:
        """Files of a family, in order; only those with one of these values of `folder`, `module` or `subject`."""
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
    ) -> list[Definition]:
        """Definitions of some names in files of a family.

        A name with more than `most` of them has none, unless it is among `imported`, the words of import statements;
        then it has those in files whose module or package is among these words, too.
        """
        self.version()  # a question outside of `unchanging` begins here
        counts = self._counts.setdefault(most, {})
        if new := [name for name in names if name not in counts]:
            counted = "SELECT count(*) FROM (SELECT 1 FROM symbols WHERE name = value LIMIT ?)"
            query = f"SELECT value, ({counted}) FROM json_each(?)"
            counts |= dict(self._connection.execute(query, (most + 1, json.dumps(new))))
        rare = [name for name in names if 0 < counts[name] <= most]
        found = self._definitions_where(f"s.name IN ({_marks(rare)}) AND f.family = ?", (*rare, family)) if rare else []
        common = [name for name in names if counts[name] > most and name in imported]
        if common:
            marks = _marks(imported)
            where = f"s.name IN ({_marks(common)}) AND f.family = ?"
            where += f" AND (f.module IN ({marks}) OR f.package IN ({marks})) LIMIT ?"
            found += self._definitions_where(where, (*common, family, *imported, *imported, _MOST_COMMON))
        return found

    def definitions_in(self, path: str, container: str | None = None) -> list[Definition]:
        """All definitions of a file, in order; or those of one of its types or, for "", at its top."""
        if (file := self._id(path)) is None:
            return []
        found = self._definitions.get((file, container))
        if found is None:
            inside, values = ("", ()) if container is None else (" AND s.container = ?", (container,))
            found = self._definitions_where(f"s.id >= ? AND s.id < ?{inside} ORDER BY s.id", (*rows_of(file), *values))
        return _remember(self._definitions, (file, container), found, _ANSWERS)

    def _definitions_where(self, where: str, values: tuple[object, ...]) -> list[Definition]:
        rows = self._connection.execute(
            "SELECT f.path, s.name, s.kind, s.container, s.first, s.head, s.last, s.documentation "
            f"FROM symbols s CROSS JOIN files f ON f.id = s.id / {EACH} WHERE {where}",
            values,
        )
        return [Definition(row[0], Symbol._make(row[1:])) for row in rows]

    def frequencies(self, names: Collection[str]) -> list[int]:
        """How many chunks use each name, in any case. Answers are remembered, as they change slowly."""
        folded = [name.lower() for name in names]
        if new := [name for name in dict.fromkeys(folded) if name not in self._frequencies]:
            query = f"SELECT name, chunks FROM frequencies WHERE name IN ({_marks(new)})"
            self._frequencies |= dict.fromkeys(new, 0) | dict(self._connection.execute(query, new))
        return [self._frequencies[name] for name in folded]

    def chunks_with(self, names: Collection[str], family: str, most: int) -> list[StoredChunk]:
        """Chunks that use any of these names, the best by BM25 first, at most `most`."""
        query = " OR ".join('"' + name.replace('"', "").lower() + '"' for name in names)
        rows = self._connection.execute(
            "SELECT f.path, c.first, c.last, c.words FROM "
            "(SELECT rowid FROM names WHERE names MATCH ? ORDER BY rank LIMIT ?) n "
            "CROSS JOIN chunks c ON c.id = n.rowid CROSS JOIN files f ON f.id = c.file WHERE f.family = ?",
            (query, 2 * most, family),
        )
        found = [
            StoredChunk(path, Chunk(first, last, frozenset(database.split(text)))) for path, first, last, text in rows
        ]
        return found[:most]

    def chunks_of(self, path: str) -> list[StoredChunk]:
        """All chunks of a file, in order."""
        if (file := self._id(path)) is None:
            return []
        found = self._chunks.get(file)
        if found is None:
            query = "SELECT first, last, words FROM chunks WHERE file = ? ORDER BY id"
            rows = self._connection.execute(query, (file,))
            found = [
                StoredChunk(path, Chunk(first, last, frozenset(database.split(text)))) for first, last, text in rows
            ]
        return _remember(self._chunks, file, found, _ANSWERS)


def rows_of(file: int) -> tuple[int, int]:
    """The numbers of a file's blocks and definitions: the first, and the one after the last."""
    return file * EACH, (file + 1) * EACH


def _chunk(path: str, first: int, last: int, words: object) -> StoredChunk:
    return StoredChunk(path, Chunk(first, last, frozenset(database.split(words))))


def _remember(memory: OrderedDict[K, V], key: K, value: V, most: int) -> V:
    """Keep an answer; of more than `most`, the least recently used one goes."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
    return value


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
