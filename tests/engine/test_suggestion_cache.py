"""Cached suggestions are found again: by typing their text, and by going back to the place where they were made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import CompletionRequest, ContextSnippet, StopReason, Suggestion
from engine.suggestion_cache import Suggestions

BEFORE, AFTER = "import math\n\ndef area(r):\n    return ", "\n\nprint(area(2))\n"
TEXT = "math.pi * r**2"
MADE = Suggestion(TEXT, 0, (1, 2), (-0.1, -0.2), StopReason.BLOCK, 40, 10, {"decode": 0.1})


def request(before: str = BEFORE, after: str = AFTER, path: str = "a.py") -> CompletionRequest:
    return CompletionRequest(path, "python", before + after, len(before))


@pytest.fixture
def suggestions() -> Suggestions:
    suggestions = Suggestions()
    suggestions.remember(request(), MADE)
    return suggestions


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_typing_what_it_says_leaves_the_rest(suggestions: Suggestions, length: int) -> None:
    found = suggestions.find(request(BEFORE + TEXT[:length]))
    assert found is not None
    assert found.text == TEXT[length:]
    assert found.computed_tokens == 0


@pytest.mark.parametrize(
    "other",
    [
        request(BEFORE + "m."),
        request(BEFORE + TEXT),
        request(BEFORE + TEXT + "0"),
        request(BEFORE[:-1]),
        request("x" + BEFORE[1:]),
        request(BEFORE + "ma", "x" + AFTER),
        request(BEFORE + "ma", AFTER + "x"),
        request(path="b.py"),
    ],
    ids=["typo", "all of it", "beyond it", "before it", "edited above", "edited after", "edited below", "other file"],
)
def test_anything_else_asks_the_model(suggestions: Suggestions, other: CompletionRequest) -> None:
    assert suggestions.find(other) is None


def test_the_newest_wins_and_older_ones_are_found_on_the_way_back(suggestions: Suggestions) -> None:
    newer = replace(MADE, text="th.tau")
    suggestions.remember(request(BEFORE + "ma"), newer)
    for typed, left in (("ma", "th.tau"), ("mat", "h.tau"), ("m", TEXT[1:]), ("", TEXT), ("math.p", TEXT[6:])):
        found = suggestions.find(request(BEFORE + typed))
        assert found is not None
        assert found.text == left


def test_an_empty_answer_is_remembered_unless_a_key_asks() -> None:
    suggestions = Suggestions()
    suggestions.remember(request(), replace(MADE, text=""))
    assert suggestions.find(request()) is not None
    assert suggestions.find(replace(request(), explicit=True)) is None
    assert suggestions.find(request(BEFORE + "m")) is None


def test_an_unsure_suggestion_is_shown_only_when_explicitly_invoked() -> None:
    unsure, sure, asked = (
        replace(request(), **how) for how in ({"confidence": 0.1}, {"confidence": 0.9}, {"explicit": True})
    )
    suggestions = Suggestions()
    suggestions.remember(unsure, MADE)
    assert suggestions.find(unsure) is not None
    assert suggestions.find(sure) is None
    assert suggestions.find(asked) is None
    suggestions.remember(asked, MADE)
    assert suggestions.find(sure) is not None
    assert suggestions.find(asked) is not None


@pytest.mark.parametrize("others", [{"neighbours": ("tau = 6.28\n",)}, {"context": (ContextSnippet("b.py", "tau"),)}])
def test_a_key_asks_again_once_other_files_are_known(others: dict[str, Any]) -> None:
    suggestions = Suggestions()
    asked = replace(request(), explicit=True)
    suggestions.remember(asked, MADE)
    assert suggestions.find(asked) is not None
    assert suggestions.find(replace(asked, **others)) is None
    assert suggestions.find(replace(request(), **others)) is not None  # what is on the screen stays while it is typed


def test_a_long_document_costs_only_its_surroundings() -> None:
    suggestions = Suggestions()
    far = "x = 1\n" * 100_000
    suggestions.remember(request(far + BEFORE), MADE)
    found = suggestions.find(request(far + BEFORE + "math"))
    assert found is not None
    assert sum(len(made.before) + len(made.after) for made in suggestions._made) <= 4000
