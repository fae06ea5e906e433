"""Files read by several processes: each has its own Python, which one process would wait for, and its own death.

`python -m indexer --read FOLDER` reads paths from standard input and answers on standard output, in pickles. It lives
as long as its input, so it ends with its parent. A file that such a process dies of, or spends half a minute
on, is given once more to a new one; if that dies, too, the file is refused.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from indexer.parsing.analysis import analyse_here
from indexer.parsing.symbols import SECONDS
from indexer.store.store import FileState
from indexer.sync.file_state import FileReading, read_file, refuse_file
from syntax.children import start_python
from syntax.parsing.alarm import Alarm, be_expendable

LONGEST = 30.0
"""Seconds after which a process that reads one file ends itself, whatever holds it."""
_WORTH_IT = 300  # files: starting a process takes as long as reading some dozens
_MOST = 3  # processes; more would wait for the one that writes
_AHEAD = 32  # files that each is given before its answers are asked for: enough for the time of a commit

Reading = FileReading | str | None
"""What `contents.read_file` returns."""


def readings(
    root: Path,
    paths: Sequence[str],
    known: Mapping[str, FileState],
    *,
    suspects: Collection[str] = (),
    begin: Callable[[str], None] = lambda path: None,
) -> Generator[tuple[str, Reading], None, None]:
    """Read files in any order, with the help of other processes where there are many.

    `suspects` are read by other processes only; `begin` is told of each file before it is read in this one.
    """
    doubtful = deque(path for path in paths if path in suspects)
    left = deque(path for path in paths if path not in suspects)
    count = min((os.cpu_count() or 1) // 2, _MOST) if len(left) >= _WORTH_IT else 0
    helpers: list[_Helper] = []
    try:
        while doubtful:
            path = doubtful.popleft()
            yield path, _read_apart(root, path, known)
        with contextlib.suppress(OSError):  # no more processes: it goes on with those that there are
            while len(helpers) < count:
                helpers.append(_Helper(root))
        while left or any(helper.given for helper in helpers):
            for helper in helpers:
                while left and helper.is_alive and len(helper.given) < _AHEAD:
                    helper.ask(left.popleft(), known)
            have_answered = False
            for helper in helpers:
                for answer in helper.answers(wait=not left):
                    have_answered = True
                    yield answer
                if not helper.is_alive and helper.given:  # it died of the first, perhaps: the others are read here
                    doubtful.append(helper.given.popleft())
                    left.extend(helper.given)
                    helper.given.clear()
            if left and not have_answered:  # what has been read is taken first: whoever writes is the busiest
                path = left.popleft()
                begin(path)
                with limited():
                    reading = read_file(root / path, path, known.get(path))
                yield path, reading
        for path in doubtful:
            yield path, _read_apart(root, path, known)
    finally:
        for helper in helpers:
            helper.close()


@contextmanager
def limited() -> Iterator[None]:
    """End this process if the block takes longer than LONGEST, even where native code never returns to Python."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _read_apart(root: Path, path: str, known: Mapping[str, FileState]) -> Reading:
    """Read a file that a process has died of, in a new one; refuse it if that dies, too."""
    try:
        helper = _Helper(root)
    except OSError as error:
        return f"no process can be started to read it ({error})"
    try:
        helper.ask(path, known)
        for _, reading in helper.answers(wait=True):
            return reading
    finally:
        helper.close()
    return refuse_file(root / path, "reading it crashes, or takes more than half a minute")


class _Helper:
    """One process, and the paths that it was given and has not answered."""

    def __init__(self, root: Path) -> None:
        self.given: deque[str] = deque()
        self.is_alive = True
        self._answers: queue.SimpleQueue[Reading | EOFError] = queue.SimpleQueue()
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

    def answers(self, *, wait: bool) -> Iterator[tuple[str, Reading]]:
        """What it has read by now; with `wait`, at least one file."""
        while self.given:
            try:
                answer = self._answers.get(block=wait and self.is_alive)
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
        with contextlib.suppress(OSError):  # what it was not given any more
            self._input.close()
        self._output.close()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(pickle.load(self._output))  # what this very module wrote
        except Exception:  # it ended, in the middle of an answer perhaps
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
            with limited(), alarm:
                reading = read_file(root / path, path, known, analyse_here)
            pickle.dump(reading, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
