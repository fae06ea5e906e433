"""The loop that keeps a workspace folder's index up to date, in a process of its own (see `__main__.py`).

It is the only writer: a lock file makes the loop of a second editor wait in line. Killed at any moment, it leaves a
whole index, perhaps an older one. An error is reported once, and the loop tries again after a rest that grows.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.files.disk import said
from indexer.files.walk import MOST_FILES
from indexer.problems import Problems
from indexer.store.connection import counts_of
from indexer.store.damage import Trouble, identity, remove_database, trouble_of
from indexer.store.schema import SCHEMA
from indexer.store.writing import WritableStore
from indexer.sync.folder import Folder, Stopped
from indexer.sync.journal import Journal
from indexer.sync.messages import FilesRead, IndexMessage, Problem, Resting, UpToDate, WaitingInLine
from indexer.sync.watch import Changes, Watcher
from syntax.tracebacks import traceback_of

_LOOK_EVERY = 10.0  # seconds between scans where the system reports no changes, and between attempts to watch
_CHECK_RULES = 1.5  # seconds between looks at the ignore files outside of the folder, which are a handful
_LOOK_SHARE = 10  # scans take at most one part in so many of the time
_FIRST_WAIT, _IN_LINE = 0.02, 0.5  # seconds between attempts to become the writer: at first, and at most
_DISK_FULL_PAUSE = 30.0
_REST = 60.0  # seconds after an error that another attempt may not mend, doubled each time
_LEAST_REST, _LONGEST_REST = 5.0, 600.0
_CHECK_PAUSE = 60.0  # seconds between checks of the whole index, each of which reads all of it

Tell = Callable[[IndexMessage], None]
"""Takes the loop's messages."""


class _Replaced(Exception):
    """The index was removed, or replaced by another one."""


def index_now(root: Path, database: Path, tell: Tell, *, again: bool = False) -> bool:
    """Bring a folder's index up to date; False if another process does so already.

    The index is checked first, and with `again` made anew: by the other process, if there is one.
    """
    is_ours = True

    def hear(message: IndexMessage) -> None:
        nonlocal is_ours
        if isinstance(message, WaitingInLine):
            is_ours = False
            changes.stop()
        tell(message)

    changes = Changes()
    changes.add(check=True)
    _SyncLoop(root, database, changes, hear, once=True, again=again).run()
    if again and not is_ours:
        remove_database(database)  # which the other process notices
    return is_ours


def run(root: Path, database: Path, changes: Changes, tell: Tell, *, once: bool = False) -> None:
    """Keep an index up to date until `changes` are stopped; with `once`, until it is up to date."""
    _SyncLoop(root, database, changes, tell, once=once).run()


