"""Files read by a pool of processes: Python's lock does not serialize them, and a crash ends one of them alone.

`python -m indexer --read FOLDER` takes paths from standard input and answers on standard output, in pickles. It ends
at the end of its input, so it ends with its parent. A file that crashes such a process, or takes half a minute, is
given once more to a new process; if that one ends as well, the file is refused. `indexer/README.md` says why this is no
`ProcessPoolExecutor`.
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
from indexer.store.rows import FileState
from indexer.sync.file_update import Outcome, read_file, refuse_file
from syntax.children import start_python
from syntax.parsing.alarm import Alarm, be_expendable

LONGEST = 30.0
"""Seconds that one file may take; then the process that reads it ends itself, even inside of native code."""
_WORTH_IT = 300  # files: to start a process takes as long as to read some dozens of files
_MOST = 3  # processes; more of them would wait for the one that writes
_AHEAD = 32  # files that each process is given in advance: enough for the time of a commit


def read_files(
    root: Path,
    paths: Sequence[str],
    known: Mapping[str, FileState],
    *,
    suspects: Collection[str] = (),
    begin: Callable[[str], None] = lambda path: None,
) -> Generator[tuple[str, Outcome], None, None]:
    """Read files in any order; where there are many, in other processes, too.

    `suspects` are read in other processes only; `begin` is called with each path before this process reads the file.
    """
    doubtful = deque(path for path in paths if path in suspects)
    left = deque(path for path in paths if path not in suspects)
    count = min((os.cpu_count() or 1) // 2, _MOST) if len(left) >= _WORTH_IT else 0
    pool: list[PoolProcess] = []
    try:
        while doubtful:
            path = doubtful.popleft()
            yield path, _read_in_new_process(root, path, known)
        with contextlib.suppress(OSError):  # no process can be started: those that were started are enough
            while len(pool) < count:
                pool.append(PoolProcess(root))
        while left or any(process.given for process in pool):
            for process in pool:
                while left and process.is_alive and len(process.given) < _AHEAD:
                    process.ask(left.popleft(), known)
            have_answered = False
            for process in pool:
                for answer in process.answers(wait=not left):
                    have_answered = True
                    yield answer
                if not process.is_alive and process.given:  # perhaps the first file ended it: others are read here
                    doubtful.append(process.given.popleft())
                    left.extend(process.given)
                    process.given.clear()
            if left and not have_answered:  # answers come first: the caller, who writes them, is the busiest
                path = left.popleft()
                begin(path)
                with limited():
                    outcome = read_file(root / path, path, known.get(path))
                yield path, outcome
        for path in doubtful:
            yield path, _read_in_new_process(root, path, known)
    finally:
        for process in pool:
            process.close()


@contextmanager
def limited() -> Iterator[None]:
    """End this process if the block takes longer than LONGEST, even if native code never returns to Python."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _read_in_new_process(root: Path, path: str, known: Mapping[str, FileState]) -> Outcome:
    """Read a file that has ended a process in a new one; refuse the file if that one ends as well."""
    try:
        process = PoolProcess(root)
    except OSError as error:
        return f"no process can be started to read it ({error})"
    try:
        process.ask(path, known)
        for _, outcome in process.answers(wait=True):
            return outcome
    finally:
        process.close()
    return refuse_file(root / path, "reading it crashes, or takes more than half a minute")


class PoolProcess:
    """One process, and the paths that it was given and has not answered yet."""

    def __init__(self, root: Path) -> None:
        self.given: deque[str] = deque()
        self.is_alive = True
        self._answers: queue.SimpleQueue[Outcome | EOFError] = queue.SimpleQueue()
        pipe = subprocess.PIPE
        self._process = start_python(
            "indexer", "--read", str(root.absolute()), expendable=True, stdin=pipe, stdout=pipe
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        threading.Thread(target=self._listen, name="pool process", daemon=True).start()

    def ask(self, path: str, known: Mapping[str, FileState]) -> None:
        """Give it the path of a file."""
        self.given.append(path)
        try:
            pickle.dump((path, known.get(path)), self._input)
            self._input.flush()
        except OSError:
            self.is_alive = False

    def answers(self, *, wait: bool) -> Iterator[tuple[str, Outcome]]:
        """The files that it has read by now; with `wait`, at least one."""
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
        """End it, without the answers that are missing."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # bytes that it did not take
            self._input.close()
        self._output.close()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(pickle.load(self._output))  # written by `serve` below
        except Exception:  # it ended, perhaps in the middle of an answer
            self._answers.put(EOFError())


def serve(root: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Read files until the requests end, or until the parent takes no more answers.

    A grammar may crash this process, or take so long that the alarm ends it; then the parent reads the files left.
    """
    be_expendable()
    alarm = Alarm(2 * SECONDS)
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            path, known = pickle.load(requests)
            with limited(), alarm:
                outcome = read_file(root / path, path, known, analyse_here)
            pickle.dump(outcome, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
