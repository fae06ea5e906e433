"""The atomic replacement of a model folder: under a lock, whole or not at all, without remains of killed exports."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engine.model_folders.leftovers import OLD, recover, recover_from
from engine.model_folders.locations import CACHE_VARIABLE, lock_file
from engine.model_folders.manifest import MANIFEST_FILE
from export.architecture import ExportError

ELSEWHERE = f"choose another place by --out or {CACHE_VARIABLE}"


@contextmanager
def lock_for(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a model folder; calls `waiting` once if another process has it. A dead process has no lock.

    Exports and removals of the folder that were killed are finished or undone first.
    """
    path = lock_file(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
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
    """Make a temporary folder on the target's disk. If the process is killed, the next start recovers it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}~", dir=target.parent))
    except OSError as error:
        raise ExportError(f"{target.parent} cannot be written to ({error.strerror}); {ELSEWHERE}") from error
    try:
        yield folder
    finally:
        recover_from(folder, target)


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
            f"{existing} has {free >> 20} MB free and the model needs {needed >> 20} MB; make room there, or "
            f"{ELSEWHERE}"
        )


def put_in_place(folder: Path, target: Path) -> None:
    """Rename a finished folder, `NEW` inside the temporary folder of `beside`, to the target.

    An old one is moved aside first, because a rename cannot overwrite folders. If anything ends this between the two
    steps, the end of `beside` or the next start takes the second one or undoes the first.
    """
    for path in folder.iterdir():  # its files must be on the disk before it takes the target's name
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    try:
        with suppress(FileNotFoundError):
            target.rename(folder.with_name(OLD))
        folder.rename(target)
    except OSError as error:
        raise ExportError(
            f"{target} cannot be replaced ({error}); close the editors that use it and run this again"
        ) from error


def remove_model(target: Path) -> None:
    """Remove a model in one step, then its files; only while holding its lock. Raises OSError."""
    aside = target.parent / f".{target.name}~removed"  # from here on it is no model, even if this process is killed
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    recover(target)
