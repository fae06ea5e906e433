"""Sentences with long paths in them, and with what errors say."""

from __future__ import annotations

from syntax.sentences import is_of_the_machine, reason_of, shortened


def test_a_long_path_is_left_out_in_the_middle_of_its_sentence() -> None:
    short = "/a.py is left out of the index: it is no file."
    assert shortened(short) == short
    said = shortened(f"/project/{'folder/' * 600}a.py is left out of the index: File name too long.")
    assert len(said) <= 800
    assert said.startswith("/project/folder/")
    assert said.endswith("/a.py is left out of the index: File name too long.")
    assert "..." in said


def test_what_an_error_says_is_one_line_of_its_first_cause() -> None:
    error = ImportError("\n\nIMPORTANT: PLEASE READ THIS\n" * 20)
    error.__cause__ = ImportError("lib.so: failed to map segment")
    assert reason_of(error) == "lib.so: failed to map segment"
    assert is_of_the_machine(error)
    assert reason_of(ValueError("two\n  lines")) == "two lines"
    assert reason_of(ValueError()) == "ValueError"
    assert not is_of_the_machine(ValueError("two"))
    assert is_of_the_machine(RuntimeError("can't start new thread"))
