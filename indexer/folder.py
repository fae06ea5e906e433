"""One workspace folder kept in step with its store: what is new is read, what has changed is read again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

from indexer.contents import FileReading
from indexer.ignore import TELLING_FILES, Rules
from indexer.reader_process import readings
from indexer.reading import Refusal, left_out, read_text
from indexer.store import FileState, Store
from indexer.walk import MOST_FILES, walk

_TRANSACTION = 0.3  # seconds: what a crash may lose, and what another reader may have to wait for
_MANY = 500  # paths; past that, looking at all files is as fast, and misses nothing

Progress = Callable[[int, int], None]
"""Told how many files have been read, of how many."""


class Stopped(Exception):
    """Somebody has asked to stop; what was written until then is whole."""


class Folder:
    """Reads a workspace folder into a store."""

    def __init__(self, root: Path, store: Store, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self.root = root.resolve()
        self.is_cut_short = False
        """Whether there were more files than the index takes."""
        self._store = store
        self._is_stopped = is_stopped
        self._rules = Rules(self.root)

    def scan(self, progress: Progress = lambda done, total: None) -> int:
        """Look at every file, and read those that are new or changed; returns how many were. Raises Stopped."""
        self._rules = Rules(self.root)
        known = self._store.states()
        found = {one.path: one for one in walk(self._rules)}
        self.is_cut_short = len(found) >= MOST_FILES
        changed = [
            one.path
            for one in found.values()
            if (state := known.get(one.path)) is None or (state.modified, state.size) != (one.modified, one.size)
        ]
        with self._store.transaction():
            self._store.remove(known.keys() - found.keys())
        for done in self._in_transactions(changed, known):
            progress(done, len(changed))
        return len(changed)

    def has_new_rules(self) -> bool:
        """Whether ignore files have changed that no watcher of the folder tells of: `scan` then takes them in."""
        return self._rules.has_changed(outside=True)

    def update(self, paths: Collection[str], progress: Progress = lambda done, total: None) -> None:
        """Look at some files, relative to the folder: changed, new or gone. Raises Stopped."""
        everything = len(paths) > _MANY or any(
            path.rpartition("/")[2] in TELLING_FILES or (self.root / path).is_dir() for path in paths
        )
        if everything:
            self.scan(progress)
            return
        wanted = [path for path in paths if self._rules.why_not(path) is None]
        known = self._store.states(wanted)
        with self._store.transaction():
            self._store.remove(set(paths) - set(wanted))
        for _ in self._in_transactions(wanted, known):
            pass

    def _in_transactions(self, paths: list[str], known: dict[str, FileState]) -> Iterator[int]:
        """Read files, a fraction of a second's worth in one transaction; yields how many are done."""
        done = 0
        with closing(readings(self.root, paths, known)) as arriving:
            while done < len(paths):
                until = time.monotonic() + _TRANSACTION
                with self._store.transaction():
                    for path, reading in arriving:
                        self._keep(path, reading)
                        done += 1
                        if time.monotonic() > until:
                            break
                yield done
                if self._is_stopped():
                    raise Stopped

    def _keep(self, path: str, reading: FileReading | None) -> None:
        if reading is None:
            self._store.remove([path])
        elif reading.content is None:
            self._store.touch(path, reading.state)
        else:
            self._store.put(path, reading.state, reading.content)


def why_not(file: Path, root: Path) -> str | None:
    """Why a file of a workspace folder is not in its index, as a sentence; None if it belongs there."""
    root = root.resolve()
    absolute = Path(os.path.abspath(file))  # noqa: PTH100 - must not follow links
    if not absolute.is_relative_to(root):
        return f"it lies outside of {root}"
    path = absolute.relative_to(root).as_posix()
    if (reason := Rules(root).why_not(path)) is not None:
        return reason
    if absolute.is_dir():
        return "it is a folder; name a file in it"
    try:
        text = read_text(absolute.read_bytes())
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return text.reason if isinstance(text, Refusal) else None


def note_on(file: Path) -> str | None:
    """What is left out of a file that is in the index, as the end of a sentence; None if it is there as a whole."""
    secrets = left_out(file.read_bytes())
    if not secrets:
        return None
    return "without " + ", ".join(f"{secret.lines} ({secret.what})" for secret in secrets)
