"""The names in a piece of source text, by the leaves of its syntax tree."""

from __future__ import annotations

import re

from syntax.languages import parser_for

_WORD = re.compile(r"[^\W\d]\w+")


def identifiers(text: str, language: str) -> frozenset[str]:
    """Collect the names that a text uses; where the language has no grammar, its words."""
    parser = parser_for(language)
    if parser is None:
        return frozenset(_WORD.findall(text))
    names: set[str] = set()
    pending = [parser.parse(text.encode("utf-8", "replace")).root_node]
    while pending:
        node = pending.pop()
        if node.child_count:
            pending.extend(node.children)
        elif node.type.endswith("identifier") and node.text is not None:
            names.add(node.text.decode("utf-8", "replace"))
    return frozenset(names)
