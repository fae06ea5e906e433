"""The thread that writes events. The event loop puts an event into a queue, which takes a microsecond.

Trouble with the disk becomes one sentence, and never an error of a request: events wait in memory, the newest ten
thousand of them, and are written when that is possible again.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from lsp_server.statistics.events import STATE_VARIABLE, Event
from lsp_server.statistics.gate import Gates, gates_of
from lsp_server.statistics.samples import Sample, add_samples, samples_file
from lsp_server.statistics.store import NewerFile, Store, identity

_PAUSE = 2.0  # seconds between two batches
_RETRY = 60.0  # seconds after trouble
_MOST_WAITING = 10_000  # events
_LEARN_EVERY = 600.0  # seconds
_SECONDS_TO_END = 1.5

log = logging.getLogger(__name__)


class Recorder:
    """Writes events to a file. `put` may be called at any time; until the first event nothing is written."""

    def __init__(self, file: Path | None, complain: Callable[[str], None]) -> None:
        """`complain` is called with a sentence on the recorder's thread, once for each kind of trouble."""
        self.gates: Gates = {}
        """What was learned from the file, by model and language; replaced as a whole."""
        self.problem: str | None = None
        """Why nothing is written now, a sentence."""
        self._file, self._complain = file, complain
        self._queue: queue.SimpleQueue[Event | Sample | None] = queue.SimpleQueue()
        self._waiting: deque[Event | Sample] = deque(maxlen=_MOST_WAITING)
        self._said: set[str] = set()
        self._learned_at: float | None = None
        self._is_ending = threading.Event()
        self._is_dropped = False
        self._thread = threading.Thread(target=self._work, name="statistics", daemon=True)
        self._thread.start()

    def put(self, event: Event | Sample) -> None:
        """Have an event written soon. Never blocks, never raises."""
        self._queue.put(event)

    def close(self) -> None:
        """Write what waits, and end the thread. Waits 1.5 s at most."""
        self._is_ending.set()
        self._queue.put(None)
        self._thread.join(_SECONDS_TO_END)

    def drop(self) -> None:
        """End the thread without writing what waits. Does not wait for it."""
        self._is_dropped = True
        self._is_ending.set()
        self._queue.put(None)

    def _work(self) -> None:
        store: Store | None = None
        try:
            if self._file is not None and self._file.exists():
                store = self._try(store)  # what was learned in earlier sessions
            while not self._is_ending.is_set():
                if not self._waiting:
                    if (event := self._queue.get()) is None:
                        continue
                    self._waiting.append(event)
                self._is_ending.wait(_PAUSE if self.problem is None else _RETRY)
                store = self._try(store)
            if self._waiting or not self._queue.empty():
                store = self._try(store)
        except Exception:
            log.exception("The statistics have stopped")
        finally:
            if store is not None:
                store.close()

    def _try(self, store: Store | None) -> Store | None:
        """Write what waits; returns the open file, or None after trouble."""
        if self._is_dropped:
            return store
        self._collect()
        found = None if self._file is None else identity(self._file)
        try:
            if store is not None and store.is_gone:
                store.close()
                store = None
            if store is None:
                if self._file is None:
                    raise OSError("there is no home folder; let MELLUM_LSP_STATE name a folder for them")
                store = Store(self._file)
            if self._waiting:
                self._write(store)
            if self._waiting:  # the file was replaced while they were written
                return self._try(store)
            self._learn(store)
        except (sqlite3.Error, OSError, NewerFile) as error:
            if _is_busy(error):  # another server writes for longer than SQLite waits
                return store
            if store is not None:
                with contextlib.suppress(sqlite3.Error):
                    store.close()
            if found is not None and _is_damage(error) and self._set_aside(found):
                return self._try(None)
            self._say(str(error) if isinstance(error, NewerFile) else self._sentence(error))
            return None
        self.problem = None
        return store

    def _write(self, store: Store) -> None:
        """Write numbers and samples; what is written waits no more, whatever becomes of the rest.

        What went into a file that was replaced meanwhile goes on waiting.
        """
        store.add([event for event in self._waiting if not isinstance(event, Sample)])
        if store.is_gone:
            return
        samples = [event for event in self._waiting if isinstance(event, Sample)]
        self._waiting.clear()
        if samples and self._file is not None:
            add_samples(samples_file(self._file), samples)

    def _collect(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (event := self._queue.get_nowait()) is not None:
                    self._waiting.append(event)

    def _learn(self, store: Store) -> None:
        now = time.monotonic()
        if self._learned_at is None or now - self._learned_at > _LEARN_EVERY:
            self._learned_at = now
            self.gates = gates_of(store.database)

    def _set_aside(self, damaged: tuple[int, int]) -> bool:
        """Move a damaged file away, if no other server did: the next attempt makes a new one."""
        assert self._file is not None
        aside = self._file.with_name(f"{self._file.stem}.damaged{self._file.suffix}")
        sentence = f"The statistics in {self._file} were damaged: they are {aside.name} now, and new ones have begun."
        if sentence in self._said:  # twice in a session: the disk is to blame
            return False
        try:
            if identity(self._file) == damaged:
                for end in ("-wal", "-shm"):
                    Path(f"{self._file}{end}").unlink(missing_ok=True)
                self._file.replace(aside)
        except OSError:  # another program has it open
            return False
        self._say(sentence)
        return True

    def _sentence(self, error: Exception) -> str:
        if self._file is None:
            return f"Statistics cannot be written now: {error}."
        mend = (
            "remove it" if _is_damage(error) else f"let its folder be writable and have room, or set {STATE_VARIABLE}"
        )
        return f"Statistics cannot be written to {self._file} now ({_said(error)}); {mend}. The newest events wait."

    def _say(self, sentence: str) -> None:
        self.problem = sentence
        if sentence not in self._said:
            self._said.add(sentence)
            self._complain(sentence)


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_damage(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def _said(error: Exception) -> str:
    """What an error says, without its number: the system's are of no use to a user."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
