"""The store on its own: what it counts stays what its tables hold, through changes and removals."""

from __future__ import annotations

import contextlib
import shutil
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from indexer.store.overlay import Layer, Library
from indexer.store.store import Store
from indexer.store.writing import WritableStore
from indexer.sync.file_update import read_file
from indexer.sync.folder import Folder
from tests.indexer.sync_loops import indexed, until, working

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some real modules."""
    for package in ("json", "logging", "email"):
        shutil.copytree(STANDARD_LIBRARY / package, tmp_path / "root" / package)
    return tmp_path / "root"


def counted(store: Store) -> dict[str, int]:
    return {
        name: chunks for name, chunks in store._connection.execute("SELECT name, chunks FROM frequencies") if chunks
    }


def recounted(store: Store) -> dict[str, int]:
    store._connection.execute("INSERT INTO names(names, rank) VALUES ('integrity-check', 1)")  # raises if it differs
    rows = store._connection.execute("SELECT words FROM chunks")
    return dict(Counter(name for (words,) in rows for name in words.split()))


def test_how_often_names_stand_is_right_after_every_change(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    index = Folder(folder, store)
    index.scan()
    assert counted(store) == recounted(store)
    assert counted(store)["jsondecodeerror"] >= 2
    text = (folder / "json/decoder.py").read_text(encoding="utf-8")
    (folder / "json/decoder.py").write_text(text[: len(text) // 2], encoding="utf-8")
    (folder / "email/header.py").unlink()
    index.update(["json/decoder.py", "email/header.py"])
    assert counted(store) == recounted(store)
    shutil.rmtree(folder / "logging")
    index.scan()
    assert counted(store) == recounted(store)
    store.close()


def test_what_is_undone_is_not_counted(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    Folder(folder, store).scan()
    before = counted(store)
    with contextlib.suppress(KeyboardInterrupt), store.transaction():
        store.remove(["json/decoder.py"])
        raise KeyboardInterrupt
    with store.transaction():
        pass
    assert counted(store) == before == recounted(store)
    store.close()


def test_definitions_of_common_names_are_those_that_imports_lead_to(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    Folder(folder, store).scan()
    everywhere = store.definitions(["__init__", "dumps"], "python", 1000)
    assert len(everywhere) > 10
    assert [place.path for place in store.definitions(["__init__", "dumps"], "python", 5)] == ["json/__init__.py"]
    led = store.definitions(["__init__"], "python", 5, ["__init__", "handlers"])
    assert {place.path for place in led} == {"logging/handlers.py"}
    assert store.definitions(["__init__"], "python", 5, ["handlers"]) == []
    store.close()


def test_lines_are_those_of_the_text_wherever_they_stand(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    Folder(folder, store).scan()
    text = (folder / "logging/__init__.py").read_text(encoding="utf-8")
    assert store.text("logging/__init__.py") == text
    lines = text.split("\n")
    assert store.lines("logging/__init__.py", range(len(lines))) == lines
    wanted = [127, 128, 129, 1000, len(lines) - 1]
    assert store.lines("logging/__init__.py", wanted) == [lines[at] for at in wanted]
    assert store.lines("logging/__init__.py", [5, len(lines)]) is None
    assert store.lines("logging/missing.py", [0]) is None
    store.close()


def test_a_reader_sees_a_changed_file_anew(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    index = Folder(folder, store)
    index.scan()
    reader = Store.readable(tmp_path / "index.sqlite")
    path = "json/decoder.py"

    def seen() -> tuple[object, ...]:
        names = ["JSONDecoder", "Novelty"]
        return (
            [(one.path, one.symbol.name) for one in reader.definitions(names, "python", 5)],
            [one.symbol.name for one in reader.definitions_in(path, "")],
            [sorted(one.chunk.names) for one in reader.chunks_of(path)],
            reader.lines(path, [0]),
            [one.path for one in reader.chunks_with(["novelty"], "python", 5)],
        )

    before = seen()
    assert before[0] == [(path, "JSONDecoder")]
    assert "JSONDecodeError" in before[1]  # type: ignore[operator]
    (folder / path).write_text("class Novelty:\n    pass\n", encoding="utf-8")
    index.update([path])
    assert seen() == ([(path, "Novelty")], ["Novelty"], [["novelty"]], ["class Novelty:"], [path])
    (folder / path).unlink()
    index.update([path])
    assert seen() == ([], [], [], None, [])
    (folder / path).write_text("class JSONDecoder:\n    pass\n", encoding="utf-8")
    index.update([path])
    assert seen()[:2] == ([(path, "JSONDecoder")], ["JSONDecoder"])
    reader.close()
    store.close()


def test_a_question_is_answered_from_one_moment(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    index = Folder(folder, store)
    index.scan()
    reader = Store.readable(tmp_path / "index.sqlite")
    library = Library(WritableStore.in_memory(), [Layer(folder, reader)], lambda root, path: True)
    path = "json/decoder.py"

    def first_line_of_decoder() -> str:
        (place,) = library.definitions(["JSONDecoder"], "python", 5)
        (line,) = library.lines(path, [place.symbol.first]) or [""]
        return line

    with library.unchanging():
        assert first_line_of_decoder() == "class JSONDecoder(object):"
        text = (folder / path).read_text(encoding="utf-8")
        (folder / path).write_text("# moved\n" * 500 + text.replace("(object)", "(Base)"), encoding="utf-8")
        index.update([path])
        assert first_line_of_decoder() == "class JSONDecoder(object):"
    assert first_line_of_decoder() == "class JSONDecoder(Base):"
    reader.close()
    store.close()


def test_what_was_read_of_something_undone_is_forgotten(folder: Path, tmp_path: Path) -> None:
    store = WritableStore.on_disk(tmp_path / "index.sqlite")
    index = Folder(folder, store)
    (folder / "last.py").write_text("def undone():\n    pass\n", encoding="utf-8")
    reading = read_file(folder / "last.py", "last.py", None)
    assert reading is not None
    assert reading.content is not None
    with contextlib.suppress(KeyboardInterrupt), store.transaction():
        store.put("last.py", reading.state, reading.content)
        assert store.definitions_in("last.py")[0].symbol.name == "undone"
        assert store.lines("last.py", [0]) == ["def undone():"]
        raise KeyboardInterrupt
    assert store.definitions_in("last.py") == []
    (folder / "last.py").write_text("def done():\n    pass\n", encoding="utf-8")
    index.update(["last.py"])
    assert store.definitions_in("last.py")[0].symbol.name == "done"
    assert store.lines("last.py", [0]) == ["def done():"]
    store.close()


@pytest.mark.parametrize("how", ["ignored", "removed", "secret", "renamed"])
def test_nothing_of_a_file_that_left_stays_in_the_index(folder: Path, tmp_path: Path, how: str) -> None:
    private, database = folder / "json" / "private.py", tmp_path / "cache" / "index.sqlite"
    text = "def plugh_sentinel(value):\n    return plugh_sentinel\n" * 50
    private.write_text(text, encoding="utf-8")

    def remains() -> list[str]:
        return [file.name for file in database.parent.iterdir() if b"plugh_sentinel" in file.read_bytes()]

    with working(folder, database):
        reader = Store.readable(database)
        assert reader.text("json/private.py") == text
        assert remains()
        if how == "ignored":
            (folder / ".aiignore").write_text("private.py\n", encoding="utf-8")
        elif how == "removed":
            private.unlink()
        elif how == "secret":
            private.write_text("password = 'tr0ub4dor&3'\n", encoding="utf-8")
        else:
            private.rename(folder / ".env")
        until(lambda: not remains())
        assert "json/private.py" not in indexed(database)
        assert reader.text("json/decoder.py") is not None
        reader.close()
    assert not remains()
