"""The files near a document: packages of the standard library in a real index, with open documents over it."""

from __future__ import annotations

import shutil
import sqlite3
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import Index, Neighbour
from indexer.store.damage import remove_database
from indexer.store.writing import WritableStore
from indexer.sync.folder import Folder
from syntax import Cursor, DocumentId

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
ASKING = "tools/report.py"
TEXT = "from email.mime.text import MIMEText\nimport json.decoder\n\nmessage = MIMEText(\n"
WRITTEN = {
    ASKING: TEXT,
    "tools/aside.py": "aside = 1\n",
    "tools/blank.py": "\n \n",
    "tools/page.ts": "export const page = 1;\n",
    "tools/deep/below.py": "below = 1\n",
    "tests/test_report.py": "def test_report(): pass\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Packages of the standard library, and beside them some tools that use them."""
    root = tmp_path / "root"
    for package in ("email", "json"):
        shutil.copytree(STANDARD_LIBRARY / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    write(root, WRITTEN)
    return root


@pytest.fixture
def index(tmp_path: Path, root: Path, database: Path) -> Iterator[Index]:
    """An index of it."""
    read(root, database)
    index = Index(tmp_path / "cache")
    index.open_folder(root, watched=False)
    yield index
    index.close()


def read(root: Path, database: Path) -> None:
    """What the sync loop does with reported changes."""
    store = WritableStore.on_disk(database)
    Folder(root, store).scan()
    store.close()


def document(index: Index, path: str) -> DocumentId:
    (root,) = index.folders()
    return DocumentId.in_folder(root, path)


def near(index: Index, text: str = TEXT, path: str = ASKING, **limits: int) -> list[Neighbour]:
    return index.neighbours(Cursor(document(index, path), "python", text, len(text)), **limits)


def paths(found: list[Neighbour]) -> list[str]:
    return [one.path for one in found]


def open_document(index: Index, path: str, text: str, language: str = "python") -> None:
    index.update(document(index, path), language, text)
    index.refresh()


def test_imports_come_first_then_the_test_then_the_folder_then_what_lies_around_it(index: Index, root: Path) -> None:
    found = near(index, most=100, characters=10_000_000)
    assert paths(found)[:7] == [
        "email/mime/text.py",  # two of its folders are named, too
        "json/decoder.py",
        "email/__init__.py",  # what a package's own file says is at hand, too
        "json/__init__.py",
        "tests/test_report.py",
        "tools/aside.py",
        "tools/deep/below.py",  # a step away
    ]
    python = {one.relative_to(root).as_posix() for one in root.rglob("*.py") if one.read_text(encoding="utf-8").strip()}
    assert set(paths(found)) == python - {ASKING}
    assert len(found) == len(set(paths(found)))
    far = [path.count("/") for path in paths(found)[7:]]
    assert far == sorted(far)
    texts = {one.path: (root / one.path).read_text(encoding="utf-8") for one in found}
    long = [path for path, text in texts.items() if len(text) > 60_000]
    assert [one.path for one in found if one.text != texts[one.path]] == long


def test_a_file_is_found_for_its_test(index: Index) -> None:
    assert paths(near(index, "report\n", "tests/test_report.py"))[0] == ASKING


def test_without_imports_the_own_folder_leads(index: Index) -> None:
    assert paths(near(index, "x = 1\n", "json/other.py"))[:3] == [
        "json/__init__.py",
        "json/decoder.py",
        "json/encoder.py",
    ]


def test_of_many_folders_the_nearest_lead(index: Index, root: Path, database: Path) -> None:
    write(root, {f"a{number}/far.py": "far = 1\n" for number in range(200)})
    read(root, database)
    assert paths(near(index, "x = 1\n"))[:4] == [
        "tests/test_report.py",
        "tools/aside.py",
        "tools/deep/below.py",
        "a0/far.py",
    ]


def test_open_documents_lead_those_visited_last_first(index: Index, root: Path) -> None:
    for path in ("json/tool.py", "email/utils.py", "tools/deep/below.py", "json/scanner.py"):
        open_document(index, path, (root / path).read_text(encoding="utf-8"))
    for path in ("json/tool.py", "email/utils.py", ASKING):
        index.context_for(Cursor(document(index, path), "python", "", 0), within=30)
    opened = ["email/utils.py", "json/tool.py", "tools/deep/below.py", "json/scanner.py"]
    assert paths(near(index))[:5] == [*opened, "email/mime/text.py"]
    index.forget(document(index, "email/utils.py"))
    assert paths(near(index))[:4] == [*opened[1:], "email/mime/text.py"]


def test_what_is_not_saved_yet_wins_over_the_file(index: Index, root: Path) -> None:
    open_document(index, "json/decoder.py", "unsaved = 1\n")
    assert [one.text for one in near(index, most=100) if one.path == "json/decoder.py"] == ["unsaved = 1\n"]
    index.forget(document(index, "json/decoder.py"))
    (saved,) = [one.text for one in near(index, most=100) if one.path == "json/decoder.py"]
    assert saved == (root / "json/decoder.py").read_text(encoding="utf-8")


def test_the_asking_document_is_left_out_opened_or_not(index: Index, root: Path) -> None:
    assert ASKING not in paths(near(index, most=1000))
    open_document(index, ASKING, TEXT)
    assert ASKING not in paths(near(index, most=1000))
    assert ASKING in paths(near(index, "x = 1\n", "tools/aside.py"))


def test_other_families_never_come(index: Index, root: Path) -> None:
    assert all(path.endswith(".py") for path in paths(near(index, most=1000)))
    open_document(index, "tools/page.ts", "export const opened = 1;\n", "typescript")
    open_document(index, "json/decoder.py", "no Python any more\n", "plaintext")
    found = paths(near(index, most=1000))
    assert all(path.endswith(".py") for path in found)
    assert "json/decoder.py" not in found
    assert paths(index.neighbours(Cursor(document(index, "a.js"), "javascript", "x\n", 1))) == [
        "tools/page.ts"
    ]  # JavaScript's kin


def test_what_is_ignored_or_secret_never_comes(index: Index, root: Path, database: Path) -> None:
    ignored, secret = {"tools/mine.py": "mine = 1\n"}, {"tools/keys.py": 'token = "AKIAIOSFODNN7EXAMPLE"\n'}
    write(root, {**ignored, **secret, ".gitignore": "mine.py\n"})
    read(root, database)
    for path, text in (ignored | secret).items():
        assert path not in paths(near(index, most=1000))
        open_document(index, path, text)
        assert path not in paths(near(index, most=1000))
    open_document(index, "tools/aside.py", secret["tools/keys.py"])  # typed, and not saved
    assert "tools/aside.py" not in paths(near(index, most=1000))
    assert "tools/deep/below.py" in paths(near(index, most=1000))


def test_limits_hold(index: Index) -> None:
    everything = near(index, most=1000, characters=10_000_000)
    assert len(near(index)) == 24
    for most in (0, 1, 7):
        assert near(index, most=most) == everything[:most]
    first, second = everything[:2]
    for characters in (0, 1, len(first.text), len(first.text) + 200, 20_000):
        found = near(index, characters=characters)
        assert sum(len(one.text) for one in found) <= characters
        for one, whole in zip(found, everything, strict=False):
            assert one.path == whole.path
            assert whole.text.startswith(one.text)
            assert one.text.endswith("\n")
    assert near(index, characters=len(first.text)) == [first]
    whole, cut = near(index, characters=len(first.text) + 200)
    assert whole == first
    assert second.text.startswith(cut.text)
    assert 0 < len(cut.text) <= 200 < len(cut.text) + len(second.text[len(cut.text) :].split("\n")[0]) + 1


def test_a_long_file_is_cut_at_a_lines_end(index: Index, root: Path, database: Path) -> None:
    long = (STANDARD_LIBRARY / "argparse.py").read_text(encoding="utf-8")
    assert len(long) > 60_000
    write(root, {"tools/long.py": long})
    read(root, database)
    (cut,) = [one.text for one in near(index) if one.path == "tools/long.py"]
    assert long.startswith(cut)
    assert cut.endswith("\n")
    assert len(cut) <= 60_000 < len(cut) + len(long[len(cut) :].split("\n")[0]) + 1


def test_the_same_answer_twice_wherever_the_cursor_is(index: Index, root: Path) -> None:
    open_document(index, "json/tool.py", "opened = 1\n")
    found = near(index)
    assert near(index) == found
    assert index.neighbours(Cursor(document(index, ASKING), "python", TEXT, 0)) == found


def test_what_another_process_writes_is_seen(index: Index, root: Path, database: Path) -> None:
    assert "aside = 1\n" in [one.text for one in near(index)]
    write(root, {"tools/aside.py": "aside = 'changed'\n", "tools/added.py": "added = 1\n"})
    assert "aside = 1\n" in [one.text for one in near(index)]  # no file is read to answer
    read(root, database)
    texts = [one.text for one in near(index)]
    assert "aside = 'changed'\n" in texts
    assert "added = 1\n" in texts
    assert "aside = 1\n" not in texts


def test_a_damaged_index_is_no_error(
    index: Index, root: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection = sqlite3.connect(database)
    connection.executescript("DROP TABLE texts")
    connection.close()
    caplog.set_level("INFO")
    assert near(index) == []
    assert "cannot be read" in caplog.text
    remove_database(database)  # as the sync loop does
    read(root, database)
    open_document(index, "json/tool.py", "opened = 1\n")
    assert near(index)[0] == Neighbour(document(index, "json/tool.py"), "opened = 1\n")
