"""The names in a parsed text, by the leaves of its syntax tree. Only for processes that may die."""

from __future__ import annotations

from functools import cache

import tree_sitter

from syntax.parsing.grammars import TooSlow, grammar_of, is_late

_NAMES = ("name", "constant", "variable_name")  # what the grammars of PHP, Ruby and the shell call an identifier


def identifiers_in(
    tree: tree_sitter.Tree, source: bytes, language: str, span: tuple[int, int] | None = None
) -> list[tuple[str, int, int]]:
    """Find the names of a text or, with `span`, between two byte offsets of it: each with its first and last line.

    Lines count from 0. Raises TooSlow.
    """
    query = _query(language)
    if query is None:
        return []
    cursor = tree_sitter.QueryCursor(query)
    if span is not None:
        cursor.set_byte_range(*span)
    nodes = cursor.captures(tree.root_node).get("name", [])
    if is_late():
        raise TooSlow
    return [
        (source[node.start_byte : node.end_byte].decode("utf-8", "replace"), node.start_point[0], node.end_point[0])
        for node in nodes
    ]


def has_names(language: str) -> bool:
    """Whether the grammar of a language tells names from other words."""
    return _query(language) is not None


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
