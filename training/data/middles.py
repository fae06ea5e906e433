"""Chooses which middle is cut out of a file, on the syntax tree, as a programmer would write it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import tree_sitter

Kind = Literal["line", "statement", "block", "span", "nothing"]

LONGEST = 700  # code points of a middle, as reported of Mellum's fine-tuning
_KINDS: dict[Kind, float] = {"line": 0.3, "statement": 0.25, "block": 0.3, "span": 0.1, "nothing": 0.05}
_LONGEST_SPAN = 200
_TRIES = 20
_STATEMENT = ("_statement", "_declaration", "_definition", "_item", "declaration", "public_field_definition")
_BLOCKS = frozenset(
    {
        *("block", "statement_block", "compound_statement", "class_body", "interface_body", "declaration_list"),
        *("field_declaration_list", "constructor_body", "enum_body", "switch_block", "switch_body"),
    }
)
_TOKEN_EDGE = re.compile(r"\b|(?<=[^\w\s])|(?=[^\w\s])")


@dataclass(frozen=True, slots=True)
class Middle:
    """A part of a file, in code points."""

    start: int
    end: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Outline:
    """The statements of a file and the blocks that they stand in, as (start, end) in code points."""

    statements: list[tuple[int, int]]
    blocks: list[list[tuple[int, int]]]
    """Of each block, its children."""


def outline_of(text: str, language: str) -> Outline:
    """Collect statements and blocks. Raises ValueError where the language has no grammar."""
    from syntax.parsing.grammars import (
        parser_for,  # what is known of a file already is cut where no grammar is installed
    )

    parser = parser_for(language)
    if parser is None:
        raise ValueError(f"{language} has no grammar; leave files of it out")
    data = text.encode()
    place = _places(data)
    statements: list[tuple[int, int]] = []
    blocks: list[list[tuple[int, int]]] = []
    pending: list[tree_sitter.Node] = [parser.parse(data).root_node]
    while pending:
        node = pending.pop()
        if node.type in _BLOCKS and node.named_children:
            blocks.append([(place(child.start_byte), place(child.end_byte)) for child in node.named_children])
        elif node.is_named and node.type.endswith(_STATEMENT) and not node.has_error:
            statements.append((place(node.start_byte), place(node.end_byte)))
        pending.extend(node.children)
    return Outline(statements, blocks)


def choose_middle(text: str, outline: Outline, chance: random.Random) -> Middle | None:
    """Choose a middle at random; None where the file has none of the kind that was drawn."""
    kind = chance.choices(list(_KINDS), list(_KINDS.values()))[0]
    for _ in range(_TRIES):
        span = _CHOOSERS[kind](text, outline, chance)
        if span is not None and _is_whole(text, *span, kind):
            return Middle(*span, kind)
    return None


def _line(text: str, outline: Outline, chance: random.Random) -> tuple[int, int] | None:
    """The rest of a line."""
    start = text.rfind("\n", 0, chance.randrange(len(text))) + 1
    end = text.find("\n", start)
    return (_begin(text, start, end, chance), end) if end > start else None


def _statement(text: str, outline: Outline, chance: random.Random) -> tuple[int, int] | None:
    """The rest of a statement, and of the block that it opens."""
    if not outline.statements:
        return None
    start, end = chance.choice(outline.statements)
    return _begin(text, start, min(_line_end(text, start), end), chance), end


def _block(text: str, outline: Outline, chance: random.Random) -> tuple[int, int] | None:
    """The rest of a block from one of its statements on, or all of it from the end of the line that opens it."""
    if not outline.blocks:
        return None
    children = chance.choice(outline.blocks)
    index = chance.randrange(len(children))
    start, end = children[index][0], children[-1][1]
    if index == 0 and chance.random() < 0.5:
        return len(text[:start].rstrip()), end
    return _begin(text, start, min(_line_end(text, start), end), chance), end


def _span(text: str, outline: Outline, chance: random.Random) -> tuple[int, int] | None:
    """Any text, from and to anywhere."""
    start = chance.randrange(len(text))
    return start, min(start + chance.randint(4, _LONGEST_SPAN), len(text))


def _nothing(text: str, outline: Outline, chance: random.Random) -> tuple[int, int] | None:
    """Behind a statement that is complete."""
    if not outline.statements:
        return None
    _, end = chance.choice(outline.statements)
    return (end, end) if text[end : end + 1] == "\n" else None


_CHOOSERS: dict[Kind, Callable[[str, Outline, random.Random], tuple[int, int] | None]] = {
    "line": _line,
    "statement": _statement,
    "block": _block,
    "span": _span,
    "nothing": _nothing,
}


def _begin(text: str, start: int, end: int, chance: random.Random) -> int:
    """Where in a line to begin: at its first character, at the edge of a token, or anywhere."""
    start += len(text[start:end]) - len(text[start:end].lstrip())
    how = chance.random()
    if how < 0.3 or end - start < 2:
        return start
    if how < 0.65:
        edges = [start + found.start() for found in _TOKEN_EDGE.finditer(text[start:end])]
        return chance.choice([edge for edge in edges if start < edge < end] or [start])
    return chance.randrange(start + 1, end)


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _is_whole(text: str, start: int, end: int, kind: Kind) -> bool:
    middle = text[start:end]
    return len(middle) <= LONGEST and (kind == "nothing" or bool(middle.strip()))


def _places(data: bytes) -> Callable[[int], int]:
    """From a byte of UTF-8 to its code point."""
    if data.isascii():
        return lambda byte: byte
    places: list[int] = []
    count = -1
    for byte in data:
        count += (byte & 0xC0) != 0x80
        places.append(count)
    places.append(count + 1)
    return places.__getitem__
