"""What changes in a workspace folder, as the system tells of it, gathered until it is quiet for a moment."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_OPENED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_QUIET = 0.03  # seconds without a change that end a burst
_LONGEST_BURST = 2.0  # seconds
_NOTHING_HAPPENED = (EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE)


@dataclass(frozen=True, slots=True)
class Batch:
    """What has changed: some files, or nobody knows what."""

    paths: frozenset[str]
    """Relative to the folder, with forward slashes."""
    everything: bool


class Changes:
    """Paths that were reported and not yet looked at. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._paths: set[str] = set()
        self._everything = False
        self._is_stopped = False

    def add(self, paths: Iterable[str]) -> None:
        """Report changed files."""
        with self._condition:
            self._paths.update(paths)
            self._condition.notify_all()

    def add_everything(self) -> None:
        """Report that any file may have changed."""
        with self._condition:
            self._everything = True
            self._condition.notify_all()

    def stop(self) -> None:
        """Let `take` return None from now on."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()

    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped

    def take(self, timeout: float | None = None) -> Batch | None:
        """Wait for changes, and until no more come for a moment; returns them, or None at the end.

        After `timeout` seconds without a change the batch is empty.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._paths or self._everything or self._is_stopped, timeout)
            until, count = time.monotonic() + _LONGEST_BURST, -1
            while not self._is_stopped and count != len(self._paths) and time.monotonic() < until:
                count = len(self._paths)
                if count or self._everything:
                    self._condition.wait(_QUIET)
            if self._is_stopped:
                return None
            batch = Batch(frozenset(self._paths), self._everything)
            self._paths.clear()
            self._everything = False
            return batch


class Watcher:
    """The system's own notifications for a folder and all below it."""

    def __init__(self, observer: BaseObserver) -> None:
        self._observer = observer

    @classmethod
    def start(cls, root: Path, changes: Changes) -> Watcher:
        """Begin to watch. Raises OSError where the system watches no more: Linux has a limit for each user."""
        observer = Observer()
        observer.schedule(_Handler(str(root), changes), str(root), recursive=True)
        try:
            observer.start()
        except BaseException:
            observer.unschedule_all()
            raise
        return cls(observer)

    def is_alive(self) -> bool:
        """Whether it still tells of changes: it ends when a new folder is one too many for the system."""
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)

    def stop(self) -> None:
        """End it, and wait for that."""
        self._observer.stop()
        self._observer.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, root: str, changes: Changes) -> None:
        self._root, self._changes = root, changes

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take note of a change, unless it is one of git's own files."""
        if event.event_type in _NOTHING_HAPPENED or (event.is_directory and event.event_type == EVENT_TYPE_MODIFIED):
            return
        names = [os.fsdecode(name) for name in (event.src_path, event.dest_path) if name]
        paths = [os.path.relpath(name, self._root).replace(os.sep, "/") for name in names]
        paths = [path for path in paths if not path.startswith((".git/", "..")) and path != ".git"]
        if paths and event.is_directory:
            self._changes.add_everything()
        else:
            self._changes.add(paths)
