"""A file's definitions and imports, found by one query file for each language: `queries/*.scm`.

A query marks a definition's node with `@definition.KIND`, its name with `@name`, a container that is not around it with
`@container`, a node that only contains others with `@scope`, and an import with `@import`. A file whose first line
begins with `; with the grammar's own tags` is read together with the `tags.scm` that the grammar's wheel ships.
References are not listed one by one: `chunks.py` knows the names that each chunk of a file uses.

Only for expendable processes: it searches syntax trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files

import tree_sitter

from indexer.parsing.symbols import TYPES, Imports, Outline, Symbol
from syntax.languages import language_named
from syntax.parsing.grammars import TooSlow, grammar_of, is_late

_TAGS_TOO = "; with the grammar's own tags"
_LONGEST_SIGNATURE = 8  # lines
_LONGEST_WORD = 100  # code points of a name; a longer one is data
_MOST_SYMBOLS = 2_000  # of one file
_MOST_IMPORTS = 2_000
_LONGEST_IMPORT = 20_000  # bytes
_DEEPEST = 256  # levels of the tree; deeper definitions are no part of an outline
_LONGEST_COMMENT = 200  # lines above a definition that are looked at
_LINE_START = 400  # code points of a line that tell whether it is a comment
_BODIES = ("body", "accessors")
_BODY_KINDS = re.compile(r"(?:^|_)(?:body|block|declaration_list|field_declaration_list|statement_block)$")
_WORD = re.compile(r"[\w-]+")
_TEXT_OF_COMMENT = re.compile(r"^\s*(?:/\*\*?|\*/|\*|///?!?|#|--|\"\"\"|''')?\s*(.*?)\s*(?:\*/|\"\"\"|''')?\s*$")
_COMMENT_STARTS = ("//", "/*", "*", "#", "--")
_DIRECTIVES = ("#[", "#include", "#define", "#if", "#endif", "#pragma", "#undef", "*(")


def outline_of(tree: tree_sitter.Tree, source: bytes, lines: list[str], language: str) -> Outline:
    """Find a parsed file's definitions and imports. `lines` are those of `source`. Raises TooSlow."""
    query = query_for(language)
    if query is None:
        return Outline((), ())
    definitions: dict[int, _Definition] = {}
    imports: list[Imports] = []
    cursor = tree_sitter.QueryCursor(query)
    cursor.set_max_start_depth(_DEEPEST)
    for _, captures in cursor.matches(tree.root_node):
        if "import" in captures:
            nodes = [node for node in captures["import"] if node.end_byte - node.start_byte <= _LONGEST_IMPORT]
            imports += (_imports(node, source) for node in nodes[: _MOST_IMPORTS - len(imports)])
        elif (found := _definition(captures, source)) is not None:
            definitions.setdefault(found.key, found)
    if is_late():
        raise TooSlow
    ordered = sorted(definitions.values(), key=lambda one: (one.node.start_byte, -one.node.end_byte))
    symbols = [symbol for symbol in _nested(ordered, lines) if len(symbol.name) <= _LONGEST_WORD]
    return Outline(tuple(symbols[:_MOST_SYMBOLS]), tuple(imports))


@cache
def query_for(language: str) -> tree_sitter.Query | None:
    """Load a language's query on first need; None where it has no query file or no grammar is installed."""
    row, grammar = language_named(language), grammar_of(language)
    if grammar is None or row.grammar is None:
        return None
    module = row.grammar.partition(":")[0]
    file = files("indexer.parsing") / "queries" / f"{module.removeprefix('tree_sitter_')}.scm"
    source = file.read_text(encoding="utf-8")
    if source.startswith(_TAGS_TOO):
        source = f"{import_module(module).TAGS_QUERY}\n{source}"
    query = tree_sitter.Query(grammar, source)
    encoded = source.encode()
    for pattern in range(query.pattern_count):
        text = encoded[query.start_byte_for_pattern(pattern) : query.end_byte_for_pattern(pattern)]
        if not any(capture in text for capture in (b"@definition.", b"@import", b"@scope")):
            query.disable_pattern(pattern)
    return query


