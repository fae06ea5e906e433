"""The typist produces the given text whatever the editor inserts by itself, and accepts only right suggestions."""

from __future__ import annotations

import calendar
import difflib
import statistics
from pathlib import Path
from typing import get_args

import pytest

from evaluation.harness.functions import Function, functions_of
from evaluation.harness.typist import (
    Assistance,
    Page,
    accept,
    keys_alone,
    partners,
    parts,
    pauses,
    press,
    starts_wrong,
    take,
)

REAL = [
    function
    for module in (calendar, difflib, statistics)
    for function in functions_of(Path(module.__file__).read_text(encoding="utf-8"))
]


def blank(target: str, before: str = "", after: str = "") -> Page:
    return Page(before, after, target)


def typed(page: Page, assistance: Assistance, keys: int) -> Page:
    for _ in range(keys):
        page, _ = press(page, assistance)
    return page


def test_functions_are_cut_out_of_their_file_whole() -> None:
    assert len(REAL) > 10
    for function in REAL:
        assert function.text.startswith(("def ", "async def "))
        assert not function.text.endswith("\n")
    whole = {function.before + function.text + function.after for function in REAL}
    assert len(whole) == 3


@pytest.mark.parametrize("assistance", get_args(Assistance))
@pytest.mark.parametrize("function", REAL, ids=lambda function: function.name)
def test_typing_key_by_key_restores_the_file(function: Function, assistance: Assistance) -> None:
    page = blank(function.text, function.before, function.after)
    while page.rest:
        page, _ = press(page, assistance)
        assert page.before == function.before + function.text[: page.written]
        assert page.after == "".join(function.text[index] for index in page.waiting) + function.after
    assert not page.waiting
    assert (
        keys_alone(blank(function.text), "none") == len(function.text) >= keys_alone(blank(function.text), assistance)
    )


def test_enter_indents_as_the_line_above_and_a_level_more_in_a_block() -> None:
    page = typed(blank("if x:\n    y = 1\n    z = 2\nw"), "indent", 6)
    assert page.before == "if x:\n    "
    page = typed(page, "indent", 6)
    assert page.before == "if x:\n    y = 1\n    "
    page, keys = press(typed(page, "indent", 5), "indent")
    assert (page.before[-6:], keys) == ("z = 2\n", 2), "one backspace takes a level away"


def test_an_opening_bracket_brings_its_closer_which_is_stepped_over() -> None:
    page = typed(blank("f(x)", after="\n"), "brackets", 2)
    assert (page.before, page.after) == ("f(", ")\n")
    page = typed(page, "brackets", 2)
    assert (page.before, page.after, page.rest) == ("f(x)", "\n", "")


def test_no_closer_is_brought_in_front_of_a_word() -> None:
    assert typed(blank("(a)", after="b"), "brackets", 1).after == "b"


def test_enter_between_brackets_puts_the_closer_on_its_own_line() -> None:
    page = typed(blank("f(\n    a,\n)", after="\n"), "brackets", 3)
    assert (page.before, page.after) == ("f(\n    ", "\n)\n")
    page = typed(page, "brackets", 3)
    assert (page.before, page.rest) == ("f(\n    a,\n", ")"), "one key goes to the next line"


def test_brackets_have_partners_unless_they_are_never_closed() -> None:
    assert partners("f(a[0], '(')") == {3: 5, 9: 11}
    assert partners("{[()]}") == {2: 3, 1: 4, 0: 5}


def test_a_suggestion_can_be_taken_whole_or_by_line_or_by_word() -> None:
    assert parts("a = 1\nb = 2\n") == [("whole", "a = 1\nb = 2\n"), ("line", "a = 1"), ("word", "a")]
    assert parts("\n    b") == [("whole", "\n    b")]
    assert parts(" (x)") == [("whole", " (x)"), ("word", " (")]


def test_the_longest_part_that_is_right_is_taken() -> None:
    page = blank("total = first + second\nreturn total", after="\n")
    part, piece, after = take(page, "total = first + second\nprint(total)") or pytest.fail("nothing was taken")
    assert (part, piece, after.rest) == ("line", "total = first + second", "\nreturn total")
    part, piece, after = take(page, "total += 1") or pytest.fail("nothing was taken")
    assert (part, piece) == ("word", "total")
    assert take(page, "result = 0") is None
    assert take(page, "t") is None, "it saves no key"
    assert take(page, page.rest + "\n") is not None, "its first line"


def test_what_replaces_a_waiting_closer_is_right_only_if_it_has_the_closer() -> None:
    page = typed(blank("f(x).g()", after="\n"), "brackets", 2)
    assert page.after == ")\n"
    assert (accept(page, "x).g()", 1) or page).before + page.after[1:] == "f(x).g()\n"
    assert accept(page, "x).g()", 0) is None, "the closer would be there twice"
    assert accept(page, "x", 1) is None, "the closer would be gone"
    assert (accept(page, "x", 0) or page).rest == ").g()"


def test_a_suggestion_starts_wrong_when_its_first_word_is() -> None:
    assert starts_wrong(blank("return x"), "raise")
    assert not starts_wrong(blank("return x"), "return y")


def test_pauses_are_human_repeatable_and_as_fast_as_asked() -> None:
    text = REAL[0].text
    first = pauses(text, words_a_minute=100, seed="a")
    assert first == pauses(text, words_a_minute=100, seed="a") != pauses(text, words_a_minute=100, seed="b")
    assert statistics.mean(first) == pytest.approx(0.12)
    assert 0.3 < statistics.stdev(first) / statistics.mean(first) < 1
    lines = [pause for index, pause in enumerate(first) if text[index - 1 : index] == "\n"]
    assert statistics.mean(lines) > 1.5 * statistics.mean(first)
