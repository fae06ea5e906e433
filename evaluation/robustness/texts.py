"""Documents as no programmer wrote them: real files, cut, repeated, nested, spliced, and with wrong bytes in them."""

from __future__ import annotations

import os
import random
import sysconfig
from functools import cache
from pathlib import Path

from evaluation.nesting import texts
from syntax import has_grammar, language_of
from syntax.languages import _LANGUAGES

LANGUAGES = tuple(row.name for row in _LANGUAGES if has_grammar(row.name))
WITHOUT_GRAMMAR = tuple(row.name for row in _LANGUAGES if not has_grammar(row.name))
_LONGEST = 40_000  # code points
_MOST_FILES = 200  # of a language
_PIECES = (
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "<",
        ">",
        '"',
        "'",
        "`",
        '"""',
        "'''",
        "/*",
        "*/",
        "//",
        "#",
        "\\",
        "\n",
        "\r",
        "\r\n",
    ),
    *(
        "\t",
        "\x0c",
        "\0",
        "\u2028",
        "\ufeff",
        "\U0001f600",
        "e\u0301",
        "\u202e",
        "${",
        "#{",
        "{{",
        "<<EOF\n",
        "=begin\n",
    ),
    *(
        "- ",
        ": ",
        "---\n",
        "%w(",
        "@",
        "$",
        "&",
        "|",
        ">\n",
        "*a ",
        "&a ",
        "?:",
        "=>",
        "->",
        "::",
        "...",
        "end\n",
        "f'{",
    ),
)


@cache
def sources() -> dict[str, list[Path]]:
    """Real files on this machine by language: of the standard library, and of installed packages."""
    found: dict[str, list[Path]] = {}
    for name in ("stdlib", "purelib", "include"):
        for folder, folders, files in os.walk(sysconfig.get_paths()[name]):
            folders.sort()
            for file in sorted(files):
                of_language = found.setdefault(language_of(file), [])
                if len(of_language) < _MOST_FILES:
                    of_language.append(Path(folder, file))
    return found


def document(chance: random.Random, language: str) -> str:
    """A text that claims to be of a language."""
    text = _base(chance, language)
    for _ in range(chance.choice((1, 2, 4, 16))):
        text = _wrong(chance, language, text)
    return text[:_LONGEST]


def _base(chance: random.Random, language: str) -> str:
    files = sources().get(language) or sources()["c"]
    if files and chance.random() < 0.8:
        text = chance.choice(files).read_bytes()[:100_000].decode("utf-8", "replace")
        at = chance.randrange(len(text) + 1)
        return text[at : at + chance.choice((500, 5_000, 20_000))]
    return chance.choice([text for _, text in texts(language, chance.choice((200, 4_000, 20_000)))])


def _wrong(chance: random.Random, language: str, text: str) -> str:
    at = chance.randrange(len(text) + 1)
    length = chance.choice((1, 10, 100, 1_000))
    how = chance.randrange(8)
    if how == 0:
        return text[:at] + text[at + length :]
    if how == 1:
        return text[:at] + text[at : at + length] * chance.choice((2, 3, 50)) + text[at + length :]
    if how == 2:
        opener = chance.choice(_PIECES)
        return text[:at] + opener * chance.choice((1, 2, 10, 500)) + text[at:]
    if how == 3:
        return text[:at] + "".join(chance.choices(_PIECES, k=chance.choice((2, 20, 200)))) + text[at:]
    if how == 4:
        return text[:at] + _base(chance, chance.choice(LANGUAGES))[: length * 5] + text[at:]
    if how == 5:
        return text[:at]
    if how == 6:
        return text[:at] + chance.randbytes(min(length, 200)).decode("latin-1") + text[at:]
    return text[at:] + text[:at]
