"""Accepted text of the real model leaves no bracket open and repeats nothing of the document."""

from __future__ import annotations

import pytest

from engine import CompletionRequest, Engine, Suggestion

FACT = "function fact(n) {\n  if (n < 2) {\n    return 1;\n  }\n  \n}\n"
SUM = "function sum(items) {\n  let total = 0;\n  \n  return total;\n}\n"


def asked(engine: Engine, path: str, language: str, text: str, offset: int) -> Suggestion:
    return engine.complete(CompletionRequest(path, language, text, offset, explicit=True))


def accepted(text: str, offset: int, suggestion: Suggestion) -> str:
    return text[:offset] + suggestion.text + text[offset + suggestion.replaces :]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("path", "language", "text", "before"),
    [
        ("fact.js", "javascript", FACT, "  }\n  "),
        ("fact.ts", "typescript", FACT, "  }\n  "),
        ("fact.go", "go", "func fact(n int) int {\n\tif n < 2 {\n\t\treturn 1\n\t}\n\t\n}\n", "\t}\n\t"),
        ("Fact.java", "java", f"class Fact {{\n{FACT.replace('function', 'int')}}}\n", "  }\n  "),
        ("sum.js", "javascript", SUM, "= 0;\n  "),
    ],
)
def test_braces_balance_after_accepting(
    engine: Engine, path: str, language: str, text: str, before: str, newline: str
) -> None:
    text, before = text.replace("\n", newline), before.replace("\n", newline)
    offset = text.index(before) + len(before)
    suggestion = asked(engine, path, language, text, offset)
    result = accepted(text, offset, suggestion)
    assert result.count("{") == result.count("}")
    assert "\n" not in result.replace("\r\n", "") or newline == "\n"


def test_a_document_with_carriage_returns_gets_what_one_without_gets(engine: Engine) -> None:
    """The model reads line feeds in both."""
    texts = []
    for newline in ("\n", "\r\n"):
        text = FACT.replace("\n", newline)
        offset = text.index(f"  }}{newline}  ") + len(f"  }}{newline}  ")
        texts.append(asked(engine, "fact.js", "javascript", text, offset).text)
    assert texts[0]
    assert texts[1] == texts[0].replace("\n", "\r\n")


@pytest.mark.parametrize("cursor", ["x = comp", "x = compute_", "x = compute_tot"])
def test_within_a_word_nothing_is_written_twice(engine: Engine, cursor: str) -> None:
    text = "def compute_total(items):\n    return sum(items)\n\nx = compute_total([1, 2])\n"
    offset = text.index(cursor) + len(cursor)
    suggestion = asked(engine, "m.py", "python", text, offset)
    result = accepted(text, offset, suggestion)
    assert result.count("(") == text.count("(")
    assert result.endswith("([1, 2])\n")


@pytest.mark.parametrize(
    ("path", "language", "text", "cursor"),
    [
        ("a.rb", "ruby", "def add(a, b)\n  \nend\n", "b)\n  "),
        ("a.py", "python", "def add(a, b):\n    \n\nprint(add(1, 2))\n", "b):\n    "),
        ("a.lua", "lua", "function add(a, b)\n  \nend\n", "b)\n  "),
        ("a.js", "javascript", "function add(a, b) {\n\t\n}\n", "{\n\t"),
    ],
)
def test_no_indentation_is_added_to_what_stands(
    engine: Engine, path: str, language: str, text: str, cursor: str
) -> None:
    suggestion = asked(engine, path, language, text, text.index(cursor) + len(cursor))
    assert suggestion.text == suggestion.text.lstrip()
