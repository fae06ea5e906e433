"""Parsing in pieces, with a limit of time, gives the trees of the whole and keeps nothing of the texts."""

from __future__ import annotations

import sysconfig
import tracemalloc
from pathlib import Path

import tree_sitter

from syntax.parsing.grammars import grammar_of, parse, parser_for

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
SHORT = (STANDARD_LIBRARY / "textwrap.py").read_bytes()
LONG = (STANDARD_LIBRARY / "argparse.py").read_bytes()  # two pieces


def parser() -> tree_sitter.Parser:
    found = parser_for("python")
    assert found is not None
    return found


def test_a_text_in_pieces_has_the_tree_of_the_whole() -> None:
    for text in (LONG, SHORT, b"", b"x", LONG[:65_536], LONG[:65_537], LONG[:70_000]):
        assert str(parse(parser(), text).root_node) == str(parser().parse(text).root_node)


def test_a_query_reads_the_text_of_the_tree_that_it_is_asked_of() -> None:
    grammar = grammar_of("python")
    assert grammar is not None
    query = tree_sitter.Query(grammar, '((identifier) @name (#eq? @name "TextWrapper"))')
    tree = parse(parser(), SHORT)
    parse(parser(), LONG)
    found = tree_sitter.QueryCursor(query).captures(tree.root_node)["name"]
    assert {SHORT[node.start_byte : node.end_byte] for node in found} == {b"TextWrapper"}


def test_parsing_keeps_nothing_of_a_text() -> None:
    for _ in range(3):
        parse(parser(), LONG)
    tracemalloc.start()
    try:
        for number in range(30):
            parse(parser(), b"# %d\n" % number + LONG)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < len(LONG)
