"""The indexer process as its parent sees it: stopped, dying, killed, and what is left of it."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import indexer.files.text
import indexer.sync.file_update
from indexer.sync.messages import IndexMessage, Resting, UpToDate
from indexer.sync.pool import read_files
from indexer.sync.supervisor import Supervisor
from syntax import children
from tests.indexer.sync_loops import SOON, index_once, indexed, problems, until

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")

_DEADLY = """
import os, signal, sys
import indexer.sync.file_update
import indexer.files.text
from syntax import children

command = children.python_command
read_text = indexer.sync.file_update.read_text

def deadly_command(module, *arguments):
    words = command(module, *arguments)
    at = words.index("-c") + 1
    path = f"import sys; sys.path.append({os.path.dirname(__file__)!r}); import deadly; runpy.run_module("
    words[at] = words[at].replace("runpy.run_module(", path)
    return words

children.python_command = deadly_command

def read_or_die(data):
    if b"die_of_this" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    while b"hang_with_this" in data:
        pass
    return read_text(data)

indexer.sync.file_update.read_text = read_or_die
"""


def family_of_indexers() -> list[psutil.Process]:
    """Indexer processes of this one, and their children."""
    indexers = [one for one in psutil.Process().children() if "indexer" in one.cmdline()]
    return [one for indexer in indexers for one in (indexer, *indexer.children(recursive=True))]


def supervised(root: Path, database: Path) -> tuple[Supervisor, list[IndexMessage]]:
    """Start an indexer process; returns when its index is up to date, with what it says."""
    said: list[IndexMessage] = []
    supervisor = Supervisor(root, database, said.append)
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    return supervisor, said


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that die of some texts and hang with others, as a parser of another language's code may."""
    (tmp_path / "deadly.py").write_text(_DEADLY)
    monkeypatch.setattr(children, "python_command", children.python_command)
    monkeypatch.setattr("indexer.sync.file_update.read_text", indexer.sync.file_update.read_text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("deadly")
    monkeypatch.setattr("indexer.sync.file_update.read_text", indexer.files.text.read_text)  # not here
    del sys.modules["deadly"]


@on_posix
def test_an_indexer_process_that_is_stopped_makes_no_caller_wait_and_is_killed(root: Path, database: Path) -> None:
    supervisor, _ = supervised(root, database)
    child = family_of_indexers()[0]
    child.suspend()
    began = time.monotonic()
    for number in range(2400):
        supervisor.tell([f"a/rather/long/path/{'x' * 200}/of/a/file_{number}.py"])
    supervisor.tell([f"{number}.py" for number in range(100_000)])
    supervisor.close()
    assert time.monotonic() - began < SOON / 6
    assert psutil.wait_procs([child], SOON)[1] == []


@on_posix
def test_what_was_told_meanwhile_is_seen_afterwards(root: Path, database: Path) -> None:
    supervisor, _ = supervised(root, database)
    child = family_of_indexers()[0]
    child.suspend()
    for number in range(2400):
        supervisor.tell([f"a/rather/long/path/{'x' * 200}/of/a/file_{number}.py"])
    (root / "late.py").write_text("late = 1\n")
    supervisor.tell(["late.py"])
    child.resume()
    until(lambda: "late.py" in indexed(database))
    supervisor.close()
    assert psutil.wait_procs([child], SOON)[1] == []


@on_posix
def test_a_pipe_that_appears_while_it_runs_hangs_nothing(root: Path, database: Path) -> None:
    supervisor, _ = supervised(root, database)
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / ".gitignore")
    supervisor.tell(["pipe.py", ".gitignore"])
    (root / "late.py").write_text("late = 1\n")
    until(lambda: "late.py" in indexed(database))
    descendants = family_of_indexers()
    supervisor.close()
    assert psutil.wait_procs(descendants, SOON)[1] == []


