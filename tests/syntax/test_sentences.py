"""Sentences with long paths in them."""

from __future__ import annotations

from syntax.sentences import shortened


def test_a_long_path_is_left_out_in_the_middle_of_its_sentence() -> None:
    short = "/a.py is left out of the index: it is no file."
    assert shortened(short) == short
    said = shortened(f"/project/{'folder/' * 600}a.py is left out of the index: File name too long.")
    assert len(said) <= 800
    assert said.startswith("/project/folder/")
    assert said.endswith("/a.py is left out of the index: File name too long.")
    assert "..." in said
