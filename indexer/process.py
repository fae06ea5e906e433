"""The worker as its parent sees it: started, told of changes, heard, started again if it dies."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from syntax.children import start_python

_LIVES = 3  # starts of a worker that dies within a minute; then something is wrong that another start will not mend
_LONG_LIFE = 60.0  # seconds


class WorkerProcess:
    """One worker for one workspace folder. It ends with its parent, whose end of the pipe closes."""

    def __init__(self, root: Path, database: Path, hear: Callable[[dict[str, Any]], None]) -> None:
        self._root, self._database, self._hear = root, database, hear
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        threading.Thread(target=self._live, name="index worker", daemon=True).start()

    def tell(self, paths: Iterable[str]) -> None:
        """Report changed files, relative to the folder, that the worker may not have seen yet."""
        with self._lock:
            process = self._process
            if process is None or process.stdin is None:
                return  # a worker that starts looks at everything
            try:
                process.stdin.write(json.dumps({"changed": sorted(paths)}) + "\n")
                process.stdin.flush()
            except (OSError, ValueError):
                return  # it has died, and the next one looks at everything

    def close(self) -> None:
        """Let the worker end. Does not wait: it finishes its transaction by itself."""
        with self._lock:
            self._closed.set()
            if self._process is not None and self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except OSError:
                    return

    def _live(self) -> None:
        deaths = 0
        while deaths < _LIVES:
            started = time.monotonic()
            with self._lock:
                if self._closed.is_set():
                    return
                process = self._process = _start(self._root, self._database)
            assert process.stdout is not None
            for line in process.stdout:
                self._hear(json.loads(line))
            process.wait()
            with self._lock:
                self._process = None
                if self._closed.is_set():
                    return
            deaths = 1 if time.monotonic() - started > _LONG_LIFE else deaths + 1
        self._hear({"problem": f"The index of {self._root} does not stay up. Run: mellum-lsp index {self._root}"})


def _start(root: Path, database: Path) -> subprocess.Popen[str]:
    return start_python(
        "indexer",
        str(root.absolute()),
        str(database.absolute()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
