"""What the code knows of each language, as data: one row a language. A row without a grammar works by indentation."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import Literal

import tree_sitter

Blocks = Literal["indentation", "braces", "end"]


@dataclass(frozen=True, slots=True)
class Language:
    """One row."""

    name: str
    """The LSP language id."""
    suffixes: tuple[str, ...]
    """Of file names, with their dot."""
    blocks: Blocks
    """What ends a block: a dedent, a closing brace, or a keyword."""
    continues: frozenset[str] = frozenset()
    """Keywords that go on with a statement after the end of one of its blocks, on a line of their own."""
    grammar: str | None = None
    """`module:function` of the tree-sitter grammar's wheel."""


_JAVASCRIPT = frozenset({"else", "catch", "finally", "while"})
_LANGUAGES = (
    Language(
        "python",
        (".py", ".pyi", ".pyw"),
        "indentation",
        frozenset({"else", "elif", "except", "finally", "case"}),
        "tree_sitter_python:language",
    ),
    Language("javascript", (".js", ".mjs", ".cjs"), "braces", _JAVASCRIPT, "tree_sitter_javascript:language"),
    Language("javascriptreact", (".jsx",), "braces", _JAVASCRIPT, "tree_sitter_javascript:language"),
    Language(
        "typescript", (".ts", ".mts", ".cts"), "braces", _JAVASCRIPT, "tree_sitter_typescript:language_typescript"
    ),
    Language("typescriptreact", (".tsx",), "braces", _JAVASCRIPT, "tree_sitter_typescript:language_tsx"),
    Language("go", (".go",), "braces", frozenset(), "tree_sitter_go:language"),
    Language("rust", (".rs",), "braces", frozenset({"else"}), "tree_sitter_rust:language"),
    Language("java", (".java",), "braces", _JAVASCRIPT, "tree_sitter_java:language"),
    Language("c", (".c", ".h"), "braces", frozenset({"else", "while"}), "tree_sitter_c:language"),
    Language(
        "cpp",
        (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
        "braces",
        frozenset({"else", "while", "catch"}),
        "tree_sitter_cpp:language",
    ),
    Language("csharp", (".cs",), "braces", _JAVASCRIPT),
    Language("kotlin", (".kt", ".kts"), "braces", _JAVASCRIPT),
    Language("php", (".php",), "braces", _JAVASCRIPT),
    Language("swift", (".swift",), "braces", _JAVASCRIPT),
    Language("scala", (".scala", ".sc"), "braces", _JAVASCRIPT),
    Language("css", (".css", ".scss"), "braces"),
    Language("json", (".json",), "braces"),
    Language("ruby", (".rb",), "end", frozenset({"else", "elsif", "when", "rescue", "ensure"})),
    Language("lua", (".lua",), "end", frozenset({"else", "elseif", "until"})),
    Language("shellscript", (".sh", ".bash"), "end", frozenset({"else", "elif", "fi", "done", "esac"})),
    Language("yaml", (".yaml", ".yml"), "indentation"),
)
_BY_NAME = {language.name: language for language in _LANGUAGES}
_BY_SUFFIX = {suffix: language.name for language in _LANGUAGES for suffix in language.suffixes}
_UNKNOWN = Language("plaintext", (), "indentation")


def language_of(file_name: str) -> str:
    """Guess the LSP language id of a file by its name; `plaintext` for an unknown one."""
    return _BY_SUFFIX.get(PurePath(file_name).suffix.lower(), _UNKNOWN.name)


def language_named(name: str) -> Language:
    """Find the row of an LSP language id; an unknown one works by indentation."""
    return _BY_NAME.get(name, _UNKNOWN)


def parser_for(name: str) -> tree_sitter.Parser | None:
    """Find this thread's parser for a language, made on first need; None where there is no grammar."""
    grammar = language_named(name).grammar
    if grammar is None:
        return None
    parsers: dict[str, tree_sitter.Parser] = _of_this_thread.__dict__.setdefault("parsers", {})
    if grammar not in parsers:
        parsers[grammar] = tree_sitter.Parser(_load(grammar))
    return parsers[grammar]


@cache
def _load(grammar: str) -> tree_sitter.Language:
    module, function = grammar.split(":")
    return tree_sitter.Language(getattr(import_module(module), function)())


_of_this_thread = threading.local()  # a parser has a state of its own
