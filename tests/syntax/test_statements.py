"""Statements line by line: what ends one, what continues one, what opens a block."""

from __future__ import annotations

import pytest

from syntax import (
    Ending,
    closes_block,
    continues,
    ending,
    goes_on,
    indentation,
    is_annotation,
    language_named,
    opens_block,
)


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        ("python", "x = 1", Ending.COMPLETE),
        ("python", "x = 1 + \\", Ending.UNFINISHED),
        ("python", "x = 1,", Ending.COMPLETE),
        ("python", "   ", Ending.UNFINISHED),
        ("javascript", "f();", Ending.COMPLETE),
        ("javascript", "f()", Ending.NEXT_LINE_TELLS),
        ("javascript", "a ||", Ending.UNFINISHED),
        ("javascript", "i++", Ending.NEXT_LINE_TELLS),
        ("go", "f()", Ending.COMPLETE),
        ("go", "a &&", Ending.UNFINISHED),
        ("rust", "let x = y", Ending.NEXT_LINE_TELLS),
        ("java", "int x = y +", Ending.UNFINISHED),
        ("c", "#include <a.h>", Ending.COMPLETE),
        ("c", "#define A \\", Ending.UNFINISHED),
        ("cpp", "if (a) {\n}", Ending.NEXT_LINE_TELLS),
        ("lua", "local x = y ..", Ending.UNFINISHED),
    ],
)
def test_what_a_line_end_says(language: str, code: str, expected: Ending) -> None:
    assert ending(code, language_named(language), is_item=False, is_outermost=False) is expected


def test_a_comma_ends_an_item_in_a_bracket() -> None:
    javascript, rust = language_named("javascript"), language_named("rust")
    assert ending("a: 1,", javascript, is_item=True, is_outermost=False) is Ending.COMPLETE
    assert ending("a: 1,", javascript, is_item=False, is_outermost=False) is Ending.UNFINISHED
    assert ending("a: 1,", rust, is_item=True, is_outermost=False) is Ending.NEXT_LINE_TELLS


def test_nothing_but_a_semicolon_or_brace_ends_a_definition_in_c() -> None:
    assert ending("static int", language_named("c"), is_item=False, is_outermost=True) is Ending.UNFINISHED


@pytest.mark.parametrize(
    ("language", "line", "expected"),
    [
        ("javascript", "    .then(x)", True),
        ("javascript", "  && b", True),
        ("javascript", "  ...rest", False),
        ("javascript", "  next()", False),
        ("javascript", "      deeper", True),
        ("cpp", "  {", True),
        ("cpp", "  ::f();", False),
        ("lua", "      deeper", False),
    ],
)
def test_what_goes_on_with_a_statement_indented_by_two(language: str, line: str, expected: bool) -> None:
    assert goes_on(line, language_named(language), indent=2) is expected


@pytest.mark.parametrize(
    ("language", "line", "expected"),
    [
        ("python", "def f():", True),
        ("python", "x = 1", False),
        ("java", "if (a) {", True),
        ("ruby", "a.each do |x|", True),
        ("ruby", "return x if y", False),
        ("ruby", "x = if y", True),
        ("ruby", "def f; end", False),
        ("lua", "local function f(a, b)", True),
        ("lua", "local x = 1", False),
        ("lua", "f(function()", True),
        ("lua", "if x then y() end", False),
        ("shellscript", "if true; then", True),
        ("shellscript", "case $x in", True),
        ("yaml", "key:", True),
        ("yaml", "key: |", True),
        ("yaml", "key: value", False),
    ],
)
def test_what_opens_a_block(language: str, line: str, expected: bool) -> None:
    assert opens_block(line, language_named(language)) is expected


def test_half_a_keyword_may_become_one() -> None:
    python, ruby = language_named("python"), language_named("ruby")
    assert continues("el", python, is_whole=False)
    assert not continues("el", python)
    assert not continues("el x", python, is_whole=False)
    assert closes_block("  end", ruby)
    assert not closes_block("  ending", ruby)


def test_annotations_belong_to_what_stands_below() -> None:
    assert is_annotation("@cache", language_named("python"))
    assert is_annotation("@Test(timeout = 1)", language_named("java"))
    assert not is_annotation("@Test void f() {", language_named("java"))
    assert is_annotation("#[derive(Debug)]", language_named("rust"))
    assert not is_annotation("#[a] fn f() {", language_named("rust"))
    assert not is_annotation("@x = 1", language_named("ruby"))


def test_tabs_count_to_the_next_multiple_of_eight() -> None:
    assert [indentation(line) for line in ("x", "  x", "\tx", "  \tx", "\t x\t")] == [0, 2, 8, 8, 9]
