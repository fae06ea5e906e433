"""From a text to its outline and its chunks, by its syntax tree. Only for expendable processes.

As `python -m indexer.parsing.trees` it is the process that `analysis.py` asks; the pool's processes call it directly.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import tree_sitter

from indexer.parsing.chunks import Chunk, chunks_of
from indexer.parsing.outlines import outline_of
from indexer.parsing.symbols import SECONDS, Outline
from syntax.common_start import common_length
from syntax.parsing.grammar_process import serve
from syntax.parsing.grammars import parse, parser_for
from syntax.parsing.identifiers import has_names, identifiers_in

_MOST_TREES = 12  # documents whose last tree is kept


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed text."""

    source: bytes
    lines: list[str]
    language: str
    tree: tree_sitter.Tree | None
    outline: Outline


def read_tree(text: str, language: str, old: Tree | None = None) -> Tree:
    """Parse a text and find its outline. `old` is an earlier text: only what has changed is parsed. Raises TooSlow."""
    source, lines = text.encode("utf-8", "replace"), text.split("\n")
    parser = parser_for(language)
    if parser is None:
        return Tree(source, lines, language, None, Outline((), ()))
    if old is None or old.tree is None or old.language != language:
        tree = parse(parser, source)
    else:
        tree = parse(parser, source, _edited(old.tree, old.source, source))
    return Tree(source, lines, language, tree, outline_of(tree, source, lines, language))


def chunks_in(read: Tree) -> list[Chunk]:
    """Cut a parsed text into chunks. Raises TooSlow."""
    ends = [symbol.last for symbol in read.outline.symbols if symbol.last > symbol.first]
    if read.tree is not None:
        ends += [node.end_point[0] for node in read.tree.root_node.children]
    if read.tree is None or not has_names(read.language):
        return chunks_of(read.lines, ends)
    names: list[list[str]] = [[] for _ in read.lines]
    for name, first, last in identifiers_in(read.tree, read.source, read.language):
        for line in {first, min(last, len(names) - 1)}:
            names[line].append(name)
    return chunks_of(read.lines, ends, names)


class Answers:
    """The process's answers to `analysis.py`. It keeps the trees of the last documents."""

    def __init__(self) -> None:
        self._trees: OrderedDict[str, Tree] = OrderedDict()

    def __call__(self, question: str, language: str, text: str, path: str) -> dict[str, Any]:
        """Answer the question "outline"; the question "chunks" with the outline and the chunks."""
        old = self._trees.pop(path, None)
        source = text.encode("utf-8", "replace")
        is_known = old is not None and old.source == source and old.language == language
        read = old if old is not None and is_known else read_tree(text, language, old)
        self._trees[path] = read
        if len(self._trees) > _MOST_TREES:
            self._trees.popitem(last=False)
        imports = [(one.words, one.text) for one in read.outline.imports]
        answer: dict[str, Any] = {"symbols": read.outline.symbols, "imports": imports}
        if question == "chunks":
            answer["chunks"] = [(one.first, one.last, sorted(one.names)) for one in chunks_in(read)]
        return answer


def _edited(tree: tree_sitter.Tree, before: bytes, source: bytes) -> tree_sitter.Tree:
    """The tree of `before`, with a note of the bytes in which `source` differs."""
    start = common_length(before, source)
    kept = common_length(before[start:][::-1], source[start:][::-1])
    edited = tree.copy()
    edited.edit(
        start_byte=start,
        old_end_byte=len(before) - kept,
        new_end_byte=len(source) - kept,
        start_point=_point(before, start),
        old_end_point=_point(before, len(before) - kept),
        new_end_point=_point(source, len(source) - kept),
    )
    return edited


def _point(source: bytes, offset: int) -> tuple[int, int]:
    return source.count(b"\n", 0, offset), offset - (source.rfind(b"\n", 0, offset) + 1)


if __name__ == "__main__":
    serve(Answers(), SECONDS)
