"""The store of one workspace folder kept up to date: new and changed files are read, removed ones are forgotten."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from indexer.files.disk import NotAFile, is_folder, is_utf8, look, read_regular, said
from indexer.files.text import LARGEST, Refusal, left_out, read_text
from indexer.files.walk import MOST_FILES, Found, walk
from indexer.problems import Problems
from indexer.rules.exclusion import TELLING_FILES, Rules
from indexer.store.rows import FileState
from indexer.store.store import Store
from indexer.store.writing import WritableStore
from indexer.sync.file_update import FileUpdate, Outcome, hash_of
from indexer.sync.journal import Journal
from indexer.sync.pool import read_files

_TRANSACTION = 0.3  # seconds of work that a crash may lose, and that another process may have to wait for
_MANY = 500  # paths; from there on, a scan of all files is as fast, and misses nothing

Progress = Callable[[int, int], None]
"""Takes the number of files that have been read, and the number of all that are to be read."""


class Stopped(Exception):
    """The caller has asked to stop; what was written until then is whole."""


class Folder:
    """Reads a workspace folder into a store."""

    def __init__(
        self,
        root: Path,
        store: WritableStore,
        is_stopped: Callable[[], bool] = lambda: False,
        problems: Problems | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.root = root.resolve()
        self.is_cut_short = False
        """Whether the folder has more files than the index takes."""
        self._store = store
        self._is_stopped = is_stopped
        self._problems = problems or Problems(lambda sentence: None)
        self._journal = journal
        self._rules = Rules(self.root)

    def scan(self, progress: Progress = lambda done, total: None) -> int:
        """Look at every file, and read the new and changed ones; returns their number. Raises Stopped.

        A folder that does not exist has no files; the index of a folder that cannot be listed now stays as it is.
        """
        try:
            os.scandir(self.root).close()
        except (FileNotFoundError, NotADirectoryError):
            found = dict[str, Found]()
        except OSError as error:
            self._problems.add("root", "", f"{self.root} cannot be read ({said(error)}); its index stays as it is.")
            return 0
        else:
            self._rules = Rules(self.root)
            found = {}
            for one in walk(self._rules, self._problems):
                found[one.path] = one
                if self._is_stopped():
                    raise Stopped
        known = self._store.states()
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
        """Whether ignore files have changed that the folder's watcher does not report; `scan` applies them."""
        return self._rules.has_changed(outside=True)

    def update(self, paths: Collection[str], progress: Progress = lambda done, total: None) -> None:
        """Look at some paths, relative to the folder, of files that are changed, new or gone. Raises Stopped."""
        paths = {path for path in paths if self._is_possible(path)}
        everything = (
            len(paths) > _MANY
            or len({path.casefold() for path in paths})
            < len(paths)  # renamed in its case: only the disk knows the name
            or any(path.rpartition("/")[2] in TELLING_FILES or is_folder(self.root / path) for path in paths)
        )
        if everything:
            self.scan(progress)
            return
        wanted = [path for path in paths if self._is_wanted(path)]
        known = self._store.states(wanted)
        with self._store.transaction():
            self._store.remove(paths - set(wanted))
            for path in paths:
                self._store.remove(self._store.below(path))  # where a folder was, a file may be now
        for _ in self._in_transactions(wanted, known):
            pass

    def _is_possible(self, path: str) -> bool:
        """Whether a file of this name may be in the folder now, or was there before."""
        if not path or not is_utf8(path) or path.startswith("/") or ".." in path.split("/"):
            return False
        try:
            look(self.root / path)
        except FileNotFoundError:
            return "\0" not in path
        except OSError:
            return path in self._store.states([path])
        return True

    def _is_wanted(self, path: str) -> bool:
        try:
            return self._rules.why_not(path) is None
        except Exception as error:  # an error of any kind costs this path alone
            self._problems.add("entry", path, f"{self.root / path} is left out of the index: {said(error)}.")
            return False

    def _in_transactions(self, paths: list[str], known: dict[str, FileState]) -> Iterator[int]:
        """Read files, with a commit each fraction of a second; yields how many are done."""
        done = 0
        options: dict[str, Any] = {}
        if self._journal is not None:
            options = {"suspects": self._journal.suspects, "begin": self._journal.begin}
        with closing(read_files(self.root, paths, known, **options)) as arriving:
            while done < len(paths):
                until = time.monotonic() + _TRANSACTION
                with self._store.transaction():
                    for path, outcome in arriving:
                        self._keep(path, outcome)
                        done += 1
                        if time.monotonic() > until:
                            break
                yield done
                if self._is_stopped():
                    break
        if self._journal is not None:
            self._journal.end()
        if done < len(paths):
            raise Stopped

    def _keep(self, path: str, outcome: Outcome) -> None:
        if not isinstance(outcome, FileUpdate):
            self._store.remove([path])
            if outcome is not None:
                self._complain(path, outcome)
            return
        if outcome.content is None:
            self._store.touch(path, outcome.state)
            return
        if outcome.has_failed:
            self._complain(path, str(outcome.content))
        try:
            self._store.put(path, outcome.state, outcome.content)
        except sqlite3.Error:
            raise
        except Exception as error:  # an error of any kind costs this file alone
            reason = f"it cannot be kept ({said(error)})"
            self._complain(path, reason)
            self._store.put(path, outcome.state, reason)

    def _complain(self, path: str, reason: str) -> None:
        self._problems.add("file", path, f"{self.root / path} is left out of the index: {reason}.")


def why_not(file: Path, root: Path, database: Path | None = None) -> str | None:
    """Why a file of a workspace folder is not in its index, as a sentence; None if it belongs there.

    `database`: the index, which alone knows what has crashed when it was read.
    """
    try:
        root = root.resolve()
        absolute = Path(os.path.abspath(file))  # noqa: PTH100 - must not follow links
        if not absolute.is_relative_to(root):
            return f"it lies outside of {root}"
        path = absolute.relative_to(root).as_posix()
        if not is_utf8(path):
            return "its name is not UTF-8"
        if (reason := Rules(root).why_not(path)) is not None:
            return reason
        if is_folder(absolute):
            return "it is a folder; name a file in it"
        _, data = read_regular(absolute, LARGEST)
    except NotAFile as error:
        return said(error)
    except (OSError, ValueError, RuntimeError) as error:
        return f"it cannot be read: {said(error)}"
    text = read_text(data)
    if isinstance(text, Refusal):
        return text.reason
    return _noted_in(database, path, data) if database is not None else None


def _noted_in(database: Path, path: str, data: bytes) -> str | None:
    """Why an index has refused a content; None where it uses it, or has not read it yet."""
    try:
        with closing(Store.readable(database)) as store:
            state = store.states([path]).get(path)
            return store.refusal(path) if state is not None and state.hash == hash_of(data) else None
    except sqlite3.Error:
        return None


def note_on(file: Path) -> str | None:
    """The lines that the index leaves out of a file, as the end of a sentence; None if the index has all of it."""
    _, data = read_regular(file, LARGEST)
    secrets = left_out(data)
    if not secrets:
        return None
    return "without " + ", ".join(f"{secret.lines} ({secret.what})" for secret in secrets)
