"""The store as its one writer has it. A file is replaced as a whole within one transaction.

So a reader, or a restart after a crash, never sees half of a file. The same tables in memory hold the open documents.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.files.paths import folder_of, module_of, packages_of, subject_of
from indexer.parsing.analysis import Analysis
from indexer.store import database
from indexer.store.rows import FileState
from indexer.store.store import BLOCK, EACH, Store, rows_of


class WritableStore(Store):
    """An open index, for reading and writing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._counted: Counter[str] = Counter()
        """By how much the open transaction changes the number of chunks that use a name."""
        self._has_remains = False
        """Whether the file still holds traces of what was removed; see `wipe`."""

    @classmethod
    def in_memory(cls) -> WritableStore:
        """Make an empty store that no other process sees."""
        return cls(database.memory())

    @classmethod
    def on_disk(cls, file: Path, *, make: bool = True) -> WritableStore:
        """Open an index to write to it; with `make`, make it where it is missing.

        Raises sqlite3.Error; Damaged where the file is something else.
        """
        return cls(database.writable(file, make=make))

    def check(self) -> None:
        """Read everything. Raises Damaged, or another sqlite3.Error, where it is not as it was written."""
        database.check(self._connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything that the block writes, or nothing."""
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
            for remembered in (self._texts, self._definitions, self._chunks):
                remembered.clear()  # their numbers are given to other files
            raise
        finally:
            self._counted.clear()
        self._connection.execute("COMMIT")

    def put(self, path: str, state: FileState, content: Analysis | str) -> None:
        """Keep a file: its analysis, or the reason for its refusal."""
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
        blocks = ("\n".join(lines[at : at + BLOCK]) for at in range(0, len(lines), BLOCK))
        self._connection.executemany(
            "INSERT INTO texts VALUES (?, ?)",
            [
                (file * EACH + number, zlib.compress(block.encode("utf-8", "replace"), 1))
                for number, block in enumerate(blocks)
            ],
        )
        self._connection.executemany(
            "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(file * EACH + number, *symbol) for number, symbol in enumerate(analysis.outline.symbols)],
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
        """Forget files; unknown paths are ignored. `wipe` removes their traces from the database."""
        for path in paths:
            self._remove(path, for_good=True)

    def wipe(self) -> None:
        """Remove the traces of files that were removed or refused since: they may have become private.

        Their names would stay in the full-text index and in the table of frequencies, and all of them in the log. It
        takes a tenth of a second for a thousand files, and nothing where no file was removed. While a reader is in the
        way, it leaves the log to the next call.
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
            self._counted.subtract(database.split(words))
        self._connection.execute(
            "INSERT INTO names(names, rowid, words) SELECT 'delete', id, words FROM chunks WHERE file = ?", row
        )
        self._connection.execute("DELETE FROM chunks WHERE file = ?", row)
        for table in ("symbols", "texts"):
            self._connection.execute(f"DELETE FROM {table} WHERE id >= ? AND id < ?", rows_of(row[0]))
        self._connection.execute("DELETE FROM files WHERE id = ?", row)
        self._has_remains |= for_good
