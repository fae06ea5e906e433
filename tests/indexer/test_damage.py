"""A damaged index is made anew by the process that notices, and what cannot be written is one sentence."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from indexer import Index, database_of
from indexer.store.connection import StoreConnection
from indexer.store.damage import Trouble, trouble_of
from indexer.store.rows import FileState
from indexer.store.store import Store
from indexer.store.writing import WritableStore
from indexer.sync.messages import IndexMessage, Resting, UpToDate
from indexer.sync.supervisor import Supervisor
from indexer.sync.sync_loop import index_now, run
from indexer.sync.watch import Changes
from syntax import Cursor, DocumentId
from tests.indexer.sync_loops import SOON, index_once, indexed, problems, until, without_privileges, working

FILES = {"decoder.py", "encoder.py", "__init__.py", "scanner.py", "tool.py"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small package of real code."""
    root = tmp_path / "root"
    package = Path(sysconfig.get_paths()["stdlib"]) / "json"
    shutil.copytree(package, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def database(tmp_path: Path, root: Path) -> Path:
    """Its index, made already."""
    database = database_of(root, tmp_path / "cache")
    assert index_once(root, database) == []
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return database


def change(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def overwrite(database: Path, start: int, data: bytes) -> None:
    with database.open("r+b") as file:
        file.seek(start)
        file.write(data)


def replace(database: Path, make: Callable[[Path], object]) -> None:
    database.unlink()
    make(database)


def schema_of_other_bytes(database: Path) -> None:
    data = database.read_bytes()
    at = data.index(b"CREATE TABLE files")
    overwrite(database, at, b"CR\xff\xfeTE")


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "no database": lambda it: it.write_bytes(b"something else" * 1000),
    "a directory": lambda it: replace(it, Path.mkdir),
    "a full directory": lambda it: replace(it, lambda path: (path / "x").mkdir(parents=True)),
    "a pipe": lambda it: replace(it, os.mkfifo),
    "a link to itself": lambda it: replace(it, lambda path: path.symlink_to(path.name)),
    "zero bytes": lambda it: it.write_bytes(b""),
    "half of it": lambda it: os.truncate(it, it.stat().st_size // 2),
    "one page": lambda it: os.truncate(it, 4096),
    "a schema that is not UTF-8": schema_of_other_bytes,
    "other tables": lambda it: change(it, "DROP TABLE symbols", "CREATE TABLE symbols(x)"),
    "a table too few": lambda it: change(it, "DROP TABLE frequencies"),
    "another version": lambda it: change(it, "PRAGMA user_version = 7"),
    "noise in its pages": lambda it: overwrite(it, 4096, os.urandom(it.stat().st_size - 8192)),
}
UNSEEN: dict[str, Callable[[Path], object]] = {
    "texts that cannot be unpacked": lambda it: change(it, "UPDATE texts SET lines = x'789c01ffff'"),
    "texts that are numbers": lambda it: change(it, "UPDATE texts SET lines = 7"),
    "names that are bytes": lambda it: change(it, "UPDATE chunks SET words = x'ff00ff'"),
    "paths that are not UTF-8": lambda it: change(it, "UPDATE files SET path = CAST(x'ff' || id AS TEXT)"),
    "symbols of a wrong type": lambda it: change(it, "UPDATE symbols SET first = 'one', name = x'00'"),
    "a search index of noise": lambda it: change(it, "UPDATE names_data SET block = x'ff00ff00ff'"),
}
if sys.platform == "win32":
    del UNREADABLE["a pipe"], UNREADABLE["a link to itself"]


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_damaged_index_is_made_anew(root: Path, database: Path, damage: Callable[[Path], object]) -> None:
    damage(database)
    with working(root, database) as said:
        (root / "new.py").write_text("def brand_new(): pass\n")
        until(lambda: "new.py" in indexed(database))
    sentences = problems(said)
    assert len(sentences) <= 1  # an empty file is as good as none
    assert all("was damaged" in one and one.endswith("is made anew.") for one in sentences)
    assert indexed(database) == FILES | {"new.py"}


FOR_READERS = [
    pytest.param(
        damage, id=name, marks=[] if name in ("zero bytes", "a schema that is not UTF-8") else pytest.mark.slow
    )
    for name, damage in UNREADABLE.items()
] + [pytest.param(damage, id=name) for name, damage in UNSEEN.items()]


@pytest.mark.parametrize("damage", FOR_READERS)
def test_what_a_reader_cannot_read_is_made_anew(root: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    cache, said = tmp_path / "cache", list[IndexMessage]()
    index = Index(cache, lambda root, message: said.append(message))
    index.open_folder(root)
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    database = database_of(root, cache)
    change(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    (connection,) = index._folders.connections()
    connection.close()
    damage(database)
    main, text = DocumentId.in_folder(root, "main.py"), "from .scanner import make_scanner\n\nscanner = make_scanner(\n"

    def context() -> str:
        index._plans._plans.clear()
        found = index.context_for(Cursor(main, "python", text, len(text) - 1), within=SOON)
        neighbours = index.neighbours(Cursor(main, "python", text, len(text) - 1))
        return "".join(one.text for one in found) if neighbours else ""

    until(lambda: "def py_make_scanner" in context())
    until(lambda: indexed(database) == FILES)  # on a busy machine, the last file may still be read
    index.close()
    assert len(problems(said)) <= 1
    assert all("was damaged" in sentence for sentence in problems(said))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove what is open")
def test_an_index_that_is_cut_off_while_it_is_open_is_damaged(tmp_path: Path) -> None:
    database = tmp_path / "index.sqlite"
    with closing(WritableStore.on_disk(database)) as store:
        store.put("new.py", FileState(0, 0, b""), "not read")
        for name in ("-wal", "-shm"):
            Path(f"{database}{name}").unlink()
        os.truncate(database, 5000)
        with pytest.raises(sqlite3.OperationalError) as caught:
            Store.readable(database)
        assert trouble_of(caught.value) is Trouble.DAMAGED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes among its files")
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_journal_that_is_no_file_does_no_harm(root: Path, database: Path, make: Callable[[Path], object]) -> None:
    replace(Path(f"{database}.reading"), make)
    (root / "new.py").write_text("new = 1\n")
    assert index_once(root, database) == []
    assert indexed(database) == FILES | {"new.py"}


@pytest.mark.parametrize("damage", UNSEEN.values(), ids=UNSEEN.keys())
def test_the_command_finds_what_no_start_would_see(
    root: Path, database: Path, damage: Callable[[Path], object]
) -> None:
    damage(database)
    said: list[IndexMessage] = []
    assert index_now(root, database, said.append)
    (sentence,) = problems(said)
    assert "was damaged" in sentence
    store = WritableStore.on_disk(database)
    store.check()
    store.close()


def test_the_command_makes_it_anew_when_asked(root: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.sync.sync_loop._LOOK_EVERY", 0.5)
    change(database, "UPDATE files SET refusal = 'it was refused by mistake'")
    assert index_now(root, database, lambda message: None)
    assert indexed(database) == set()
    assert index_now(root, database, lambda message: None, again=True)
    assert indexed(database) == FILES
    change(database, "UPDATE files SET refusal = 'it was refused by mistake'")
    with working(root, database):
        assert not index_now(root, database, lambda message: None, again=True)
        reader = StoreConnection(database)
        until(lambda: (store := reader.store()) is not None and store.counts()[0] == len(FILES))
        reader.close()


def test_an_index_that_is_removed_is_made_again(root: Path, database: Path, tmp_path: Path) -> None:
    said: list[IndexMessage] = []
    supervisor = Supervisor(root, database, said.append)
    reader = StoreConnection(database, supervisor.check)
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    assert reader.store() is not None
    for place in (database, tmp_path / "cache"):
        (shutil.rmtree if place.is_dir() else Path.unlink)(place)
        assert reader.store() is None
        until(lambda: (store := reader.store()) is not None and store.counts()[0] == len(FILES))
    reader.close()
    supervisor.close()
    assert problems(said) == []


def blocked(cache: Path) -> None:
    """Put a file where a folder has to be made: for the superuser, too, it cannot."""
    cache.mkdir()
    (cache / "index").write_text("")


def test_a_cache_folder_that_cannot_be_written_is_one_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    blocked(cache)
    monkeypatch.setattr("indexer.sync.sync_loop._REST", 0.05)
    monkeypatch.setattr("indexer.sync.sync_loop._LONGEST_REST", 0.05)
    database = database_of(root, cache)
    with working(root, database) as said:
        until(lambda: sum(isinstance(one, Resting) for one in said) > 3)
        (sentence,) = problems(said)
        assert sentence.startswith(f"The cache folder {cache} cannot be written (")
        assert f"so {root} has no index" in sentence
        (cache / "index").unlink()
        until(lambda: any(isinstance(one, UpToDate) for one in said))
    assert indexed(database) == FILES


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped with a tool of Linux")
@pytest.mark.parametrize("has_index", [False, True])
def test_a_read_only_cache_folder_is_one_sentence(root: Path, tmp_path: Path, has_index: bool) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    database = database_of(root, cache)
    if has_index:
        index_once(root, database)
        (root / "new.py").write_text("new = 1\n")
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    for path in [*cache.rglob("*"), cache]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = (
        "import sys; from pathlib import Path; from tests.indexer.sync_loops import index_once\n"
        "print(*index_once(*map(Path, sys.argv[1:])), sep='\\n')"
    )
    command = [*without_privileges(), sys.executable, "-c", code, str(root), str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    for path in folders:
        path.chmod(0o755)
    (sentence,) = done.stdout.splitlines()
    assert sentence.startswith(f"The cache folder {cache} cannot be written (")
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="a full disk is played by RLIMIT_FSIZE, which Windows lacks")
def test_a_full_disk_is_reported_once_and_waited_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    monkeypatch.setattr("indexer.sync.sync_loop._DISK_FULL_PAUSE", 0.05)
    database, said, changes = database_of(root, tmp_path / "cache"), list[IndexMessage](), Changes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    loop = threading.Thread(target=run, args=(root, database, changes, said.append))
    try:
        loop.start()
        until(lambda: sum(isinstance(one, Resting) for one in said) > 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    until(lambda: any(isinstance(one, UpToDate) for one in said))
    changes.stop()
    loop.join(SOON)
    (sentence,) = problems(said)
    assert sentence.endswith(f"see that the disk of {database.parent} works and has room.")
    assert indexed(database) == FILES
