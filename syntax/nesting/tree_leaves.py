"""The brackets, quotes and comments among the leaves of a syntax tree. Only for processes that may die.

A tree-sitter tree of unfinished code is full of errors, but its leaves are the language's tokens nevertheless: a
bracket in a string or a comment is no bracket leaf. That is all that is needed here, and it holds while the user types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from syntax.languages import language_named
from syntax.nesting.leaves import COMMENT, DELIMITERS, QUOTES, Leaf, plain_leaves
from syntax.parsing.grammars import parse, parser_for

_WHOLE_STRING = re.compile(rb"""[\w@$]*(\"{3}|'{3}|["'`]).*\1""", re.DOTALL)
_BEGUN_STRING = re.compile(rb"""[$@]*(["'])""")
_IN_ONE_LEAF = frozenset({"shellscript", "sql", "csharp"})
"""Languages with strings that are one leaf, over several lines too; one that has no end yet is an error."""


def tree_leaves(source: bytes, start: int, language: str) -> Iterator[Leaf]:
    """The leaves of a text that end after byte `start`. Raises TooSlow."""
    parser = parser_for(language)
    if parser is None:
        yield from plain_leaves(source, start, language)
        return
    row = language_named(language)
    words, has_long_comments = row.block_words, row.comment != "#"
    pending: list[tuple[Any, str] | Leaf] = [(parse(parser, source).root_node, "")]
    while pending:
        found = pending.pop()
        if isinstance(found, Leaf):
            yield found
            continue
        node, parent = found
        first, last = node.start_byte, node.end_byte
        if last <= start or first == last:
            continue
        kind = node.type
        if kind.endswith("comment"):
            is_open = source.startswith(b"/*", first) and not (last - first > 3 and source.endswith(b"*/", first, last))
            yield Leaf(first, last, COMMENT if is_open else "comment")
        elif node.child_count:
            if kind == "interpolated_string" and node.children[-1].end_byte < last and source[last - 1] == 0x22:
                pending.append(Leaf(last - 1, last, '"'))  # Scala's hides its last quote after a `$name`
            pending.extend((child, kind) for child in reversed(node.children))
        elif has_long_comments and source.startswith(b"/*", first):  # in a shell, `/*` names files
            yield Leaf(first, last, COMMENT)  # no comment, because it has no end yet
        elif kind in ("string_start", "string_end"):
            written = source[first:last].decode("utf-8", "replace").lower()
            quote = written[-3:] if written[-3:] in QUOTES else written[-1:]
            if kind == "string_start":
                yield Leaf(first, last, f"f{quote}" if {"f", "t"} & set(written) else quote)
            else:  # the end of a raw string takes in backslashes before it
                yield Leaf(last - len(quote), last, quote)
        elif kind == "'" and parent in ("lifetime", "label"):
            yield Leaf(first, last, "")
        elif kind in DELIMITERS or (kind in words and not node.is_named):
            yield Leaf(first, last, kind)
        elif kind[-1] in "()[]" and set(brackets := kind.lstrip("$<>")) <= set("()[]"):  # a shell's `$((` and `]]`
            opening = last - len(brackets) + 1
            yield Leaf(first, opening, "$(" if kind.startswith("$(") else brackets[0])
            yield from (Leaf(opening + at, opening + at + 1, one) for at, one in enumerate(brackets[1:]))
        elif kind == "preproc_arg":  # the text of a macro
            within = plain_leaves(source[first:last], max(start - first, 0), language)
            yield from (Leaf(first + leaf.start, first + leaf.end, leaf.kind) for leaf in within)
        elif first < start and (whole := _WHOLE_STRING.fullmatch(source, first, last)):
            quote = whole[1].decode()
            yield Leaf(last - len(quote), last, quote)  # it was open at the cursor
        elif kind == "ERROR" and language in _IN_ONE_LEAF and (begun := _BEGUN_STRING.match(source, first, last)):
            yield Leaf(first, last, begun[1].decode())
        else:
            is_prefixed_quote = kind[-1:] in ('"', "'") and kind[:-1].isalnum()  # such as C's L"
            yield Leaf(first, last, kind[-1] if is_prefixed_quote else "")
