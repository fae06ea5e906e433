"""Changes in a workspace folder, as the operating system reports them, gathered until a moment passes without one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_OPENED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from indexer.files.disk import is_utf8
from indexer.sync.messages import Changed

_QUIET = 0.03  # seconds without a change, which end a burst
_LONGEST_BURST = 2.0  # seconds
_NO_CHANGES = (EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP)
"""Errors of a folder that needs no watch: it was removed, or this user cannot read it either."""
_REMOTE = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|afpfs|webdav|davfs|fuse\.\w+|grpcfuse|fakeowner|vboxsf|vmhgfs|prl_fs|virtiofs|drvfs|ceph"
    r"|lustre|gpfs|glusterfs"
)
"""File systems on which other machines change files without a report to this one."""


class Changes:
    """Changes that were reported and not yet taken. Thread-safe: its condition protects all of it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._paths: set[str] = set()
        self._everything = False
        self._check = False
        self._is_stopped = False

    def add(self, paths: Iterable[str] = (), *, everything: bool = False, check: bool = False) -> None:
        """Report changed files; or that any file may have changed; or ask for a check of the index."""
        with self._condition:
            self._paths.update(paths)
            self._everything |= everything
            self._check |= check
            self._condition.notify_all()

    def stop(self) -> None:
        """Let `take` return None from now on."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()

    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped

    def take(self, timeout: float | None = None) -> Changed | None:
        """Wait for changes, and until a moment passes without another; returns them, or None after `stop`.

        After `timeout` seconds without a change, what it returns is empty.
        """
        with self._condition:
            self._condition.wait_for(self._has_any, timeout)
            until, count = time.monotonic() + _LONGEST_BURST, -1
            while not self._is_stopped and count != len(self._paths) and time.monotonic() < until:
                count = len(self._paths)
                if count or self._everything:
                    self._condition.wait(_QUIET)
            if self._is_stopped:
                return None
            taken = Changed(frozenset(self._paths), self._everything, self._check)
            self._paths.clear()
            self._everything = self._check = False
            return taken

    def rest(self, least: float, most: float) -> None:
        """Wait `most` seconds, or at least `least` if a change is reported meanwhile, which stays to be taken."""
        with self._condition:
            self._condition.wait_for(self.is_stopped, least)
            self._condition.wait_for(self._has_any, most - least)

    def _has_any(self) -> bool:
        return bool(self._paths) or self._everything or self._check or self._is_stopped


class Watcher:
    """The operating system's notifications of changes in a folder and everything below it."""

    def __init__(self, root: Path, changes: Changes) -> None:
        self._root, self._changes = root, changes
        self._identity = _identity(root)
        self._observer = Observer()
        self.missing = ""
        """Why the system does not watch some folder; empty where it watches all of them."""
        self.is_remote = is_remote(root)
        """Whether files may change there without a report to this machine."""

    @classmethod
    def start(cls, root: Path, changes: Changes) -> Watcher:
        """Begin to watch. Raises OSError where the system refuses: Linux has a limit of watches for each user."""
        watcher = cls(root, changes)
        observer = watcher._observer
        watcher._listen_to_losses()
        observer.schedule(_Handler(str(root), changes), str(root), recursive=True)
        try:
            observer.start()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # not all of its threads have been started
                observer.on_thread_stop()
            raise
        return watcher

    def is_alive(self) -> bool:
        """Whether it still reports changes of the folder that has this name now."""
        threads = [self._observer, *self._observer.emitters]
        if (notifications := getattr(self._observer, "_inotify_fd", None)) is not None:
            threads.append(notifications)
        return all(thread.is_alive() for thread in threads) and self._identity == _identity(self._root)

    def stop(self) -> None:
        """Stop its threads, and wait for their end."""
        self._observer.stop()
        self._observer.join()

    def _listen_to_losses(self) -> None:
        """Notice what watchdog 7 drops in silence: a folder that cannot be watched, and events that were too many.

        In earlier versions the first of these ends the thread, which `is_alive` notices.
        """
        notifications: Any = getattr(self._observer, "_inotify_fd", None)
        if notifications is None:
            return
        # The warning about a folder that is added twice quotes every watch: one warning had 7.5 MB.
        with contextlib.suppress(ImportError, AttributeError):
            from watchdog.observers.inotify import InotifyWatchGroup

            InotifyWatchGroup.__repr__ = object.__repr__  # type: ignore[method-assign]
        add_callback, handle_event = notifications.add_callback, notifications.handle_event

        def add(*arguments: Any, **options: Any) -> Any:
            try:
                return add_callback(*arguments, **options)
            except OSError as error:
                if error.errno not in _GONE:
                    self.missing = error.strerror or str(error)
                    self._changes.add(everything=True)
                raise

        def handle(event: Any) -> None:
            handle_event(event)
            if event.is_queue_overflow:
                self._changes.add(everything=True)

        notifications.add_callback, notifications.handle_event = add, handle


def is_remote(folder: Path) -> bool:
    """Whether a folder lies on a file system of another machine, or of the host of this virtual one."""
    found, kind = "", ""
    try:
        for partition in psutil.disk_partitions(all=True):
            if len(partition.mountpoint) >= len(found) and folder.is_relative_to(partition.mountpoint):
                found, kind = partition.mountpoint, partition.fstype
    except (OSError, RuntimeError):
        return False
    return _REMOTE.fullmatch(kind.lower()) is not None


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode, by which a folder differs from a later one of the same name; None where there is none."""
    try:
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


class _Handler(FileSystemEventHandler):
    def __init__(self, root: str, changes: Changes) -> None:
        self._root, self._changes = root, changes

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note a change, unless it is a change of git's own files."""
        if event.event_type in _NO_CHANGES or (event.is_directory and event.event_type == EVENT_TYPE_MODIFIED):
            return
        names = [os.fsdecode(name) for name in (event.src_path, event.dest_path) if name]
        paths = [os.path.relpath(name, self._root).replace(os.sep, "/") for name in names if is_utf8(name)]
        paths = [path for path in paths if not path.startswith((".git/", "..")) and path != ".git"]
        if paths and event.is_directory:
            self._changes.add(everything=True)
        else:
            self._changes.add(paths)
