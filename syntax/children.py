"""Child processes: every one of ours is started here, so that none of them imports or runs what lies in a workspace.

A Python child gets the import path of its parent, entry by entry, and nothing from the current folder or the
environment (`-I`). It runs in the root of the file system: paths given to it must be absolute. Programs of others are
found in the absolute folders of PATH only; Windows, and a PATH with `.` in it, would take them from a workspace.

Children end with their parent, as their pipes close then; `end_children` sees to those that cannot notice it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import site
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment variables that keep dependencies from reporting to their makers, and from asking for newer versions."""
_BOOT = (
    "import sys, json, runpy; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_HOUSE = str(Path(__file__).resolve().parents[1])
_lock = threading.Lock()
_expendable: weakref.WeakSet[subprocess.Popen[Any]] = weakref.WeakSet()
_others: weakref.WeakSet[subprocess.Popen[Any]] = weakref.WeakSet()


def import_path() -> list[str]:
    """Where a child looks for modules: the absolute entries of `sys.path`, without the current folder.

    The current folder stays only where it is Python's own, or the one that this package itself was imported from.
    """
    try:
        here = os.path.realpath(Path.cwd())
    except OSError:  # it was removed
        here = ""
    trusted = {_HOUSE, *map(os.path.realpath, [*sysconfig.get_paths().values(), *site.getsitepackages()])}
    places = {entry: os.path.realpath(entry) for entry in sys.path if Path(entry).is_absolute()}
    kept = [entry for entry, place in places.items() if place in trusted or place != here]
    return kept if _HOUSE in places.values() else [*kept, _HOUSE]


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module as `python -m module arguments` would, blind to the current folder."""
    utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
    return [sys.executable, "-I", *utf8, "-c", _BOOT, json.dumps(import_path()), module, *arguments]


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: the parent's, with telemetry switched off."""
    return {**os.environ, **QUIET, **(more or {})}


def start_python(module: str, *arguments: str, expendable: bool = False, **options: Any) -> subprocess.Popen[Any]:
    """Start a module in a Python process of its own. `options` are those of `subprocess.Popen`.

    `expendable`: it may be killed at any moment, as it writes nothing that lasts.
    """
    options = {"cwd": _neutral_folder(), "env": child_environment(), "creationflags": _no_window(), **options}
    process = subprocess.Popen(python_command(module, *arguments), **options)
    with _lock:
        (_expendable if expendable else _others).add(process)
    return process


@atexit.register
def end_children() -> None:
    """Kill children that are expendable, and let others run on that were stopped: they end when their pipes close.

    What was stopped would not see the end of its parent. Each process does this at its end, so it reaches the
    children's children, too. A program that ends by `os._exit` calls it first.
    """
    with _lock:
        expendable, others = list(_expendable), list(_others)
    for process in expendable:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait(1.0)
    for process in others:
        let_run(process)


def let_run(process: subprocess.Popen[Any]) -> None:
    """Let a child run on if it was stopped."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            process.send_signal(signal.SIGCONT)


def run_python(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a Python process of its own, without standard input, to its end; returns what it has printed."""
    piped: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start_python(module, *arguments, **piped, encoding="utf-8", errors="replace") as process:
        said, complained = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


def find_program(name: str) -> str | None:
    """The absolute path of a program of others, from the absolute folders of PATH; None where there is none."""
    folders = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(entry).is_absolute()]
    suffixes = os.environ.get("PATHEXT", ".EXE").split(os.pathsep) if sys.platform == "win32" else [""]
    for folder in folders:
        for suffix in suffixes:
            program = Path(folder) / f"{name}{suffix}"
            if program.is_file() and os.access(program, os.X_OK):
                return str(program)
    return None


def _neutral_folder() -> str:
    return Path(sys.executable).anchor


def _no_window() -> int:
    return getattr(subprocess, "CREATE_NO_WINDOW", 0)
