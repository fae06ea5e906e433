"""What the tests of the index share: sync loops on threads and indexer processes, waited for by their messages."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexer.store.store import Store
from indexer.sync.messages import IndexMessage, Problem, Resting, UpToDate
from indexer.sync.sync_loop import run
from indexer.sync.watch import Changes

SOON = 100.0


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SOON
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@contextmanager
def working(root: Path, database: Path) -> Iterator[list[IndexMessage]]:
    """A sync loop on a thread, with its messages; up to date, or at rest after an error, when the block begins."""
    changes, said = Changes(), list[IndexMessage]()
    thread = threading.Thread(target=run, args=(root, database, changes, said.append))
    thread.start()
    try:
        until(lambda: any(isinstance(one, UpToDate | Resting) for one in said))
        yield said
    finally:
        changes.stop()
        thread.join(SOON)
    assert not thread.is_alive()


def index_once(root: Path, database: Path) -> list[str]:
    """Index a folder; returns the problems that were told."""
    said: list[IndexMessage] = []
    run(root, database, Changes(), said.append, once=True)
    return problems(said)


def problems(said: list[IndexMessage]) -> list[str]:
    """The problems among messages."""
    return [one.sentence for one in said if isinstance(one, Problem)]


def indexed(database: Path) -> set[str]:
    """The files whose content is used."""
    store = Store.readable(database)
    try:
        return {path for path in store.states() if store.has(path)}
    finally:
        store.close()


def without_privileges() -> list[str]:
    """What a command begins with so that the permissions of files count, for the superuser, too."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
