"""What the code knows of each language, as data: one row a language. A row without a grammar works by its lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import PurePath
from typing import Literal

Blocks = Literal["indentation", "braces", "end"]
Statements = Literal["newline", "semicolon", "either"]


@dataclass(frozen=True, slots=True)
class WordBlock:
    """A block that ends with a word: what its first word says of it."""

    closer: str
    """The word that ends it."""
    introduced_by: str = ""
    """The word after which its body begins; empty where none does."""
    may_lack_it: bool = False
    """Whether the end of the line does as well."""


@dataclass(frozen=True, slots=True)
class Language:
    """One row."""

    name: str
    """The LSP language id."""
    suffixes: tuple[str, ...]
    """Of file names, with their dot."""
    blocks: Blocks
    """What ends a block: a dedent, a closing brace, or a keyword."""
    statements: Statements = "newline"
    """What ends a statement: `either` is a newline after which the statement does not go on, or a semicolon."""
    comment: str | None = None
    """What begins a comment that ends with its line."""
    opens: re.Pattern[str] = re.compile(r"\{$")
    """Found in a line, without its comment, below which the body of a block begins."""
    continues: frozenset[str] = frozenset()
    """Keywords that go on with a statement after the end of one of its blocks, on a line of their own."""
    closes: frozenset[str] = frozenset()
    """Keywords that end a block, where keywords do."""
    word_blocks: Mapping[str, WordBlock] = field(default_factory=dict, hash=False)
    """Keywords that begin such a block."""
    modifiers: frozenset[str] = frozenset()
    """Those of them that begin no block after an expression, as in `return if done`."""
    annotation: re.Pattern[str] | None = None
    """A line that belongs to the statement below it, such as a decorator."""
    directives: tuple[str, ...] = ()
    """What begins a line that is a statement of its own, whatever it ends with."""
    grammar: str | None = None
    """`module:function` of the tree-sitter grammar's wheel."""

    @property
    def block_words(self) -> frozenset[str]:
        """Keywords that begin or end blocks, and those that stand between their heads and bodies."""
        introducing = {block.introduced_by for block in self.word_blocks.values()} - {""}
        return self.closes.union(self.word_blocks, introducing)


_PYTHON_CONTINUES = frozenset({"else", "elif", "except", "finally", "case"})
_C_CONTINUES = frozenset({"else", "while"})
_JAVA_CONTINUES = frozenset({"else", "catch", "finally", "while"})
_COLON = re.compile(r":$")
_AT = re.compile(r"@[\w.]+(?:\(.*\))?", re.DOTALL)
_RUST_ATTRIBUTE = re.compile(r"#!?\[.*\]", re.DOTALL)
_RUBY_OPENS = re.compile(
    r"^\s*(?:\w+ = )?(?:def|class|module|if|unless|while|until|for|case|begin)\b(?!.*\bend$)|\bdo(?: *\|[^|]*\|)?$"
)
_LUA_OPENS = re.compile(r"\b(?:then|do|repeat|else)$|\bfunction\b[^()]{0,200}\([^()]*\)$")
_SHELL_OPENS = re.compile(r"\b(?:then|do|else)$|\{$|^\s*case\b.*\bin$")
_ELIXIR_OPENS = re.compile(r"\bdo$|\bfn\b[^>]*->$")
_JULIA_OPENS = re.compile(
    r"^\s*(?:\w+ = )?(?:function|if|for|while|begin|let|try|struct|mutable struct|module|macro|quote)\b(?!.*\bend$)"
    r"|\bdo(?: [\w, ()]*)?$"
)
_END = WordBlock("end")
_RUBY_BLOCKS = {
    **dict.fromkeys(("def", "class", "module", "begin", "case", "do", "if", "unless"), _END),
    **dict.fromkeys(("while", "until", "for"), WordBlock("end", "do", may_lack_it=True)),
}
_LUA_BLOCKS = {
    "function": _END,
    "do": _END,
    "if": WordBlock("end", "then"),
    "for": WordBlock("end", "do"),
    "while": WordBlock("end", "do"),
    "repeat": WordBlock("until"),
}
_SHELL_BLOCKS = {
    "if": WordBlock("fi", "then"),
    "case": WordBlock("esac", "in"),
    **dict.fromkeys(("for", "while", "until", "select"), WordBlock("done", "do")),
}
_JULIA_BLOCKS = dict.fromkeys(
    ("function", "if", "for", "while", "begin", "let", "try", "struct", "module", "macro", "quote", "do"), _END
)
_YAML_OPENS = re.compile(r":(?: [|>][-+]?)?$")
_JAVASCRIPT = "tree_sitter_javascript:language"
_TYPESCRIPT = "tree_sitter_typescript:language_typescript"


