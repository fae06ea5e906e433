"""Several processes that read files: the index is the same as one that a single process made."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from indexer.store.writing import WritableStore
from indexer.sync import pool
from indexer.sync.folder import Folder
from indexer.sync.pool import read_files

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pool process beside this one, both with something to read, however few files and processors there are."""
    monkeypatch.setattr(pool, "_WORTH_IT", 1)
    monkeypatch.setattr(pool, "_AHEAD", 6)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Some dozens of modules, out of the repository that a Python may lie in, which may ignore it."""
    return Path(shutil.copytree(STANDARD_LIBRARY / "asyncio", tmp_path / "root"))


def content(root: Path, file: Path) -> list[object]:
    store = WritableStore.on_disk(file)
    Folder(root, store).scan()
    questions = (
        "SELECT path, hash, refusal FROM files",
        "SELECT path, t.id & 0xfffff, lines FROM texts t JOIN files f ON f.id = t.id >> 20",
        "SELECT path, name, kind, container, first, head, last, documentation FROM symbols s "
        "JOIN files f ON f.id = s.id >> 20",
        "SELECT path, first, last, words FROM chunks c JOIN files f ON f.id = c.file",
        "SELECT * FROM frequencies",
    )
    rows: list[object] = [sorted(store._connection.execute(question)) for question in questions]
    store.close()
    return rows


@pytest.mark.usefixtures("two_processes")
def test_an_index_made_by_two_processes_is_that_of_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = content(root, tmp_path / "two.sqlite")
    monkeypatch.setattr(pool, "_WORTH_IT", 1_000_000)
    assert two == content(root, tmp_path / "one.sqlite")
    assert all(two)


@pytest.mark.usefixtures("two_processes")
def test_what_a_process_that_dies_was_given_is_read_by_the_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[pool.PoolProcess] = []
    begin = pool.PoolProcess.__init__

    def note(process: pool.PoolProcess, folder: Path) -> None:
        begin(process, folder)
        started.append(process)

    monkeypatch.setattr(pool.PoolProcess, "__init__", note)
    paths = [file.name for file in sorted(root.glob("*.py"))]
    found = []
    for path, reading in read_files(root, paths, {}):
        found.append(path)
        assert reading is not None
        if len(found) == 5:
            started[0]._process.kill()
    assert sorted(found) == paths
    assert len(started) <= 2  # what it was reading when it was killed is given to another one


@pytest.mark.usefixtures("two_processes")
def test_processes_end_when_no_more_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("x = 1\n", encoding="utf-8")
    arriving = read_files(tmp_path, ["gone.py", "never.py"], {})
    answers = dict([next(arriving)])
    process = arriving.gi_frame.f_locals["pool"][0]
    arriving.close()
    assert process._process.returncode is not None
    assert answers


@pytest.mark.usefixtures("two_processes")
def test_a_file_that_ends_a_grammar_costs_that_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(30):
        (root / f"m{number}.py").write_text(f"def function_{number}(): pass\n")
    (root / "crash.yaml").write_text(" -" * 254)
    store = WritableStore.in_memory()
    Folder(root, store).scan()
    assert {
        one.symbol.name for one in store.definitions([f"function_{number}" for number in range(30)], "python", 9)
    } == {f"function_{number}" for number in range(30)}
    refused = store._connection.execute("SELECT path, refusal FROM files WHERE refusal != ''").fetchall()
    assert [(path, "crashes" in why) for path, why in refused] == [("crash.yaml", True)]
