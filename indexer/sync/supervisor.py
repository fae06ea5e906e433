"""The indexer process as its parent sees it: started, told of changes, and started again if it dies.

No call here waits for that process, even if it is suspended.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from indexer.sync.messages import Changed, IndexMessage, Problem, Resting, decoded, encoded
from syntax.children import let_run, start_python

_LIVES = 3  # deaths within a minute each, after which the supervisor rests
_LONG_LIFE = 60.0  # seconds
_REST, _LONGEST_REST = 60.0, 600.0  # seconds; doubled each time
_LEAST_REST = 5.0  # seconds, after which a changed file ends the rest
_MOST_PATHS = 5_000  # that wait to be sent; more of them become one message to look at everything
_END_WITHIN = 5.0  # seconds for the process to end by itself
_SAME_PROBLEM = 600.0  # seconds in which a sentence is not repeated
_MOST_LINES, _LONGEST_LINE = 100, 400  # lines, code points: of what the process writes to stderr

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one indexer process alive for one workspace folder. It ends with its parent, when the pipe closes.

    `hear` takes its messages on a thread of this class. The condition protects what waits to be sent and which process
    is alive; it is held for moments, and no other lock is taken under it.
    """

    def __init__(self, root: Path, database: Path, hear: Callable[[IndexMessage], None]) -> None:
        self._root, self._database, self._hear = root, database, hear
        self._condition = threading.Condition()
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._paths: set[str] = set()
        self._everything = self._check = False
        self._problems: dict[str, float] = {}
        threading.Thread(target=self._live, name="index supervisor", daemon=True).start()

    def tell(self, paths: Iterable[str]) -> None:
        """Report changed files, by paths relative to the folder, which the process may not have noticed yet."""
        with self._condition:
            self._paths.update(paths)
            if len(self._paths) > _MOST_PATHS:
                self._paths.clear()
                self._everything = True
            self._condition.notify_all()

    def check(self) -> None:
        """Report that the index is missing or cannot be read: the process checks it, and makes it anew."""
        with self._condition:
            self._check = True
            self._condition.notify_all()

    def close(self) -> None:
        """Let the process end, which finishes its transaction first."""
        with self._condition:
            self._closed.set()
            process = self._process
            self._condition.notify_all()
        if process is not None:
            let_run(process)
            threading.Thread(target=_end, args=(process,), name="end of the indexer", daemon=True).start()

    def _live(self) -> None:
        deaths, rest = 0, _REST
        while True:
            started = time.monotonic()
            with self._condition:
                if self._closed.is_set():
                    return
                self._paths.clear()  # a new process looks at everything
                self._everything = self._check = False
                try:
                    process = self._process = _start(self._root, self._database)
                except OSError as error:
                    process, reason = None, str(error)
            if process is not None:
                threading.Thread(target=self._write, args=(process,), name="to the indexer", daemon=True).start()
                threading.Thread(target=_log_errors, args=(process,), name="log of the indexer", daemon=True).start()
                assert process.stdout is not None
                with process.stdout as told:
                    for line in told:
                        self._take(line)
                reason = f"exit code {process.wait()}"
            with self._condition:
                self._process = None
                self._condition.notify_all()
                if self._closed.is_set():
                    return
            if time.monotonic() - started > _LONG_LIFE:
                deaths, rest = 0, _REST
            deaths += 1
            if deaths >= _LIVES or process is None:
                self._say(
                    f"The index of {self._root} does not stay up ({reason}); it is tried again later. "
                    f"Run: mellum-lsp index {self._root}"
                )
                self._hear(Resting(rest))
                self._rest(rest)
                rest = min(2 * rest, _LONGEST_REST)

    def _rest(self, seconds: float) -> None:
        """Wait some seconds; when files change meanwhile, fewer."""
        with self._condition:
            self._condition.wait_for(self._closed.is_set, min(_LEAST_REST, seconds))
            self._condition.wait_for(lambda: self._closed.is_set() or bool(self._paths) or self._everything, seconds)

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        """Send what is reported to one process, until it or this object ends. Its pipe may block this thread."""
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin as pipe:  # OSError: it has died
            while True:
                with self._condition:
                    self._condition.wait_for(
                        lambda: (
                            self._closed.is_set()
                            or self._process is not process
                            or bool(self._paths)
                            or self._everything
                            or self._check
                        )
                    )
                    if self._closed.is_set() or self._process is not process:
                        return
                    message = Changed(frozenset(self._paths), self._everything, self._check)
                    self._paths.clear()
                    self._everything = self._check = False
                pipe.write(encoded(message))
                pipe.flush()

    def _take(self, line: bytes) -> None:
        try:
            message = decoded(line)
        except ValueError:
            return  # the last line of a process that was killed
        if isinstance(message, Problem):
            self._say(message.sentence)
        elif not isinstance(message, Changed):
            self._hear(message)

    def _say(self, problem: str) -> None:
        now = time.monotonic()
        self._problems = {one: said for one, said in self._problems.items() if now - said < _SAME_PROBLEM}
        if problem not in self._problems:
            self._problems[problem] = now
            self._hear(Problem(problem))


def _start(root: Path, database: Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return start_python("indexer", str(root.absolute()), str(database.absolute()), stdin=pipe, stdout=pipe, stderr=pipe)


def _log_errors(process: subprocess.Popen[bytes]) -> None:
    """Log what the process and its pool write to stderr: each line once, up to a limit."""
    assert process.stderr is not None
    seen: set[bytes] = set()
    with process.stderr as told:
        for line in told:
            if line in seen or len(seen) >= _MOST_LINES:
                continue
            seen.add(line)
            log.warning("%s", line.decode("utf-8", "replace").rstrip()[:_LONGEST_LINE])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait some seconds for the end of a process, then kill it, and what it has started."""
    try:
        process.wait(_END_WITHIN)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(psutil.Error):
            for one in reversed(psutil.Process(process.pid).children(recursive=True)):
                one.kill()
        process.kill()
        process.wait()
