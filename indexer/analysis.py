"""From a file's text to everything that the index keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import tree_sitter

from indexer.chunks import Chunk, chunks_of
from indexer.symbols import Outline, outline_of
from syntax import language_of, parser_for

_LARGEST_TREE = 400_000  # bytes, about 60 ms to parse; a longer file works by its lines
_FAMILIES = {
    **dict.fromkeys(("javascript", "javascriptreact", "typescript", "typescriptreact"), "javascript"),
    **dict.fromkeys(("c", "cpp"), "c"),
    **dict.fromkeys(("java", "kotlin", "scala"), "jvm"),
    **dict.fromkeys(("css", "scss", "less"), "css"),
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text with its lines and its syntax tree."""

    text: str
    """With line feeds as line ends."""
    language: str
    source: bytes
    lines: list[str]
    tree: tree_sitter.Tree | None
    """None where the language has no grammar, or the file is too long."""
    outline: Outline


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the index keeps of a text."""

    text: str
    family: str
    outline: Outline
    chunks: tuple[Chunk, ...]


def parse(text: str, path: str, language: str | None = None, old: Parsed | None = None) -> Parsed:
    """Parse a text and find its definitions. `old` is an earlier text of the file: only what has changed is parsed."""
    language = language or language_of(path)
    text = text.replace("\r\n", "\n")
    if old is not None and old.text == text and old.language == language:
        return old
    source, lines = text.encode("utf-8", "replace"), text.split("\n")
    tree = _tree(source, language, old)
    outline = outline_of(tree, source, lines, language) if tree is not None else Outline((), ())
    return Parsed(text, language, source, lines, tree, outline)


def analyse(parsed: Parsed, path: str) -> Analysis:
    """Cut a parsed text into pieces."""
    ends = [symbol.last for symbol in parsed.outline.symbols if symbol.last > symbol.first]
    if parsed.tree is not None:
        ends += [node.end_point[0] for node in parsed.tree.root_node.children]
    chunks = chunks_of(parsed.lines, ends, parsed.tree, parsed.source, parsed.language)
    return Analysis(parsed.text, family(path, parsed.language), parsed.outline, tuple(chunks))


def family(path: str, language: str) -> str:
    """Which files may help which: those of one language, or of languages that share their code.

    An unknown language is known by its files' suffix.
    """
    if language in ("", "plaintext"):
        return PurePosixPath(path).suffix.lower() or PurePosixPath(path).name
    return _FAMILIES.get(language, language)


def _tree(source: bytes, language: str, old: Parsed | None) -> tree_sitter.Tree | None:
    parser = parser_for(language)
    if parser is None or len(source) > _LARGEST_TREE:
        return None
    if old is None or old.tree is None or old.language != language:
        return parser.parse(source)
    before = old.source
    start = _common(before, source)
    kept = _common(before[start:][::-1], source[start:][::-1])
    tree = old.tree.copy()
    tree.edit(
        start_byte=start,
        old_end_byte=len(before) - kept,
        new_end_byte=len(source) - kept,
        start_point=_point(before, start),
        old_end_point=_point(before, len(before) - kept),
        new_end_point=_point(source, len(source) - kept),
    )
    return parser.parse(source, tree)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two texts have in common at their start, by halving: slices compare at the speed of memory."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _point(source: bytes, offset: int) -> tuple[int, int]:
    return source.count(b"\n", 0, offset), offset - (source.rfind(b"\n", 0, offset) + 1)
