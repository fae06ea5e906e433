"""Where a model folder is put: under a lock, whole or not at all, and without what killed exports left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engine.leftovers import OLD, recover
from engine.manifest import MANIFEST_FILE
from engine.models import lock_file
from export.architecture import ExportError


@contextmanager
def lock_for(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a model folder; calls `waiting` once if another process has it. Its death releases it, too.

    What killed exports and removals have left of it is finished or undone first.
    """
    place = lock_file(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        recover(target)
        yield
    finally:
        lock.release()


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Make a temporary folder on the target's disk, recovered by the next start of anything if this one is killed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{target.name}~", dir=target.parent)
    except OSError as error:
        raise ExportError(f"{target.parent} cannot be written to ({error.strerror}); choose another --out") from error
    with temporary as folder:
        yield Path(folder)


def check_replaceable(target: Path) -> None:
    """Refuse to replace anything but a model or an empty folder. Raises ExportError."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportError(f"{target} is no folder and will not be replaced; choose another --out or --name")
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST_FILE).is_file():
        raise ExportError(f"{target} is a folder that holds no model and will not be replaced; choose another --out")


def check_room(target: Path, needed: int) -> None:
    """Compare the free space of the target's disk with `needed` bytes. Raises ExportError."""
    existing = next(folder for folder in (target.parent, *target.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ExportError(
            f"{existing} has {free >> 20} MB free and the model needs {needed >> 20} MB; make room there, or choose "
            "another --out"
        )


def put_in_place(folder: Path, target: Path) -> None:
    """Rename a finished folder, `NEW` in one that `beside` has made, to its place.

    An old one is moved aside first, since folders cannot be overwritten; killed between the two steps,
    `engine.leftovers.recover` takes the second.
    """
    for path in folder.iterdir():  # its files are on the disk before it takes its name
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    aside = folder.with_name(OLD)
    try:
        with suppress(FileNotFoundError):
            target.rename(aside)
        try:
            folder.rename(target)
        except BaseException:
            if aside.exists():
                aside.rename(target)
            raise
    except OSError as error:
        raise ExportError(
            f"{target} cannot be replaced ({error}); close the editors that use it and run this again"
        ) from error


def remove_model(target: Path) -> None:
    """Remove a model in one step, then its files; only while holding its lock. Raises OSError."""
    aside = target.parent / f".{target.name}~removed"  # whatever happens next, it is no model any more
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    recover(target)
