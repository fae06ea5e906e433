"""Files read by several processes: each has its own Python, which one process would wait for.

`python -m indexer --read FOLDER` reads paths from standard input and answers on standard output, in pickles. It lives
as long as its input, so it ends with whoever started it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from indexer.analysis import analyse_here
from indexer.contents import FileReading, read_file
from indexer.store import FileState
from indexer.symbols import SECONDS
from syntax.alarm import Alarm, be_expendable
from syntax.children import start_python

_WORTH_IT = 300  # files: starting a process takes as long as reading some dozens
_MOST = 3  # processes; more would wait for the one that writes
_AHEAD = 32  # files that each is given before its answers are asked for: enough for the time of a commit


def readings(
    root: Path, paths: Sequence[str], known: Mapping[str, FileState]
) -> Generator[tuple[str, FileReading | None], None, None]:
    """Read files in any order, with the help of other processes where there are many; None for what is not there."""
    count = min((os.cpu_count() or 1) // 2, _MOST) if len(paths) >= _WORTH_IT else 0
    helpers = [_Helper(root) for _ in range(count)]
    left = deque(paths)
    try:
        while left or any(helper.given for helper in helpers):
            for helper in helpers:
                while left and helper.is_alive and len(helper.given) < _AHEAD:
                    helper.ask(left.popleft(), known)
            have_answered = False
            for helper in helpers:
                for answer in helper.answers(wait=not left):
                    have_answered = True
                    yield answer
                if not helper.is_alive:
                    left.extend(helper.given)  # it died: what it was given is read here
                    helper.given.clear()
            if left and not have_answered:  # what has been read is taken first: whoever writes is the busiest
                path = left.popleft()
                yield path, read_file(root / path, path, known.get(path))
    finally:
        for helper in helpers:
            helper.close()


class _Helper:
    """One process, and the paths that it was given and has not answered."""

    def __init__(self, root: Path) -> None:
        self.given: deque[str] = deque()
        self.is_alive = True
        self._answers: queue.SimpleQueue[FileReading | EOFError | None] = queue.SimpleQueue()
        self._process = start_python(
            "indexer", "--read", str(root.absolute()), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        threading.Thread(target=self._listen, name="reader", daemon=True).start()

    def ask(self, path: str, known: Mapping[str, FileState]) -> None:
        """Give it a file."""
        self.given.append(path)
        try:
            pickle.dump((path, known.get(path)), self._input)
            self._input.flush()
        except OSError:
            self.is_alive = False

    def answers(self, *, wait: bool) -> Iterator[tuple[str, FileReading | None]]:
        """What it has read by now; with `wait`, at least one file."""
        while self.given and self.is_alive:
            try:
                answer = self._answers.get(block=wait)
            except queue.Empty:
                return
            wait = False
            if isinstance(answer, EOFError):
                self.is_alive = False
                return
            yield self.given.popleft(), answer

    def close(self) -> None:
        """Let it end, with what it has not answered."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(pickle.load(self._output))  # what this very module wrote
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._answers.put(EOFError())


def serve(root: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Be such a process: until there are no more requests, or nobody is there to hear the answers.

    A grammar may end it, or take so long that the system does; then its parent reads what it was given.
    """
    be_expendable()
    alarm = Alarm(2 * SECONDS)
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            path, known = pickle.load(requests)
            with alarm:
                found = read_file(root / path, path, known, analyse_here)
            pickle.dump(found, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
