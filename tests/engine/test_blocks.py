"""Blocks that end with a word: whatever a suggestion is cut short in, the document reads well once it is accepted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tree_sitter import Node, Parser

from engine.ending.trim import trim
from syntax import language_of
from syntax.parsing.grammars import parser_for

SAMPLES = sorted(Path(__file__).with_name("samples").iterdir())
MULTILINE = 2  # lines


def parser_of(language: str) -> Parser:
    parser = parser_for(language)
    assert parser is not None
    return parser


@cache
def blocks(file: Path) -> list[tuple[int, int]]:
    """Start and end of all statements of several lines that begin their line and end theirs, in bytes."""
    source = file.read_bytes()
    tree = parser_of(language_of(file.name)).parse(source)
    assert not tree.root_node.has_error
    found = set()
    for node in nodes(tree.root_node):
        start, end = node.start_byte, node.end_byte
        begins = source[source.rfind(b"\n", 0, start) + 1 : start].strip() == b""
        ends = source[end : source.find(b"\n", end)].strip() == b""
        if node.type in _STATEMENTS and begins and ends and source.count(b"\n", start, end) >= MULTILINE:
            found.add((start, end))
    return sorted(found)


_STATEMENTS = frozenset(
    [
        "method",
        "class",
        "module",
        "if",
        "unless",
        "while",
        "until",
        "for",
        "case",
        "begin",
        "call",
        "assignment",
        "function_declaration",
        "if_statement",
        "while_statement",
        "repeat_statement",
        "for_statement",
        "do_statement",
        "variable_declaration",
        "assignment_statement",
        "case_statement",
    ]
)


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.suffix[1:])
def test_what_is_cut_short_anywhere_leaves_no_block_open(file: Path, seed: int) -> None:
    """Take a statement out of real code, generate a part of it, and accept that."""
    language, source = language_of(file.name), file.read_bytes()
    chance = random.Random(seed)
    parser, suggested = parser_of(language), 0
    for _ in range(120):
        start, end = chance.choice(blocks(file))
        cut = chance.choice([at for at in range(start, end + 1) if source[at - 1 : at] == b"\n" or at == end])
        prefix, suffix = source[:start].decode(), source[end:].decode()
        generated = source[start:cut].decode()
        trimmed = trim(generated, prefix=prefix, suffix=suffix, language=language)
        if "\n" not in trimmed.text:
            continue  # a head alone, or the part of a line
        accepted = prefix + trimmed.text + suffix[trimmed.replaces :]
        suggested += 1
        assert not parser.parse(accepted.encode()).root_node.has_error, (generated, trimmed.text)
        assert trim(trimmed.text, prefix=prefix, suffix=suffix, language=language).text == trimmed.text
    assert suggested > 60


@pytest.mark.parametrize(
    ("language", "prefix", "generated", "suffix", "expected"),
    [
        ("ruby", "def a\n  ", "  if x\n    foo\n    bar if baz", "\nend\n", "if x\n  foo\n  bar if baz\n  end"),
        ("ruby", "", "items.each do |x|\n  puts x", "\n", "items.each do |x|\n  puts x\nend"),
        ("lua", "", "foo(function()\n  a(1)", "\n", "foo(function()\n  a(1)\nend)"),
        ("lua", "", "repeat\n  a(1)", "\n", "repeat"),  # its condition is not known
        ("shellscript", "", "if x; then\n  # text", "\n", "if x; then"),
        ("julia", "", "for i in 1:3\n  y = a[end]", "\n", "for i in 1:3\n  y = a[end]\nend"),
        ("elixir", "", "Enum.map(x, fn a ->\n  a", "\n", "Enum.map(x, fn a ->\n  a\nend)"),
        # a head on the cursor's line, whose block the document closes or not
        ("lua", "if x", " then\n  return 1", "\n", " then\n  return 1\nend"),
        ("lua", "if x", " then\n  return 1", "\nend\n", " then\n  return 1"),
        # the word that ends a block stands where the block begins, or is not said
        ("ruby", "def a\n  1\n", "  end", "\n", "end"),
        ("ruby", "def a\n  1\n  ", "end", "\n", ""),
        ("ruby", "def a\n  1\n", "end", "\nend\n", ""),
    ],
)
def test_a_block_is_closed_where_it_was_opened(
    language: str, prefix: str, generated: str, suffix: str, expected: str
) -> None:
    assert trim(generated, prefix=prefix, suffix=suffix, language=language).text == expected


@pytest.mark.parametrize("generated", ["{`${`${`$x", "`${`$ {"])
def test_text_that_no_grammar_understands_comes_to_an_end(generated: str) -> None:
    """Braces that close nothing were added to it again and again."""
    for language in ("scala", "swift", "dart"):
        once = trim(generated, prefix="  ", suffix="\n", language=language)
        assert trim(once.text, prefix="  ", suffix="\n", language=language) == once
