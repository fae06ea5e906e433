"""Names in source text."""

from __future__ import annotations

from syntax.parsing.grammars import parser_for
from syntax.parsing.identifiers import has_names, identifiers_in


def names_in(text: str, language: str) -> set[str]:
    parser, source = parser_for(language), text.encode()
    assert parser is not None
    return {name for name, _, _ in identifiers_in(parser.parse(source), source, language)}


def test_names_are_those_of_the_syntax_tree() -> None:
    assert names_in("def fetch(url):  # a comment\n    return 'text' + url", "python") == {"fetch", "url"}
    assert names_in("const größe = new Box<Item>(width)", "typescript") >= {"größe", "Box", "Item", "width"}


def test_a_name_is_found_with_its_line() -> None:
    parser, source = parser_for("python"), b"a = 1\nb = a\n"
    assert parser is not None
    found = identifiers_in(parser.parse(source), source, "python", (6, 11))
    assert sorted(found) == [("a", 1, 1), ("b", 1, 1)]


def test_without_a_grammar_there_are_none() -> None:
    assert not has_names("fennel")
