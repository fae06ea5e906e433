"""Which edits agree with a suggestion, and what still stands of accepted text, edit by edit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents import Edit
from lsp_server.statistics.events import Outcome
from lsp_server.statistics.life import Facts, Life, Step
from lsp_server.statistics.standing import Standing, narrowed

FACTS = Facts(1, 0.0, "python", "model", "statement", False, 0.8, None, 0.1, {})


class Page:
    """A document in which one suggestion is shown at the bar."""

    def __init__(self, marked: str, suggestion: str, replaces: int = 0) -> None:
        before, _, after = marked.partition("|")
        self.text = before + after
        self.life = Life(FACTS, 0.0, suggestion, len(before), replaces)

    def edit(self, start: int, end: int, text: str) -> Step:
        edit, before = Edit(start, end, text), self.text
        self.text = before[:start] + text + before[end:]
        if self.life.accepted:
            self.life.standing.edited(narrowed(edit, before), before)
        return self.life.follow(edit, before, self.text)

    def type(self, *keys: str) -> list[Step]:
        return [self.edit(self.life.position, self.life.position, key) for key in keys]

    @property
    def outcome(self) -> Outcome:
        return self.life.end(Outcome.LEFT, 10.0, reports=False).outcome


def test_keys_that_agree() -> None:
    page = Page("x = |\n", "ab")
    assert page.type("a", "b") == [Step.AGREED, Step.AGREED]
    assert page.outcome is Outcome.TYPED


def test_a_pair_that_the_editor_closes_in_the_same_edit() -> None:
    page = Page("call|\n", "(a)")
    assert page.type("()", "a") == [Step.AGREED, Step.AGREED]
    assert page.life.is_finished
    assert page.outcome is Outcome.TYPED


def test_a_pair_that_the_editor_closes_in_an_edit_of_its_own() -> None:
    page = Page("call|\n", "(a)")
    assert page.type("(") == [Step.AGREED]
    assert page.edit(5, 5, ")") is Step.ELSEWHERE
    assert page.type("a") == [Step.AGREED]
    assert page.life.is_finished


def test_a_bracket_that_the_user_typed_is_told_by_the_next_request() -> None:
    page = Page("call|\n", "(a)")
    page.type("(")
    page.edit(5, 5, ")")
    assert page.life.is_typed_over_at(6)
    assert not page.life.is_typed_over_at(5)


def test_edits_before_and_after_it_are_elsewhere() -> None:
    page = Page("import os\nx = |\n", "ab")
    assert page.edit(0, 0, "import re\n") is Step.ELSEWHERE
    assert page.edit(len(page.text), len(page.text), "# end") is Step.ELSEWHERE
    assert page.type("a", "b") == [Step.AGREED, Step.AGREED]
    assert "x = ab" in page.text


@pytest.mark.parametrize("edit", [(4, 4, "z"), (3, 4, ""), (0, 5, "y = 1")])
def test_other_text_is_typed_otherwise(edit: tuple[int, int, str]) -> None:
    assert Page("x = |\n", "ab").edit(*edit) is Step.OTHERWISE


def test_an_item_that_replaces_what_follows() -> None:
    """Editors replace the item's range, from what is typed of it to what it repeats."""
    page = Page("call(fi|)\n", "rst)", replaces=1)
    assert page.edit(5, 8, "first)") is Step.AGREED
    assert page.life.accept_last(page.text) == len("rst)")
    assert page.outcome is Outcome.ACCEPTED


def test_the_whole_text_is_sent_anew() -> None:
    page = Page("x = |\n", "ab")
    assert page.edit(0, len(page.text), "x = a\n") is Step.AGREED
    assert page.life.rest == "b"


def test_parts_by_word_and_by_line() -> None:
    by_word, by_line = Page("x = |\n", "first + second"), Page("x = |\n", "first\nsecond()")
    for page in (by_word, by_line):
        page.type("first")
        assert page.life.accept_last(page.text) == 5
        assert page.life.accept_last(page.text) == 0  # once
        page.type("~")
    assert by_word.outcome is Outcome.BY_WORD
    assert by_line.outcome is Outcome.BY_LINE


def test_another_candidate_is_accepted_as_well() -> None:
    page = Page("x = |\n", "first")
    assert page.type("second") == [Step.OTHERWISE]
    assert page.life.accept_last(page.text, Edit(4, 4, "second")) == 6
    assert page.outcome is Outcome.ACCEPTED


def test_it_was_not_seen_before_three_quarters_of_a_second() -> None:
    life = Page("x = |\n", "ab").life
    assert life.end(Outcome.REFUSED, 0.7, reports=False).outcome is Outcome.UNSEEN
    assert life.end(Outcome.REFUSED, 0.8, reports=False).outcome is Outcome.REFUSED
    assert life.end(Outcome.REFUSED, 0.8, reports=True).outcome is Outcome.UNSEEN
    life.is_reported = True
    assert life.end(Outcome.REFUSED, 0.1, reports=True).outcome is Outcome.REFUSED


def standing(text: str, accepted: str) -> tuple[Standing, str]:
    found = Standing()
    found.add(text.index(accepted), text.index(accepted) + len(accepted), text)
    return found, text


@pytest.mark.parametrize(
    ("edit", "share"),
    [
        (("# above\n", 0, 0), 1.0),
        (("", 4, 9), 0.6),  # two of five words
        (("return 2", 0, 24), 0.0),
        (("    alpha beta\n    gamma delta epsil\n", 0, 33), 1.0),  # a formatter breaks the line
        (("    alpha beta\n", 0, 15), 1.0),  # and replaces a line by itself
    ],
)
def test_what_stands_after_an_edit(edit: tuple[str, int, int], share: float) -> None:
    found, text = standing("    alpha beta\ngamma delta epsil\n", "alpha beta\ngamma delta epsil")
    put, start, end = edit
    if share == 0.6:
        found, text = standing("x = alpha+beta1", "alpha+beta1")
        share = 6 / 11
    elif share == 0.0:
        found, text = standing("x = alpha + beta + gamma", "alpha + beta + gamma")
    found.edited(narrowed(Edit(start, end, put), text), text)
    assert found.share(text[:start] + put + text[end:]) == pytest.approx(share)


@given(
    st.text("ab \n", max_size=30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.text("xy\n", max_size=5))),
)
def test_followed_text_is_what_was_not_edited(accepted: str, edits: list[tuple[int, int, str]]) -> None:
    """Letters that no edit writes are counted; so what stands of them is what can be counted in the text."""
    text = "....\n" + accepted + "\n...."
    found = Standing()
    found.add(5, 5 + len(accepted), text)
    letters = sum(accepted.count(letter) for letter in "ab")
    for at, length, put in edits:
        start = min(at, len(text))
        end = min(start + length, len(text))
        found.edited(narrowed(Edit(start, end, put), text), text)
        text = text[:start] + put + text[end:]
    left = sum(text.count(letter) for letter in "ab")
    assert found.share(text) == pytest.approx(left / letters if letters else 1.0)
