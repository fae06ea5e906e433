"""The store on its own: what it counts stays what its tables hold, through changes and removals."""

from __future__ import annotations

import contextlib
import shutil
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from indexer.folder import Folder
from indexer.store import Store

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
    rows = store._connection.execute("SELECT words FROM names")
    return dict(Counter(name for (words,) in rows for name in set(words.lower().split())))


def test_how_often_names_stand_is_right_after_every_change(folder: Path, tmp_path: Path) -> None:
    store = Store.writable(tmp_path / "index.sqlite")
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
    store = Store.writable(tmp_path / "index.sqlite")
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
    store = Store.writable(tmp_path / "index.sqlite")
    Folder(folder, store).scan()
    everywhere = store.definitions(["__init__", "dumps"], "python", 1000)
    assert len(everywhere) > 10
    assert [place.path for place in store.definitions(["__init__", "dumps"], "python", 5)] == ["json/__init__.py"]
    led = store.definitions(["__init__"], "python", 5, ["__init__", "handlers"])
    assert {place.path for place in led} == {"logging/handlers.py"}
    assert store.definitions(["__init__"], "python", 5, ["handlers"]) == []
    store.close()