def _java_like(name: str, suffixes: tuple[str, ...], grammar: str) -> Language:
    """A language of braces and annotations in which a newline may end a statement."""
    return Language(
        name,
        suffixes,
        "braces",
        "either",
        "//",
        continues=_JAVA_CONTINUES,
        annotation=_AT,
        grammar=grammar,
    )


# Languages whose grammar is not here: their comments and the ends of their blocks are known.
_OF_BRACES: tuple[tuple[str, tuple[str, ...], Statements, str], ...] = (
    ("dart", (".dart",), "semicolon", "//"),
    ("groovy", (".groovy", ".gradle"), "either", "//"),
    ("objective-c", (".m",), "semicolon", "//"),
    ("perl", (".pl", ".pm"), "semicolon", "#"),
    ("powershell", (".ps1", ".psm1"), "newline", "#"),
    ("proto3", (".proto",), "semicolon", "//"),
    ("r", (".r",), "newline", "#"),
    ("solidity", (".sol",), "semicolon", "//"),
    ("terraform", (".tf",), "newline", "#"),
    ("zig", (".zig",), "semicolon", "//"),
)
_OF_LINES = (
    ("ada", (".ada", ".adb", ".ads"), "--"),
    ("clojure", (".clj", ".cljs", ".cljc", ".edn"), ";"),
    ("cmake", (".cmake",), "#"),
    ("coffeescript", (".coffee",), "#"),
    ("dockerfile", (), "#"),
    ("elm", (".elm",), "--"),
    ("erlang", (".erl", ".hrl"), "%"),
    ("fsharp", (".fs", ".fsi", ".fsx"), "//"),
    ("graphql", (".graphql",), "#"),
    ("haskell", (".hs",), "--"),
    ("latex", (".tex",), "%"),
    ("lisp", (".lisp", ".el"), ";"),
    ("makefile", (".mk",), "#"),
    ("nim", (".nim",), "#"),
    ("nix", (".nix",), "#"),
    ("ocaml", (".ml", ".mli"), None),
    ("purescript", (".purs",), "--"),
    ("racket", (".rkt",), ";"),
    ("scheme", (".scm",), ";"),
    ("vhdl", (".vhd", ".vhdl"), "--"),
    ("xml", (".xml",), None),
)

