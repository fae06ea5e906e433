"""Where an unfinished line may be cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ending.expressions import end_of_expression


@pytest.mark.parametrize(
    "line",
    [
        "self.width| * ",
        "self.width| * self",
        "foo(a, b)|",
        "foo(a, b)| + c",
        "foo(a, b)|, bar(",
        "b, c)|",
        "items[0]| + ",
        "return value| || ",
        "if a > b|:",
        "x == y| && ",
        '"a (b" + name| ',
        "a == b| == c",
        "items[0] if ",  # words that are operators are not told from others
        "const x = ",
        "const",
        "if ",
        "expect(",
        "expect(value",
        "return ",
        "return value",
        "self",
        "self.",
        "self.width",
        "name = ",
        "self.name = ",
        "new Map",
        "foo.bar(",
        '"a b',
        "not ",
        "key: ",
        "std::vector<",
        "",
        "   ",
    ],
)
def test_a_line_is_cut_after_a_whole_expression(line: str) -> None:
    expected = max(line.find("|"), 0)
    assert end_of_expression(line.replace("|", "", 1)) == expected


@given(st.text(alphabet="ab_ .,()[]{}\"'=+:\\\t", max_size=60))
def test_brackets_of_what_is_shown_are_closed(line: str) -> None:
    end = end_of_expression(line)
    assert 0 <= end <= len(line)
    assert not line[:end].endswith((" ", "(", "[", "{", ".", ",", "=", "+", ":"))
    assert end_of_expression(line) == end
