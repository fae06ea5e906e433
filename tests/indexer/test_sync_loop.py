"""The process that keeps a folder's index up to date: real files, a real database, real processes that are killed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from indexer import Index, why_not
from indexer.store.connection import StoreConnection, counts_of
from indexer.store.schema import SCHEMA
from indexer.store.store import Store
from indexer.store.writing import WritableStore
from indexer.sync.folder import Folder
from indexer.sync.messages import IndexMessage, Problem, UpToDate, WaitingInLine
from indexer.sync.supervisor import Supervisor
from indexer.sync.sync_loop import run
from indexer.sync.watch import Changes, Watcher
from syntax import Cursor, DocumentId
from tests.indexer.sync_loops import SOON, problems, until, working

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small package of real code."""
    root = tmp_path / "root"
    shutil.copytree(STANDARD_LIBRARY / "json", root / "json", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def content(database: Path) -> dict[str, Any]:
    """Everything that an index holds, without the numbers of its rows."""
    connection = sqlite3.connect(database)
    rows = {
        "files": connection.execute("SELECT path, family, size, hash, refusal FROM files ORDER BY path").fetchall(),
        "texts": connection.execute(
            "SELECT path, texts.id & 0xfffff, lines FROM texts JOIN files ON files.id = texts.id >> 20 ORDER BY 1, 2"
        ).fetchall(),
        "symbols": connection.execute(
            "SELECT path, name, kind, container, first, head, last, documentation FROM symbols JOIN files "
            "ON files.id = symbols.id >> 20 ORDER BY path, first, name, kind"
        ).fetchall(),
        "chunks": connection.execute(
            "SELECT path, first, last, words FROM chunks JOIN files ON files.id = file ORDER BY path, first"
        ).fetchall(),
    }
    for table in ("texts", "symbols", "chunks"):  # nothing is left of files that are gone
        assert len(rows[table]) == connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.execute("INSERT INTO names(names, rank) VALUES ('integrity-check', 1)")  # raises if it differs
    connection.close()
    return rows


def fresh(root: Path, folder: Path) -> dict[str, Any]:
    """The content of an index made from nothing."""
    database = folder / f"fresh-{time.monotonic_ns()}.sqlite"
    run(root, database, Changes(), lambda message: None, once=True)
    return content(database)


def test_what_changes_on_disk_is_soon_in_the_index(root: Path, database: Path, tmp_path: Path) -> None:
    with working(root, database):
        reader = StoreConnection(database)
        store = reader.store()
        assert store is not None
        (root / "new.py").write_text("def brand_new(): pass\n")
        until(lambda: store.definitions(["brand_new"], "python", 5))
        (root / "new.py").write_text("def renamed(): pass\n")
        until(lambda: store.definitions(["renamed"], "python", 5) and not store.definitions(["brand_new"], "python", 5))
        (root / "json" / "decoder.py").unlink()
        (root / "json").rename(root / "other")
        until(lambda: store.has("other/encoder.py") and not store.has("json/encoder.py"))
        (root / ".gitignore").write_text("new.py\n")
        until(lambda: not store.has("new.py"))
        reader.close()
    assert content(database) == fresh(root, tmp_path)


def test_a_burst_of_changes_misses_nothing(root: Path, database: Path, tmp_path: Path) -> None:
    with working(root, database):
        reader = StoreConnection(database)
        store = reader.store()
        assert store is not None
        for number in range(700):
            file = root / f"p{number % 40}" / f"m{number}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"def function_{number}(): pass\n")
        shutil.rmtree(root / "p3")
        (root / "last.py").write_text("last = 1\n")
        until(lambda: store.counts()[0] == 700 - len(range(3, 700, 40)) + 6)
        reader.close()
    assert content(database) == fresh(root, tmp_path)


def test_a_restart_reads_only_what_has_changed(root: Path, database: Path) -> None:
    store = WritableStore.on_disk(database)
    assert Folder(root, store).scan() == 5
    assert Folder(root, store).scan() == 0
    (root / "json" / "tool.py").write_text("x = 1\n")
    os.utime(root / "json" / "scanner.py", ns=(1, 1))  # a new date, the same content
    before = store.definitions_in("json/scanner.py")
    assert Folder(root, store).scan() == 2
    assert store.definitions_in("json/scanner.py") == before
    number = store._connection.execute("SELECT id FROM files WHERE path = 'json/scanner.py'").fetchone()
    Folder(root, store).update(["json/scanner.py"])  # saved without a change
    assert store._connection.execute("SELECT id FROM files WHERE path = 'json/scanner.py'").fetchone() == number
    assert Folder(root, store).scan() == 0
    store.close()


def test_refused_files_are_remembered_with_their_reason(root: Path, database: Path) -> None:
    (root / "keys.py").write_text('token = "AKIAIOSFODNN7EXAMPLE"\n')
    store = WritableStore.on_disk(database)
    Folder(root, store).scan()
    assert "an AWS access key" in str(store.refusal("keys.py"))
    assert "an AWS access key" in str(why_not(root / "keys.py", root))
    assert store.text("keys.py") is None
    assert why_not(root / "json" / "tool.py", root) is None
    assert "outside" in str(why_not(root.parent / "x.py", root))
    store.close()


def test_killed_at_any_moment_it_leaves_a_whole_index(root: Path, database: Path, tmp_path: Path) -> None:
    for file in sorted(STANDARD_LIBRARY.glob("*.py"))[:80]:
        shutil.copy(file, root)
    command = [sys.executable, "-m", "indexer", str(root), str(database)]
    for moment in (0.3, 0.6, 0.9, 1.4):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(moment)  # not waiting for anything: the moment is what is tested
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        if database.exists():
            connection = sqlite3.connect(database)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
    run(root, database, Changes(), lambda message: None, once=True)
    assert content(database) == fresh(root, tmp_path)


def test_an_indexer_process_that_dies_is_started_again_and_ends_with_its_parent(root: Path, database: Path) -> None:
    import psutil

    said: list[IndexMessage] = []
    supervisor = Supervisor(root, database, said.append)
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    (child,) = (one for one in psutil.Process().children() if str(database) in one.cmdline())
    said.clear()
    child.kill()
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    (child,) = (one for one in psutil.Process().children() if str(database) in one.cmdline())
    supervisor.close()
    assert psutil.wait_procs([child], SOON)[1] == []


def test_of_two_indexer_processes_one_writes_and_the_other_waits_in_line(root: Path, database: Path) -> None:
    changes, said = Changes(), list[IndexMessage]()
    with working(root, database):
        second = threading.Thread(target=run, args=(root, database, changes, said.append))
        second.start()
        files = counts_of(database)[0]
        until(lambda: WaitingInLine(files) in said)
        (root / "one_more.py").write_text("one_more = 1\n")
        until(lambda: said[-1:] == [WaitingInLine(files + 1)])
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    changes.stop()
    second.join(SOON)
    assert not second.is_alive()


def test_a_damaged_index_is_made_anew_with_one_sentence(root: Path, database: Path, tmp_path: Path) -> None:
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database, although it is long enough to be taken for one" * 100)
    said: list[IndexMessage] = []
    run(root, database, Changes(), said.append, once=True)
    assert [one.sentence for one in said if isinstance(one, Problem)] == [
        f"The index of {root} was damaged (file is not a database) and is made anew."
    ]
    assert content(database) == fresh(root, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a full disk is played by RLIMIT_FSIZE, which Windows lacks")
def test_a_full_disk_is_one_sentence(root: Path, database: Path) -> None:
    import resource

    said: list[IndexMessage] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        run(root, database, Changes(), said.append, once=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (problem,) = [one.sentence for one in said if isinstance(one, Problem)]
    assert problem.startswith(f"The index of {root} cannot be written (")
    assert problem.endswith(f"see that the disk of {database.parent} works and has room.")
    run(root, database, Changes(), said.append, once=True)
    store = Store.readable(database)
    assert store.has("json/tool.py")
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="inotify, whose limit is reached here, is Linux's")
def test_where_the_system_watches_no_more_it_says_so_and_looks_by_itself(
    root: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(OSError, match=r"inotify|[Tt]oo many"):
            Watcher.start(root, Changes())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def refuse(root: Path, changes: Changes) -> Watcher:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Watcher, "start", refuse)
    monkeypatch.setattr("indexer.sync.sync_loop._LOOK_EVERY", 0.2)
    with working(root, database) as said:
        assert any("watches no more files" in sentence for sentence in problems(said))
        (root / "new.py").write_text("def brand_new(): pass\n")
        store = Store.readable(database)
        until(lambda: store.definitions(["brand_new"], "python", 5))
        store.close()


def test_the_index_sees_folders_come_and_go_and_open_documents_over_files(root: Path, tmp_path: Path) -> None:
    cache, said = tmp_path / "cache", list[IndexMessage]()
    index = Index(cache, lambda root, message: said.append(message))
    index.open_folder(root)
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    text = "from json.scanner import make_scanner\n\nscanner = make_scanner(\n"
    main, scanner = (DocumentId.in_folder(root, path) for path in ("main.py", "json/scanner.py"))

    def context() -> str:
        snippets = index.context_for(Cursor(main, "python", text, len(text) - 1), within=SOON)
        return "".join(one.text for one in snippets)

    assert "def py_make_scanner" in context()
    index.update(scanner, "python", "def make_scanner(of_the_buffer): pass\n")
    index.refresh()
    assert "of_the_buffer" in context()
    assert "py_make_scanner" not in context()
    index.forget(scanner)
    assert "def py_make_scanner" in context()
    index.close_folder(root)
    text += "\n" * 100  # elsewhere, so that the choice is made anew
    assert context() == ""
    index.close()


def test_an_ignored_document_helps_no_other(root: Path, tmp_path: Path) -> None:
    (root / ".gitignore").write_text("private.py\n")
    (root / "private.py").write_text("")
    index = Index(tmp_path / "cache")
    index.open_folder(root, watched=False)
    for path, text in {
        "private.py": "def private_thing(secret): pass\n",
        ".env.py": "def open_thing(secret): pass\n",
    }.items():
        index.update(DocumentId.in_folder(root, path), "python", text)
    index.refresh()
    text = "private_thing(secret)\nopen_thing(secret)\n"
    snippets = index.context_for(Cursor(DocumentId.in_folder(root, "main.py"), "python", text, 5), within=SOON)
    assert "private_thing" not in "".join(one.text for one in snippets)
    index.close()


def test_indexes_of_earlier_versions_are_removed(tmp_path: Path) -> None:
    """They may hold what the rules of today leave out."""
    root, database = tmp_path / "work", tmp_path / "cache" / f"index-{SCHEMA}.sqlite"
    root.mkdir()
    database.parent.mkdir()
    older = [database.with_name(f"index-{SCHEMA - 1}.sqlite{end}") for end in ("", "-wal", "-shm", ".lock")]
    newer = database.with_name(f"index-{SCHEMA + 1}.sqlite")
    for file in (*older, newer):
        file.write_bytes(b"")
    run(root, database, Changes(), lambda message: None, once=True)
    assert not any(file.exists() for file in older)
    assert newer.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a user's folders private by itself")
def test_an_index_can_be_read_by_its_user_alone(root: Path, database: Path) -> None:
    database.parent.mkdir(parents=True, mode=0o755)
    with working(root, database):
        assert database.parent.stat().st_mode & 0o777 == 0o700
