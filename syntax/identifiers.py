"""The names in a piece of source text, by the leaves of its syntax tree."""

from __future__ import annotations

import re
from functools import cache

import tree_sitter

from syntax.languages import grammar_of, parser_for

_WORD = re.compile(r"[^\W\d]\w+")
_NAMES = ("name", "constant", "variable_name")  # what the grammars of PHP, Ruby and the shell call an identifier


def identifiers(text: str, language: str) -> frozenset[str]:
    """Collect the names that a text uses; where the language has no grammar, its words."""
    parser = parser_for(language)
    if parser is None or _query(language) is None:
        return frozenset(_WORD.findall(text))
    source = text.encode("utf-8", "replace")
    return identifiers_in(parser.parse(source), source, language, (0, len(source)))


def identifiers_in(tree: tree_sitter.Tree, source: bytes, language: str, span: tuple[int, int]) -> frozenset[str]:
    """Collect the names between two byte offsets of a text that has been parsed already."""
    query = _query(language)
    if query is None:
        return frozenset(_WORD.findall(source[slice(*span)].decode("utf-8", "replace")))
    cursor = tree_sitter.QueryCursor(query)
    cursor.set_byte_range(*span)
    nodes = cursor.captures(tree.root_node).get("name", [])
    return frozenset({source[node.start_byte : node.end_byte].decode("utf-8", "replace") for node in nodes})


@cache
def _query(language: str) -> tree_sitter.Query | None:
    """What finds identifiers: run in C, it takes a quarter of the time of a walk over all leaves."""
    grammar = grammar_of(language)
    if grammar is None:
        return None
    kinds = {
        kind
        for number in range(grammar.node_kind_count)
        if grammar.node_kind_is_named(number)
        and grammar.node_kind_is_visible(number)
        and (kind := grammar.node_kind_for_id(number)) is not None
        and (kind.endswith("identifier") or kind in _NAMES)
        and not kind.startswith(("qualified", "scoped", "nested", "dotted", "generic"))
    }
    return tree_sitter.Query(grammar, f"[{' '.join(f'({kind})' for kind in sorted(kinds))}] @name") if kinds else None
