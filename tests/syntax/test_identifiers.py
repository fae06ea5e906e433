"""Names in source text."""

from __future__ import annotations

from syntax import identifiers


def test_names_are_those_of_the_syntax_tree() -> None:
    assert identifiers("def fetch(url):  # a comment\n    return 'text' + url", "python") == {"fetch", "url"}
    assert identifiers("const größe = new Box<Item>(width)", "typescript") >= {"größe", "Box", "Item", "width"}


def test_without_a_grammar_they_are_words() -> None:
    assert identifiers("local größe = width * 2", "fennel") == {"local", "größe", "width"}
