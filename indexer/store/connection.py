"""The connection of a reader to the index of one workspace folder, which may be missing, replaced or damaged."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from indexer.store.damage import Trouble, identity, trouble_of
from indexer.store.schema import SCHEMA
from indexer.store.store import Store

log = logging.getLogger(__name__)


def database_of(root: Path, cache: Path) -> Path:
    """The path of a workspace folder's index in the cache folder."""
    resolved = root.resolve()
    digest = hashlib.blake2b(str(resolved).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return cache / "index" / f"{resolved.name or 'root'}-{digest}" / f"index-{SCHEMA}.sqlite"


def counts_of(database: Path) -> tuple[int, int, int]:
    """How many files an index holds, how many it refuses for their content, and how many definitions it holds.

    Raises sqlite3.Error where there is no index.
    """
    store = Store.readable(database)
    try:
        return store.counts()
    finally:
        store.close()


class StoreConnection:
    """Opens the database when it exists, and again when it was replaced.

    `alarm` is called when the database cannot be read or was removed: the indexer process has to check it.
    """

    def __init__(self, database: Path, alarm: Callable[[], None] = lambda: None) -> None:
        self._database, self._alarm = database, alarm
        self._store: Store | None = None
        self._identity: tuple[int, int] | None = None

    def store(self) -> Store | None:
        """The open database; None where it is missing, or cannot be read now."""
        found = identity(self._database)
        if self._store is not None and found != self._identity:
            self.close()
            if found is None:
                self._alarm()
        if found is not None and self._store is None:
            try:
                self._store, self._identity = Store.readable(self._database), found
                self._store.version()
            except sqlite3.Error as error:
                self.let_go(error)
        return self._store

    def version(self) -> int:
        """A number that changes when another process has written; 0 where there is no database."""
        try:
            store = self.store()
            return hash((self._identity, store.version())) if store is not None else 0
        except sqlite3.Error as error:
            self.let_go(error)
            return 0

    def let_go(self, error: Exception) -> None:
        """Close the database after an error, and raise the alarm if that means damage; `store` opens it again."""
        log.info("The index in %s cannot be read: %s", self._database, error)
        self.close()
        if trouble_of(error) in (Trouble.DAMAGED, Trouble.OTHER):
            self._alarm()

    def close(self) -> None:
        """Close the database; `store` opens it again."""
        if self._store is not None:
            self._store.close()
            self._store = None
