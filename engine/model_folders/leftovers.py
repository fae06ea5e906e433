"""What killed exports and removals left beside a model: finished where the new model is whole, undone where not.

A model NAME is written in a folder `.NAME~…` beside its place, as `new`; the one that it replaces is moved there as
`old`, only when everything of `new` is on the disk. So whichever step was the last, one of the two is whole.
"""

from __future__ import annotations

import contextlib
import glob
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from engine.model_folders.manifest import MANIFEST_FILE, ModelError, read_manifest
from engine.model_folders.whole_file import ENDING

NEW, OLD = "new", "old"
"""What lies in such a folder: the model that is made, and the one that it replaces."""


def recover(target: Path) -> None:
    """Put a model in its place that was left beside it, then remove leftovers. Only while holding its lock."""
    for leftover in _leftovers(target):
        recover_from(leftover, target)
    with contextlib.suppress(OSError):
        _unfinished(target).unlink(missing_ok=True)


def recover_from(leftover: Path, target: Path) -> None:
    """Do so with one such folder. Where neither model can be put in its place, it stays for the next time."""
    new, old = leftover / NEW, leftover / OLD
    if (old / MANIFEST_FILE).is_file():
        for model in (new, old):
            if not target.exists() and _is_model(model):
                with contextlib.suppress(OSError):
                    model.rename(target)
        if not target.exists():
            return
    with contextlib.suppress(OSError):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def recover_all(models: Path) -> None:
    """Do so for every model of a folder that no other process is writing."""
    with contextlib.suppress(OSError):
        found = list(models.iterdir())
        names = {one.name[1:].rpartition("~")[0] for one in found if one.name.startswith(".")}
        names |= {one.name for one in found if _unfinished(one).exists()}
        for name in sorted(filter(None, names)):
            recover_if_free(models / name, models / f".{name}.lock")


def recover_if_free(target: Path, lock: Path) -> None:
    """Do so for one model, unless another process is writing it, or nothing can be written there."""
    with contextlib.suppress(OSError, Timeout):
        if next(_leftovers(target), None) is not None or _unfinished(target).exists():
            with FileLock(lock).acquire(timeout=0):
                recover(target)


def _unfinished(target: Path) -> Path:
    """Where a manifest is written before it takes the place of the old one."""
    return target / f"{MANIFEST_FILE}{ENDING}"


def _leftovers(target: Path) -> Iterator[Path]:
    return target.parent.glob(f".{glob.escape(target.name)}~*")


def _is_model(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except ModelError:
        return False
    return True
