"""The index of one workspace folder as a reader sees it: there or not yet, replaced now and then, perhaps damaged."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from pathlib import Path

from indexer.store import Store
from indexer.tables import SCHEMA

log = logging.getLogger(__name__)


def database_of(root: Path, cache: Path) -> Path:
    """Where a workspace folder's index lies in the cache folder."""
    resolved = root.resolve()
    digest = hashlib.blake2b(str(resolved).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return cache / "index" / f"{resolved.name or 'root'}-{digest}" / f"index-{SCHEMA}.sqlite"


def counts_of(database: Path) -> tuple[int, int, int]:
    """How many files an index holds, how many it refuses by their content, and how many definitions it has.

    Raises sqlite3.Error where there is none.
    """
    store = Store.readable(database)
    try:
        return store.counts()
    finally:
        store.close()


class Reader:
    """Opens the database when it is there, and again when it was replaced."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._store: Store | None = None
        self._inode = 0

    def store(self) -> Store | None:
        """The open database; None where there is none, or nothing can be read from it now."""
        try:
            inode = self._database.stat().st_ino
        except OSError:
            self.close()
            return None
        if self._store is not None and inode != self._inode:
            self.close()
        if self._store is None:
            try:
                self._store, self._inode = Store.readable(self._database), inode
                self._store.version()
            except sqlite3.Error as error:
                log.info("No index in %s: %s", self._database, error)
                self.close()
        return self._store

    def version(self) -> int:
        """A number that changes when there is something new; 0 where there is nothing."""
        store = self.store()
        return hash((self._inode, store.version())) if store is not None else 0

    def close(self) -> None:
        """Let go of the database; `store` opens it again."""
        if self._store is not None:
            self._store.close()
            self._store = None
