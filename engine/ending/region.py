"""What the cursor stands in: code, a comment, or a string.

Brackets, quotes and comments are followed by `syntax`; here is what its leaves do not tell of single languages: strings
that are one token for a grammar, and no token until they end, and code inside strings.
"""

from __future__ import annotations

import re
from typing import Literal

from syntax import COMMENT, Delimiters, is_quote

Region = Literal["code", "comment", "string"]

# Quotes of strings that end with their line, where the grammar has no leaf for them.
_QUOTES = {
    "csharp": "\"'",
    "go": "\"'",
    "java": "\"'",
    "rust": '"',
    "scala": '"',
    "sql": "\"'",
}
# What begins and ends comments and strings of several lines.
_LONG: dict[str, tuple[tuple[Region, str, str], ...]] = {
    **dict.fromkeys(("html", "xml"), (("comment", "<!--", "-->"),)),
    **dict.fromkeys(
        ("dart", "groovy", "less", "objective-c", "proto3", "scss", "solidity"), (("comment", "/*", "*/"),)
    ),
    **dict.fromkeys(("elm", "haskell", "purescript"), (("comment", "{-", "-}"),)),
    **dict.fromkeys(("fsharp", "ocaml"), (("comment", "(*", "*)"),)),
    "julia": (("comment", "#=", "=#"), ("string", '"""', '"""')),
    "elixir": (("string", '"""', '"""'),),
    "powershell": (("comment", "<#", "#>"),),
    "lua": (("comment", "--[[", "]]"), ("string", "[[", "]]")),
    "ruby": (("comment", "\n=begin", "\n=end"), ("string", "%w[", "]"), ("string", "%i[", "]")),
}
# Code inside a string, where it does not begin as in JavaScript, Python or Ruby.
_CODE = {"csharp": ("{", "}"), "swift": ("\\(", ")")}
_HERE_DOCUMENT = re.compile(r"<<[-~]?(?P<quote>['\"]?)(?P<end>[A-Za-z_]\w*)(?P=quote)[^\n]*\n")
_HAVE_HERE_DOCUMENTS = frozenset({"perl", "ruby", "shellscript"})
_LOOK = 8_000  # code points: longer comments and strings are read as code


def region_at(before: str, language: str) -> Region:
    """What the end of `before` stands in. Code inside an f-string or a template is code; a doc string is a string."""
    delimiters = Delimiters(before, language)
    innermost = delimiters.at_cursor[-1] if delimiters.at_cursor else ""
    if innermost == COMMENT:
        return "comment"
    line = before[before.rfind("\n") + 1 :]
    if is_quote(innermost):
        return "code" if _is_open(line, *_CODE.get(language, ("", ""))) else "string"
    if delimiters.in_comment:
        return "comment"
    near = "\n" + before[-_LOOK:]
    for kind, opener, closer in _LONG.get(language, ()):
        if _is_open(near, opener, closer):
            return kind
    if language in _HAVE_HERE_DOCUMENTS and _is_in_here_document(near):
        return "string"
    return "string" if _ends_in_quotes(line, _QUOTES.get(language, "")) else "code"


def _is_open(text: str, opener: str, closer: str) -> bool:
    """Whether the last opener has no closer after it."""
    return bool(opener) and (start := text.rfind(opener)) >= 0 and text.find(closer, start + len(opener)) < 0


def _is_in_here_document(text: str) -> bool:
    *_, last = None, *_HERE_DOCUMENT.finditer(text)
    return last is not None and re.search(rf"^\s*{last['end']}$", text[last.end() :], re.MULTILINE) is None


def _ends_in_quotes(line: str, quotes: str) -> bool:
    quote, is_escaped = "", False
    for character in line if quotes else "":
        if is_escaped:
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character in quotes and quote in ("", character):
            quote = "" if quote else character
    return bool(quote)
