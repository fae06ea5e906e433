"""Whatever lies in a workspace costs itself, is named once, and the rest is indexed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from indexer import why_not
from indexer.files.disk import NotAFile, read_regular
from indexer.files.text import LARGEST, Refusal, read_text
from indexer.problems import Problems
from indexer.store.writing import WritableStore
from indexer.sync.folder import Folder
from tests.indexer.sync_loops import index_once, indexed, without_privileges

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets such things be made")


def make_name_that_is_not_utf8(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.py")).write_text("def cafe(): return 2\n")


def make_folder_that_is_not_utf8(root: Path) -> None:
    folder = root / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "inside.py").write_text("x = 1\n")


def make_links_to_themselves(root: Path) -> None:
    (root / "self.py").symlink_to("self.py")
    (root / ".gitignore").symlink_to(".gitignore")
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")


def make_pipes_and_sockets(root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / ".ignore")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket.py"))


def make_a_path_longer_than_the_system_takes(root: Path) -> None:
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("deep.py", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)


def make_odd_dates(root: Path) -> None:
    (root / "late.py").write_text("late = 1\n")
    os.utime(root / "late.py", (1 << 33, 1 << 33))
    (root / "early.py").write_text("early = 1\n")
    os.utime(root / "early.py", (-1, -1))


def make_names_that_are_hard_to_say(root: Path) -> None:
    for name in ("line\nbreak.py", "tab\t.py", '"quoted".py', "[bold]red.py", "back\\slash.py", "-rf.py", "😀.py"):
        (root / name).write_text("x = 1\n")


@on_linux
@pytest.mark.parametrize(
    ("make", "files", "told"),
    [
        (make_name_that_is_not_utf8, 1, [r"/caf\xe9.py is left out of the index: its name is not UTF-8."]),
        (make_folder_that_is_not_utf8, 1, [r"/caf\xe9 is left out of the index: its name is not UTF-8."]),
        (make_links_to_themselves, 1, []),
        (make_pipes_and_sockets, 1, []),
        (make_a_path_longer_than_the_system_takes, 1, ["is left out of the index: File name too long."]),
        (make_odd_dates, 3, []),
        (make_names_that_are_hard_to_say, 8, []),
    ],
)
def test_an_odd_entry_costs_itself(root: Path, database: Path, make: object, files: int, told: list[str]) -> None:
    make(root)  # type: ignore[operator]
    found = index_once(root, database)
    assert len(found) == len(told)
    for sentence, end in zip(found, told, strict=True):
        assert sentence.endswith(end)
    assert "ok.py" in indexed(database)
    assert len(indexed(database)) == files


@on_linux
def test_a_folder_that_may_not_be_read_costs_itself(root: Path, database: Path) -> None:
    for name, mode in (("listed", 0o444), ("closed", 0o000), ("entered", 0o111)):
        (root / name).mkdir()
        (root / name / "inside.py").write_text("x = 1\n")
        (root / name / ".gitignore").write_text("*.log\n")
        (root / name).chmod(mode)
    (root / "closed.py").write_text("x = 1\n")
    (root / "closed.py").chmod(0)
    code = (
        "import sys; from pathlib import Path; from tests.indexer.sync_loops import index_once, indexed\n"
        "root, database = map(Path, sys.argv[1:])\n"
        "print(*index_once(root, database), *indexed(database), sep='\\n')"
    )
    command = [*without_privileges(), sys.executable, "-c", code, str(root), str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    for name in ("listed", "closed", "entered"):
        (root / name).chmod(0o700)
    said = done.stdout.splitlines()
    assert said[-1] == "ok.py", done.stderr
    assert len(said) == 5
    for name in ("listed/", "closed", "entered", "closed.py"):
        assert any(f"root/{name}" in line and "Permission denied" in line for line in said)


@on_linux
@pytest.mark.parametrize("name", ["/dev/zero", "/dev/tty", "/dev/stdin"])
def test_what_is_no_file_is_never_opened(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no file"):
        read_regular(name, 10)
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(NotAFile, match="a named pipe, no file"):
        read_regular(tmp_path / "pipe.py", 10)
    with pytest.raises(NotAFile, match="a folder"):
        read_regular(tmp_path, 10)


@on_linux
def test_a_file_without_a_size_is_read_as_long_as_it_is(tmp_path: Path) -> None:
    state, data = read_regular("/proc/self/status", LARGEST)
    assert state.st_size == 0
    assert data.startswith(b"Name:")
    (tmp_path / "long").write_bytes(b"x" * 100)
    assert len(read_regular(tmp_path / "long", 10)[1]) == 11


@pytest.mark.parametrize(
    "name",
    ["a" * 300 + ".py", "nul\0byte.py", "half \ud800 of a pair.py", "d/" * 3000 + "x.py", "../x.py", "/x.py", ""],
)
def test_a_name_that_cannot_be_is_of_no_interest(root: Path, database: Path, name: str) -> None:
    store = WritableStore.on_disk(database)
    said: list[str] = []
    folder = Folder(root, store, problems=Problems(said.append))
    folder.scan()
    folder.update([name, "ok.py"])
    assert said == []
    assert set(store.states()) == {"ok.py"}
    store.close()
    if name:
        assert why_not(root / name, root) is not None


def test_folders_become_files_and_files_folders(root: Path, database: Path) -> None:
    store = WritableStore.on_disk(database)
    folder = Folder(root, store)
    (root / "one.py").mkdir()
    (root / "one.py" / "inside.py").write_text("x = 1\n")
    (root / "two.py").write_text("x = 1\n")
    folder.scan()
    (root / "one.py" / "inside.py").unlink()
    (root / "one.py").rmdir()
    (root / "one.py").write_text("x = 2\n")
    (root / "two.py").unlink()
    (root / "two.py").mkdir()
    (root / "two.py" / "inside.py").write_text("x = 2\n")
    folder.update(["one.py"])
    assert set(store.states()) == {"ok.py", "one.py", "two.py"}
    folder.update(["two.py"])
    assert set(store.states()) == {"ok.py", "one.py", "two.py/inside.py"}
    (root / "two.py" / "inside.py").unlink()
    (root / "two.py").rmdir()
    folder.update(["two.py"])
    assert set(store.states()) == {"ok.py", "one.py"}
    store.close()


@pytest.mark.parametrize(
    "codec",
    [b"undefined", b"idna", b"punycode", b"hex", b"rot13", b"zlib", b"unicode_escape", b"raw_unicode_escape", b"mbcs",
     b"utf-7", b"no-such-thing", b"..", b"-", b"aliases", b"utf-16", b"x" * 150],
)  # fmt: skip
def test_a_codec_that_is_none_does_no_harm(codec: bytes) -> None:
    data = b"# -*- coding: " + codec + b" -*-\nx = 'caf\xe9 \\ud800 +2AA-'\n" + b"# \xff+\n" * 1000
    text = read_text(data)
    assert not isinstance(text, Refusal)
    assert text.encode().decode() == text
    assert "caf" in text or codec == b"utf-16"


def test_a_text_that_cannot_be_analysed_is_named_and_not_tried_again(
    root: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str, *arguments: object) -> object:
        if "bad" in text:
            raise RecursionError("too deep")
        return chunks(text, *arguments)

    from indexer.parsing.analysis import _analysis as chunks

    (root / "bad.py").write_text("bad = 1\n")
    monkeypatch.setattr("indexer.parsing.analysis._analysis", refuse)
    found = index_once(root, database)
    assert found == [f"{root / 'bad.py'} is left out of the index: it cannot be analysed (too deep)."]
    assert indexed(database) == {"ok.py"}
    assert index_once(root, database) == []
    (root / "bad.py").write_text("mended = 1\n")
    monkeypatch.undo()
    assert index_once(root, database) == []
    assert indexed(database) == {"ok.py", "bad.py"}


def test_many_problems_of_a_kind_are_few_sentences() -> None:
    said: list[str] = []
    problems = Problems(said.append)
    for _ in range(2):
        for number in range(5000):
            problems.add("name", str(number), f"{number} is odd.")
    problems.add("file", "x", "x cannot be read.")
    assert len(said) == 12
    assert said[-2] == "10 is odd. There are more such cases; they are not named."