class _SyncLoop:
    def __init__(
        self, root: Path, database: Path, changes: Changes, tell: Tell, *, once: bool = False, again: bool = False
    ) -> None:
        self._root, self._database, self._changes, self._tell = root, database, changes, tell
        self._once, self._again = once, again
        self._problems = Problems(lambda sentence: tell(Problem(sentence)))
        self._failures = 0
        """Failed attempts since the index was up to date."""
        self._is_fresh = False
        """Whether the index was made anew since it was up to date."""
        self._checked = float("-inf")

    def run(self) -> None:
        while not self._changes.is_stopped():
            try:
                self._keep()
            except Stopped:
                return
            except _Replaced:
                continue
            except Exception as error:
                if self._recover(error):
                    continue
                if self._once:
                    return
                self._failures, self._is_fresh = self._failures + 1, False
                rest = min(_REST * 2 ** (self._failures - 1), _LONGEST_REST)
                if trouble_of(error) in (Trouble.FULL, Trouble.BUSY):
                    rest = _DISK_FULL_PAUSE
                self._tell(Resting(rest))
                self._changes.rest(min(_LEAST_REST, rest), rest)
            else:
                return

    def _recover(self, error: Exception) -> bool:
        """Report an error; True if another attempt is due at once."""
        trouble, reason = trouble_of(error), said(error)
        root, database = self._root, self._database
        if trouble is Trouble.GONE:
            return True
        if trouble is Trouble.DAMAGED and not self._is_fresh:
            self._is_fresh = True
            self._tell(Problem(f"The index of {root} was damaged ({reason}) and is made anew."))
            try:
                remove_database(database)
            except OSError as another:
                return self._recover(another)
            return True
        if trouble is Trouble.FULL:
            where = f"the disk of {database.parent}"
            sentence = f"The index of {root} cannot be written ({reason}); see that {where} works and has room."
        elif trouble is Trouble.REFUSED:
            sentence = (
                f"The cache folder {database.parents[2]} cannot be written ({reason}), so {root} has no index. Make it "
                "writable, or let MELLUM_LSP_CACHE name another one."
            )
        elif trouble is Trouble.BUSY:
            sentence = f"The index of {root} is held by another process ({reason}); it is tried again."
        else:
            if not isinstance(error, OSError):
                print(traceback_of(error), file=sys.stderr, flush=True)
            sentence = f"The index of {root} has stopped ({reason}); it will be tried again."
        self._problems.add("index", trouble.name, sentence)
        return False

    def _keep(self) -> None:
        """Own the index and keep it up to date until asked to stop. Raises _Replaced, and errors of any kind."""
        lock = FileLock(f"{self._database}.lock")
        if not self._own(lock):
            return
        try:
            if self._again:
                self._again = False
                remove_database(self._database)
            _remove_older(self._database)
            with closing(WritableStore.on_disk(self._database)) as store, self._journal() as journal:
                self._follow(store, journal)
        finally:
            lock.release()

    @contextmanager
    def _journal(self) -> Iterator[Journal | None]:
        """The journal; None where its file cannot be opened, which matters only after a crash."""
        try:
            journal = Journal(Path(f"{self._database}.reading"))
        except OSError:
            yield None
            return
        with closing(journal):
            yield journal

    def _own(self, lock: FileLock) -> bool:
        """Become the writer; False if asked to stop before that.

        When an editor was closed and opened again, its last process is about to end: the first waits are short.
        """
        told, count_at, count_every, wait = -1, 0.0, _IN_LINE, _FIRST_WAIT
        while not self._changes.is_stopped():
            _make_private(self._database.parent)  # as the cache folder may be removed meanwhile
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if (now := time.monotonic()) >= count_at:
                    count_every = min(2 * count_every, _LOOK_EVERY)
                    if (files := self._files()) != told:
                        self._tell(WaitingInLine(files))
                        told, count_every = files, _IN_LINE
                    count_at = now + count_every
                time.sleep(wait)
                wait = min(2 * wait, _IN_LINE)
            else:
                return True
        return False

    def _files(self) -> int:
        """How many files the index holds that another process writes."""
        try:
            return counts_of(self._database)[0]
        except sqlite3.Error:  # there is none yet
            return 0

    def _follow(self, store: WritableStore, journal: Journal | None) -> None:
        """Bring an open index up to date, and keep it so."""
        opened = identity(self._database)
        watch = _Watch(self._root, self._changes, self._problems)
        folder = Folder(self._root, store, self._changes.is_stopped, self._problems, journal)
        try:
            if not self._once:
                watch.begin()
            elif (changed := self._changes.take(0)) is not None and changed.check:
                store.check()
            self._scan(folder, store)
            store.wipe()
            while not self._once:
                changed = self._changes.take(_CHECK_RULES)
                if changed is None:
                    return
                if identity(self._database) != opened:
                    raise _Replaced
                if changed.check:
                    self._check()
                if watch.is_due() or watch.begins_anew() or changed.everything or folder.has_new_rules():
                    began = time.monotonic()
                    self._scan(folder, store)
                    watch.scanned(time.monotonic() - began)
                elif changed.paths:
                    folder.update(changed.paths, self._progress)
                    self._tell(UpToDate(store.counts()[0]))
                store.wipe()
        finally:
            watch.stop()

    def _scan(self, folder: Folder, store: WritableStore) -> None:
        folder.scan(self._progress)
        if folder.is_cut_short:
            self._problems.add(
                "size",
                "",
                f"{self._root} has more than {MOST_FILES:,} files; the deepest are left out. Open a smaller one.",
            )
        self._failures, self._is_fresh = 0, False
        self._problems.mended("index")
        self._tell(UpToDate(store.counts()[0]))

    def _check(self) -> None:
        """Read the whole index, after a reader has failed to. Raises an error that means damage.

        It is opened anew for that: the pages that this process has in memory may be whole.
        """
        now = time.monotonic()
        if now - self._checked > _CHECK_PAUSE:
            self._checked = now
            with closing(WritableStore.on_disk(self._database, make=False)) as store:
                store.check()

    def _progress(self, done: int, total: int) -> None:
        self._tell(FilesRead(done, total))