@dataclass(frozen=True, slots=True)
class _Definition:
    name: str
    key: int
    kind: str
    """Empty for a scope, which is no symbol itself."""
    container: str
    node: tree_sitter.Node


def _definition(captures: dict[str, list[tree_sitter.Node]], source: bytes) -> _Definition | None:
    capture = next((name for name in captures if name == "scope" or name.startswith("definition.")), None)
    if capture is None or "name" not in captures:
        return None
    name = captures["name"][0]
    container = captures["container"][0] if "container" in captures else None
    return _Definition(
        name=_text(name, source).lstrip(":"),
        key=name.start_byte,
        kind="" if capture == "scope" else capture.partition(".")[2],
        container=_text(container, source) if container is not None else "",
        node=captures[capture][0],
    )


def _nested(definitions: Iterable[_Definition], lines: list[str]) -> Iterator[Symbol]:
    """Give definitions the types around them, and drop what is local to a function."""
    around: list[_Definition] = []
    for one in definitions:
        while around and around[-1].node.end_byte < one.node.end_byte:
            around.pop()
        outer = around[-1] if around else None
        if outer is not None and outer.kind not in TYPES and outer.kind and one.kind != "field":
            continue
        within = next((other.name for other in reversed(around) if other.kind in TYPES or not other.kind), "")
        if one.kind in TYPES or not one.kind or one.kind in ("function", "method"):
            around.append(one)
        if not one.kind:
            continue
        container = one.container or within
        kind = "method" if one.kind == "function" and container else one.kind
        first, last = one.node.start_point[0], one.node.end_point[0]
        last = min(last, len(lines) - 1) if one.node.end_point[1] else max(first, last - 1)
        head = min(max(_head_of(one.node), first), last, first + _LONGEST_SIGNATURE - 1)
        yield Symbol(one.name, kind, container, first, head, last, _documentation(lines, first, head, last))


def _head_of(node: tree_sitter.Node) -> int:
    """The last line of a definition's signature: where its body begins, or the line before an indented one."""
    body = next((found for name in _BODIES if (found := node.child_by_field_name(name)) is not None), None)
    if body is None:
        body = next((child for child in reversed(node.children) if _BODY_KINDS.search(child.type)), None)
    if body is None:
        return node.end_point[0]
    before = body.prev_sibling
    starts_with_brace = body.child_count and body.children[0].type in ("{", "do")
    if starts_with_brace or before is None:
        return int(body.start_point[0])
    return int(before.end_point[0])


def _documentation(lines: list[str], first: int, head: int, last: int) -> int:
    """The first line with words of a definition's docstring, or of the comment above it; -1 where there is none."""
    if head < last and lines[head + 1].lstrip().startswith(('"""', "'''", 'r"""')):
        for line in range(head + 1, min(head + 3, last + 1)):
            if _words_of_comment(lines[line]):
                return line
    at = first - 1
    highest = max(first - _LONGEST_COMMENT, 0)
    while at >= highest and lines[at][:_LINE_START].lstrip().startswith(("@", "#[")):
        at -= 1
    if at < highest or not _is_comment(lines[at]):
        return -1
    while at > highest and _is_comment(lines[at - 1]):
        at -= 1
    return next((line for line in range(at, first) if _words_of_comment(lines[line])), -1)


def _is_comment(line: str) -> bool:
    stripped = line[:_LINE_START].lstrip()
    return stripped.startswith(_COMMENT_STARTS) and not stripped.startswith(_DIRECTIVES)


def _words_of_comment(line: str) -> bool:
    found = _TEXT_OF_COMMENT.match(line[:_LINE_START])
    return found is not None and any(character.isalpha() for character in found[1])


def _imports(node: tree_sitter.Node, source: bytes) -> Imports:
    text = _text(node, source)
    return Imports(tuple(_WORD.findall(text)), text)


def _text(node: tree_sitter.Node, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode("utf-8", "replace")
