"""What keeps a workspace folder's index in step, in a process of its own (see `__main__.py`): the only one that writes.

A second worker for the same folder, of another editor, waits in line. Killed at any moment, it leaves a
whole index, perhaps an older one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from indexer.folder import Folder, Stopped
from indexer.store import Store
from indexer.walk import MOST_FILES
from indexer.watch import Changes, Watcher

_LOOK_EVERY = 10.0  # seconds, where the system does not tell of changes
_CHECK_WATCHER = 30.0
_FIRST_WAIT, _IN_LINE = 0.02, 0.5  # seconds between attempts to become the one who writes: at first, and at last
_DISK_FULL_PAUSE = 30.0
_REMOVE_WITHIN = 10.0  # seconds for other processes to let go of a damaged file (Windows)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Tell = Callable[[dict[str, Any]], None]
"""Takes `{"progress": [done, total]}`, `{"ready": files}`, `{"waiting": true}` or `{"problem": sentence}`."""


def index_now(root: Path, database: Path, tell: Tell) -> bool:
    """Read what is new in a folder; False if another process keeps its index already."""
    is_ours = True

    def hear(message: dict[str, Any]) -> None:
        nonlocal is_ours
        if "waiting" in message:
            is_ours = False
            changes.stop()
        tell(message)

    changes = Changes()
    run(root, database, changes, hear, once=True)
    return is_ours


def run(root: Path, database: Path, changes: Changes, tell: Tell, *, once: bool = False) -> None:
    """Keep an index in step with its folder until `changes` are stopped; with `once`, read what is new and return."""
    _make_private(database.parent)
    lock = FileLock(f"{database}.lock")
    if not _own(lock, changes, tell):
        return
    try:
        while not changes.is_stopped():
            try:
                _keep(root, database, changes, tell, once=once)
            except Stopped:
                return
            except sqlite3.DatabaseError as error:
                if not _recover(error, root, database, tell):
                    raise
                if _code(error) in _FULL:
                    if once:
                        return
                    changes.take(_DISK_FULL_PAUSE)
            else:
                return
    finally:
        lock.release()


def _make_private(folder: Path) -> None:
    """Make a folder that only its user can read: an index holds the text of files that may be as private."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(OSError):  # another user's, who has let us in
        folder.chmod(0o700)


def _own(lock: FileLock, changes: Changes, tell: Tell) -> bool:
    """Become the one who writes; False if asked to stop before that.

    An editor that was closed and opened again finds its last worker about to end, which is waited for in short steps.
    """
    is_told, wait = False, _FIRST_WAIT
    while not changes.is_stopped():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not is_told:
                tell({"waiting": True})
                is_told = True
            time.sleep(wait)
            wait = min(2 * wait, _IN_LINE)
        else:
            return True
    return False


def _keep(root: Path, database: Path, changes: Changes, tell: Tell, *, once: bool) -> None:
    store = Store.writable(database)
    watcher = None
    try:
        if not once:
            watcher = _watch(root, changes, tell)
        folder = Folder(root, store, changes.is_stopped)

        def progress(done: int, total: int) -> None:
            tell({"progress": [done, total]})

        folder.scan(progress)
        if folder.is_cut_short:
            tell(
                {"problem": f"{root} has more than {MOST_FILES:,} files; the deepest are left out. Open a smaller one."}
            )
        tell({"ready": store.counts()[0]})
        while not once:
            batch = changes.take(_CHECK_WATCHER if watcher is not None else _LOOK_EVERY)
            if batch is None:
                return
            if watcher is not None and not watcher.is_alive():
                watcher.stop()
                watcher = _watch(root, changes, tell)
                batch = type(batch)(batch.paths, everything=True)
            if batch.everything or watcher is None:
                folder.scan(progress)
            elif batch.paths:
                folder.update(batch.paths, progress)
            else:
                continue
            tell({"ready": store.counts()[0]})
    finally:
        if watcher is not None:
            watcher.stop()
        store.close()


def _watch(root: Path, changes: Changes, tell: Tell) -> Watcher | None:
    try:
        return Watcher.start(root.resolve(), changes)
    except OSError as error:
        tell(
            {
                "problem": f"The system watches no more files ({error.strerror or error}), so {root} is looked through "
                f"every {_LOOK_EVERY:.0f} s; on Linux, raise fs.inotify.max_user_watches."
            }
        )
        return None


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _recover(error: sqlite3.DatabaseError, root: Path, database: Path, tell: Tell) -> bool:
    """Say what is wrong, and make room for a new index if the old one is damaged; False if nothing helps."""
    if _code(error) in _FULL:
        tell({"problem": f"The index of {root} cannot be written ({error}); free some space in {database.parent}."})
        return True
    if _code(error) in _DAMAGED:
        tell({"problem": f"The index of {root} was damaged ({error}) and is made anew."})
        remove_database(database)
        return True
    return False


def remove_database(database: Path) -> None:
    """Remove an index. On Windows it waits until all who read it have let go."""
    until = time.monotonic() + _REMOVE_WITHIN
    for name in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        while True:
            try:
                name.unlink(missing_ok=True)
                break
            except PermissionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
