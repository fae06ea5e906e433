"""Trim, rule by rule, and what holds for every text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.trim import Trimmed, indented_like, trim, without_lines_below, without_loops, without_spurious_space

CODE = st.text(alphabet=st.sampled_from("ab1_ =.,:;(){}[]\"'\n\t#é🎉"), max_size=40)


@pytest.mark.parametrize(
    ("prefix", "generated", "suffix", "expected"),
    [
        # auto-closed brackets and quotes are not written twice
        ("print(", "a, b)", ")\n", Trimmed("a, b", 0)),
        ("x = [", "1, 2]", "]", Trimmed("1, 2", 0)),
        ('print("', 'hello")', '")\n', Trimmed("hello", 0)),
        ("f(g(", "1))", "))", Trimmed("1", 0)),
        ("f(g(", "1)", "))", Trimmed("1", 0)),
        ("if (", "x) {", ") {\n", Trimmed("x", 0)),
        # but text that goes on behind them takes their place
        ("foo(", "a).bar()", ")", Trimmed("a).bar(", 0)),
        ("foo(", "a).bar", ")", Trimmed("a).bar", 1)),
        # the rest of the line is not written twice
        ("x = ", "1 + 2  # sum", "  # sum\n", Trimmed("1 + 2", 0)),
        # nor are the lines below
        ("def f():\n    ", "a = 1\n    return a", "\n    return a\n", Trimmed("a = 1", 0)),
        # a space that is typed already
        ("x = ", " 1", "", Trimmed("1", 0)),
        ("return ", " x", "\n", Trimmed("x", 0)),
        # closers of nothing
        ("x = 1", " + 2)", "\n", Trimmed(" + 2", 0)),
        ("print(a", ", b))", "\n", Trimmed(", b)", 0)),
        ("x = 1  # (", " and so on)", "\n", Trimmed(" and so on)", 0)),
        # white space
        ("x = ", "   ", "", Trimmed("", 0)),
        ("x", " = 1  \n\n", "", Trimmed(" = 1", 0)),
        ("a\r\nb\r\nif x:", "\n    y()\n    z()", "\r\n", Trimmed("\r\n    y()\r\n    z()", 0)),
    ],
)
def test_text_fits_the_document(prefix: str, generated: str, suffix: str, expected: Trimmed) -> None:
    assert trim(generated, prefix=prefix, suffix=suffix, language="python") == expected


def test_loops_are_cut() -> None:
    assert without_loops("a\nb\nb\nb\nb") == "a\nb"
    assert without_loops("a\nb\nb\nc") == "a\nb\nb\nc"
    assert without_loops("x\n\n\n\ny") == "x\n\n\n\ny"


def test_lines_below_are_cut_only_where_all_agree() -> None:
    assert without_lines_below("a\nb\nc", "\nb\nc\n") == "a"
    assert without_lines_below("a\nb\nd", "\nb\nc\n") == "a\nb\nd"
    assert without_lines_below("a", "\na\n") == "a"


def test_a_space_stays_where_none_is_typed() -> None:
    assert without_spurious_space(" = 1", "x") == " = 1"
    assert without_spurious_space("    y", "if x:\n    ") == "    y"


def test_tabs_stay_tabs() -> None:
    assert indented_like("x {\n        y\n    }", "func f() {\n\tif ") == "x {\n\t\ty\n\t}"
    assert indented_like("x:\n        y", "def f():\n    if ") == "x:\n        y"


@settings(max_examples=400, deadline=None)
@given(prefix=CODE, generated=CODE, suffix=CODE)
def test_text_is_part_of_what_was_generated_and_ends_in_no_white_space(
    prefix: str, generated: str, suffix: str
) -> None:
    trimmed = trim(generated, prefix=prefix, suffix=suffix, language="python")
    assert trimmed.text == trimmed.text.rstrip()
    assert 0 <= trimmed.replaces <= len(suffix.split("\n", 1)[0])
    assert set(trimmed.text) <= set(generated) | {"\t"}
    if trimmed.replaces:
        assert suffix[: trimmed.replaces] in trimmed.text


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(["a", "x1", "total"]), closers=st.sampled_from([")", "]", "}", "))", "])", '")', "')"]))
def test_a_closer_that_stands_behind_the_cursor_is_never_doubled(name: str, closers: str) -> None:
    openers = {")": "(", "]": "[", "}": "{", '"': '"', "'": "'"}
    prefix = "x = " + "".join(openers[closer] for closer in reversed(closers))
    trimmed = trim(name + closers, prefix=prefix, suffix=closers + "\n", language="python")
    assert trimmed == Trimmed(name, 0)
