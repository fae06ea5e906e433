"""A file is written whole or not at all, and an error names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model_folders.whole_file import write_whole


def test_the_text_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "chosen"
    write_whole(file, "old\n")
    write_whole(file, "new\n")
    assert file.read_bytes() == b"new\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "chosen"
    write_whole(file, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new\n\ud800")
    assert file.read_bytes() == b"old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chosen"
    file.mkdir()
    with pytest.raises(OSError, match="chosen'") as caught:
        write_whole(file, "new\n")
    assert caught.value.filename == str(file)
    assert list(tmp_path.iterdir()) == [file]
