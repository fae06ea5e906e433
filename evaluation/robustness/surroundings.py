"""Folders and processes that campaigns share: a cache with the default model, small workspaces, and who is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from engine.model_folders.locations import DEFAULT_MODEL, find_model
from indexer import Index, database_of
from indexer.parsing import analysis
from syntax import Cursor, DocumentId

SOON = 60.0
"""Seconds in which whatever is waited for must have happened, on a slow and busy machine."""
_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@contextmanager
def places() -> Iterator[Path]:
    """A temporary folder for a campaign, or a round of it."""
    with tempfile.TemporaryDirectory(prefix="mellum-robustness-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def cache_with_model(cache: Path) -> Path:
    """A cache folder of its own with the default model in it, as links to the one that is set up."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # on another disk
            shutil.copy2(source, target)

    shutil.copytree(find_model(DEFAULT_MODEL), cache / "models" / DEFAULT_MODEL, copy_function=link)
    return cache


def workspace(root: Path, *packages: str) -> Path:
    """A small project: packages of the standard library, copied."""
    for package in packages or ("json", "email"):
        shutil.copytree(_STANDARD_LIBRARY / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def until(condition: Callable[[], Any], within: float = SOON) -> Any:
    """Wait until a condition holds; returns what it returned, or its last value where it never did."""
    deadline = time.monotonic() + within
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def family(process_id: int) -> list[psutil.Process]:
    """A process and its descendants that still run."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(process_id)
        return [process, *process.children(recursive=True)]
    return []


def left_of(processes: list[psutil.Process], within: float = SOON) -> list[str]:
    """Which of these processes do not end in time, as their states and command lines; they are killed."""
    _, alive = psutil.wait_procs(processes, timeout=within)
    left = []
    for process in alive:
        with contextlib.suppress(psutil.Error):  # it has ended now
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.status()}: {' '.join(process.cmdline()[-4:])[-120:]}")
                process.kill()
    return left


def damage_in(database: Path) -> str:
    """What SQLite finds wrong with an index; empty where nothing is, or there is none yet."""
    if not database.is_file():
        return ""
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        return f"{type(error).__name__}: {error}"
    return "" if found == ["ok"] else "; ".join(map(str, found[:3]))


def search_finds(root: Path, cache: Path) -> bool:
    """Whether an index gives the definition that an import in a new document asks for."""
    index = Index(cache)
    try:
        index.open_folder(root, watched=False)
        text = "from json.scanner import make_scanner\n\nscanner = make_scanner(\n"
        cursor = Cursor(DocumentId.in_folder(root, "main.py"), "python", text, len(text) - 1)
        found = index.context_for(cursor, within=SOON)
        return any("make_scanner" in snippet.text for snippet in found)
    finally:
        index.close()
        analysis.grammars.close()


def database(root: Path, cache: Path) -> Path:
    """Where the index of a folder lies."""
    return database_of(root, cache)


def litter_in(folder: Path, usual: Callable[[Path], bool]) -> list[str]:
    """Files and folders below a folder that are not usual there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not usual(path))