_LANGUAGES = (
    Language(
        "python",
        (".py", ".pyi", ".pyw"),
        "indentation",
        comment="#",
        opens=_COLON,
        continues=_PYTHON_CONTINUES,
        annotation=_AT,
        grammar="tree_sitter_python:language",
    ),
    _java_like("javascript", (".js", ".mjs", ".cjs"), _JAVASCRIPT),
    _java_like("javascriptreact", (".jsx",), _JAVASCRIPT),
    _java_like("typescript", (".ts", ".mts", ".cts"), _TYPESCRIPT),
    _java_like("typescriptreact", (".tsx",), "tree_sitter_typescript:language_tsx"),
    Language("go", (".go",), "braces", "newline", "//", grammar="tree_sitter_go:language"),
    Language(
        "rust",
        (".rs",),
        "braces",
        "semicolon",
        "//",
        continues=frozenset({"else"}),
        annotation=_RUST_ATTRIBUTE,
        grammar="tree_sitter_rust:language",
    ),
    Language(
        "java",
        (".java",),
        "braces",
        "semicolon",
        "//",
        continues=_JAVA_CONTINUES,
        annotation=_AT,
        grammar="tree_sitter_java:language",
    ),
    Language(
        "c",
        (".c", ".h"),
        "braces",
        "semicolon",
        "//",
        continues=_C_CONTINUES,
        directives=("#",),
        grammar="tree_sitter_c:language",
    ),
    Language(
        "cpp",
        (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
        "braces",
        "semicolon",
        "//",
        continues=_C_CONTINUES | {"catch"},
        annotation=re.compile(r"template\s*<.*>|\[\[.*\]\]", re.DOTALL),
        directives=("#",),
        grammar="tree_sitter_cpp:language",
    ),
    Language(
        "csharp",
        (".cs",),
        "braces",
        "semicolon",
        "//",
        continues=_JAVA_CONTINUES,
        annotation=re.compile(r"\[.*\]", re.DOTALL),
        directives=("#",),
        grammar="tree_sitter_c_sharp:language",
    ),
    _java_like("kotlin", (".kt", ".kts"), "tree_sitter_kotlin:language"),
    Language(
        "php",
        (".php",),
        "braces",
        "semicolon",
        "//",
        continues=_JAVA_CONTINUES,
        annotation=_RUST_ATTRIBUTE,
        grammar="tree_sitter_php:language_php",
    ),
    _java_like("swift", (".swift",), "tree_sitter_swift:language"),
    _java_like("scala", (".scala", ".sc"), "tree_sitter_scala:language"),
    Language("css", (".css",), "braces", "semicolon", directives=("@import",), grammar="tree_sitter_css:language"),
    Language("scss", (".scss",), "braces", "semicolon", directives=("@import",)),
    Language("less", (".less",), "braces", "semicolon", directives=("@import",)),
    Language("json", (".json",), "braces", grammar="tree_sitter_json:language"),
    Language("jsonc", (".jsonc",), "braces", grammar="tree_sitter_json:language"),
    Language("html", (".html", ".htm"), "indentation", opens=_COLON, grammar="tree_sitter_html:language"),
    Language("sql", (".sql",), "indentation", comment="--", opens=_COLON, grammar="tree_sitter_sql:language"),
    Language("toml", (".toml",), "indentation", comment="#", opens=_COLON, grammar="tree_sitter_toml:language"),
    Language(
        "ruby",
        (".rb",),
        "end",
        "either",
        "#",
        opens=_RUBY_OPENS,
        continues=frozenset({"else", "elsif", "when", "in", "rescue", "ensure"}),
        closes=frozenset({"end"}),
        word_blocks=_RUBY_BLOCKS,
        modifiers=frozenset({"if", "unless", "while", "until"}),
        grammar="tree_sitter_ruby:language",
    ),
    Language(
        "lua",
        (".lua",),
        "end",
        "either",
        "--",
        opens=_LUA_OPENS,
        continues=frozenset({"else", "elseif"}),
        closes=frozenset({"end", "until"}),
        word_blocks=_LUA_BLOCKS,
        grammar="tree_sitter_lua:language",
    ),
    Language(
        "shellscript",
        (".sh", ".bash"),
        "end",
        comment="#",
        opens=_SHELL_OPENS,
        continues=frozenset({"else", "elif"}),
        closes=frozenset({"fi", "done", "esac"}),
        word_blocks=_SHELL_BLOCKS,
        grammar="tree_sitter_bash:language",
    ),
    Language(
        "yaml",
        (".yaml", ".yml"),
        "indentation",
        comment="#",
        opens=_YAML_OPENS,
        grammar="tree_sitter_yaml:language",
    ),
    Language(
        "elixir",
        (".ex", ".exs"),
        "end",
        "either",
        "#",
        opens=_ELIXIR_OPENS,
        continues=frozenset({"else", "rescue", "catch", "after"}),
        closes=frozenset({"end"}),
        word_blocks={"do": _END, "fn": _END},
        annotation=re.compile(r"@(?:spec|doc|impl|moduledoc)\b.*", re.DOTALL),
    ),
    Language(
        "julia",
        (".jl",),
        "end",
        "either",
        "#",
        opens=_JULIA_OPENS,
        continues=frozenset({"else", "elseif", "catch", "finally"}),
        closes=frozenset({"end"}),
        word_blocks=_JULIA_BLOCKS,
    ),
    *(Language(name, suffixes, "braces", statements, comment) for name, suffixes, statements, comment in _OF_BRACES),
    *(Language(name, suffixes, "indentation", comment=comment, opens=_COLON) for name, suffixes, comment in _OF_LINES),
)
_BY_NAME = {language.name: language for language in _LANGUAGES}
_BY_SUFFIX = {suffix: language.name for language in _LANGUAGES for suffix in language.suffixes}
_UNKNOWN = Language("plaintext", (), "indentation", opens=_COLON)


def language_of(file_name: str) -> str:
    """Guess the LSP language id of a file by its name; `plaintext` for an unknown one."""
    return _BY_SUFFIX.get(PurePath(file_name).suffix.lower(), _UNKNOWN.name)


def language_named(name: str) -> Language:
    """Find the row of an LSP language id; an unknown one works by indentation."""
    return _BY_NAME.get(name, _UNKNOWN)


@cache
def has_grammar(name: str) -> bool:
    """Whether the grammar of a language is installed. Loads nothing of it."""
    grammar = language_named(name).grammar
    return grammar is not None and find_spec(grammar.partition(":")[0]) is not None