def _make_private(folder: Path) -> None:
    """Make a folder that only its user can read: the index holds the text of files that may be private."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(OSError):  # the folder may belong to another user
        folder.chmod(0o700)


def _remove_older(database: Path) -> None:
    """Remove indexes of earlier versions: they may hold files that the rules of this version leave out."""
    for other in database.parent.glob("index-*.sqlite*"):
        number = other.name.removeprefix("index-").partition(".")[0]
        if number.isdecimal() and int(number) < SCHEMA:
            with suppress(OSError):
                other.unlink()


class _Watch:
    """How the loop learns of changes in a folder: by reports of the system, by regular scans, or both."""

    def __init__(self, root: Path, changes: Changes, problems: Problems) -> None:
        self._root, self._changes, self._problems = root.resolve(), changes, problems
        self._watcher: Watcher | None = None
        self._is_wanted = False
        self._last_attempt = self._last_scan = time.monotonic()
        self._every = _LOOK_EVERY

    def begin(self) -> None:
        """Begin to watch; where the system refuses, regular scans take its place."""
        self._is_wanted = True
        self._last_attempt = time.monotonic()
        try:
            self._watcher = Watcher.start(self._root, self._changes)
        except (FileNotFoundError, NotADirectoryError):
            return  # the folder was removed: the next attempt looks for it
        except OSError as error:
            self._say(said(error))

    def begins_anew(self) -> bool:
        """Watch anew if that has become necessary; True if changes may have been missed."""
        had = self._watcher
        if not self._is_wanted or (had is not None and had.is_alive()):
            return False
        if had is None and time.monotonic() - self._last_attempt < _LOOK_EVERY:
            return False
        self.stop()
        self.begin()
        return had is not None or self._watcher is not None

    def is_due(self) -> bool:
        """Whether it is time for a scan, because the system does not report all changes."""
        if self._watcher is not None:
            if self._watcher.missing:
                self._say(self._watcher.missing)
            elif self._watcher.is_remote:
                self._problems.add(
                    "watch",
                    "remote",
                    f"{self._root} lies on a file system that does not tell of all changes, so it is looked through "
                    f"every {_LOOK_EVERY:.0f} s.",
                )
            else:
                return False
        return self._is_wanted and time.monotonic() - self._last_scan >= self._every

    def scanned(self, seconds: float) -> None:
        """Note that a scan has ended, which took some seconds."""
        self._last_scan = time.monotonic()
        self._every = max(_LOOK_EVERY, _LOOK_SHARE * seconds)

    def stop(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _say(self, reason: str) -> None:
        self._problems.add(
            "watch",
            "",
            f"The system watches no more files ({reason}), so {self._root} is looked through every "
            f"{_LOOK_EVERY:.0f} s; on Linux, raise fs.inotify.max_user_watches.",
        )