@on_posix
@pytest.mark.usefixtures("deadly")
def test_a_text_that_ends_processes_is_left_out_and_named_once(root: Path, database: Path) -> None:
    (root / "bad.py").write_text("die_of_this = 1\n")
    (root / "more.py").write_text("more = 1\n")
    supervisor, said = supervised(root, database)
    assert indexed(database) == {"ok.py", "more.py"}
    (sentence,) = problems(said)
    assert sentence.startswith(f"{root / 'bad.py'} is left out of the index: reading it crashes")
    descendants = family_of_indexers()
    supervisor.close()
    assert psutil.wait_procs(descendants, SOON)[1] == []
    supervisor, said = supervised(root, database)  # the next one does not try it again
    assert problems(said) == []
    (root / "bad.py").write_text("good_again = 1\n")
    until(lambda: "bad.py" in indexed(database))
    supervisor.close()


@on_posix
@pytest.mark.usefixtures("deadly")
@pytest.mark.parametrize("text", ["die_of_this = 1\n", "hang_with_this = 1\n"])
def test_of_many_files_the_one_that_readers_die_of_is_refused(
    root: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.sync.pool._WORTH_IT", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    if "hang" in text:
        _with_a_short_limit(monkeypatch)
    paths = [f"m{number}.py" for number in range(60)]
    for path in paths:
        (root / path).write_text("x = 1\n")
    (root / "m0.py").write_text(text)
    found = dict(read_files(root, paths, {}, suspects={"m0.py"}))
    assert found.keys() == set(paths)
    failed = {path for path, reading in found.items() if getattr(reading, "has_failed", True)}
    assert failed == {"m0.py"}


def _with_a_short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    command = children.python_command

    def limited_command(module: str, *arguments: str) -> list[str]:
        words = command(module, *arguments)
        at = words.index("-c") + 1
        limit = "import indexer.sync.pool as r; r.LONGEST = 1.0; "
        words[at] = words[at].replace("runpy.run_module(", f"{limit}runpy.run_module(")
        return words

    monkeypatch.setattr(children, "python_command", limited_command)


@on_posix
def test_one_that_never_stays_up_says_so_rests_and_tries_again(
    root: Path, database: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    switch = tmp_path / "broken"
    switch.touch()
    command = children.python_command

    def breakable(module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit(7)"] if switch.exists() else command(module, *arguments)

    monkeypatch.setattr(children, "python_command", breakable)
    monkeypatch.setattr("indexer.sync.supervisor._LEAST_REST", 0.1)
    said: list[IndexMessage] = []
    supervisor = Supervisor(root, database, said.append)
    until(lambda: any(isinstance(one, Resting) for one in said))
    (sentence,) = problems(said)
    assert sentence.startswith(f"The index of {root} does not stay up (exit code 7); it is tried again later.")
    switch.unlink()
    supervisor.tell(["ok.py"])  # a changed file ends the rest
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    supervisor.close()


@on_posix
@pytest.mark.usefixtures("deadly")
def test_a_hanging_indexer_process_ends_with_a_killed_parent(root: Path, database: Path, tmp_path: Path) -> None:
    (root / "bad.py").write_text("hang_with_this = 1\n")
    command = children.python_command("indexer", str(root), str(database))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
    assert process.stdin is not None
    reading = Path(f"{database}.reading")
    until(lambda: reading.exists() and b"bad.py" in reading.read_bytes())
    process.stdin.close()
    assert process.wait(SOON) is not None
    assert process.stdout is not None
    process.stdout.close()


def test_what_an_indexer_process_writes_to_stderr_is_logged_once_and_not_without_end(
    root: Path, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noise = "import sys\nfor n in range(20000): print('same', file=sys.stderr); print(n, 'x' * 1000, file=sys.stderr)"
    monkeypatch.setattr(children, "python_command", lambda module, *arguments: [sys.executable, "-c", noise])
    with caplog.at_level(logging.WARNING, "indexer.sync.supervisor"):
        said: list[IndexMessage] = []
        supervisor = Supervisor(root, database, said.append)
        until(lambda: any(isinstance(one, Resting) for one in said))
        supervisor.close()
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("same") <= 3
    assert sum(map(len, lines)) < 3 * 100 * 410


@on_posix
def test_killed_while_it_reads_it_refuses_nothing_that_is_innocent(root: Path, database: Path) -> None:
    index_once(root, database)
    Path(f"{database}.reading").write_bytes(b"innocent.py\0")
    (root / "innocent.py").write_text("innocent = 1\n")
    assert index_once(root, database) == []
    assert indexed(database) == {"ok.py", "innocent.py"}
