"""The block policy: on small cases in several languages, and on the standard library's own code."""

from __future__ import annotations

import ast
import random
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ending.block_policy import BlockPolicy
from engine.request import StopReason
from syntax import Delimiters

CODE = st.text(alphabet=st.sampled_from("ab1_ =.,:;(){}[]\"'\n\t#/*@\\é🎉\r"), max_size=40)
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def end_of(prefix: str, generated: str, suffix: str = "", language: str = "python") -> tuple[str, StopReason | None]:
    """Feed a text by the character, as tokens do; what is left of it, and why."""
    policy = BlockPolicy(prefix=prefix, suffix=suffix, language=language)
    for length in range(1, len(generated) + 1):
        if (end := policy.end_of(generated[:length])) is not None:
            return generated[:end], policy.reason
    return generated, None


@pytest.mark.parametrize(
    ("prefix", "generated", "suffix", "language", "kept"),
    [
        # one statement
        ("x = ", "1 + 2\ny = 3\n", "", "python", "1 + 2"),
        ("x = ", "f(\n    1,\n    2,\n)\ny = 3\n", "", "python", "f(\n    1,\n    2,\n)"),
        ("    a()\n    ", "b()\n    c()\n", "\n    d()\n", "python", "b()"),
        ("a();\n", "b();\nc();\n", "", "javascript", "b();"),
        ("x = a + \\\n    ", "b\ny = 2\n", "", "python", "b"),
        ("x = ", "a + \\\n    b\ny = 2\n", "", "python", "a + \\\n    b"),
        ("", "# Why.\nx = 1\ny = 2\n", "", "python", "# Why.\nx = 1"),
        ("x = 1  # ", "Why.\ny = 2\n", "", "python", "Why."),
        ("/**\n * ", "Why.\n */\nint f(void);\n", "", "c", "Why.\n */"),
        ("", "@cache\ndef f():\n    return 1\nx = 1\n", "", "python", "@cache\ndef f():\n    return 1"),
        ("", "#[test]\nfn f() {\n    g();\n}\nfn h() {\n", "", "rust", "#[test]\nfn f() {\n    g();\n}"),
        ("const a =", "\n  b;\nc();\n", "", "typescript", "\n  b;"),
        ("  const a = b", "\n    .c()\n    .d()\n  e()\n", "", "javascript", "\n    .c()\n    .d()"),
        ("  int a = b", "\n      + c;\n  d();\n", "", "java", "\n      + c;"),
        ("#define A", " \\\n  b\nint c;\n", "", "c", " \\\n  b"),
        ("#include ", "<a.h>\n#include <b.h>\n", "", "cpp", "<a.h>"),
        ("  x := a ", "&&\n\t\tb\n\ty()\n", "", "go", "&&\n\t\tb"),
        (
            "    let x = ",
            "match y {\n        A => 1,\n    };\n    z();\n",
            "",
            "rust",
            "match y {\n        A => 1,\n    };",
        ),
        ("  const f = ", "() => {\n    a()\n  }\n  b()\n", "", "javascript", "() => {\n    a()\n  }"),
        ("it('x', () => {\n  ", "a()\n  b()\n})\n", "\n  c()\n})\n", "javascript", "a()"),
        ("f({\n    a: 1,\n    ", "b: 2,\n    c: 3,\n", "\n    d: 4,\n})\n", "javascript", "b: 2,"),
        # or the block that it opens
        ("if (x)", "\n  return 1;\nreturn 2;\n", "", "cpp", "\n  return 1;"),
        ("int f(void)", "\n{\n  return 1;\n}\nint g(void)\n{\n", "", "c", "\n{\n  return 1;\n}"),
        ("if (a and\n        b", "):\n    c()\nd()\n", "", "python", "):\n    c()"),
        ("if x", " > 1:\n    return 2\ny = 2\n", "", "python", " > 1:\n    return 2"),
        ("if x", ":\n    a()\nelse:\n    b()\nc()\n", "", "python", ":\n    a()\nelse:\n    b()"),
        ("for (const a of b) ", "{\n  c(a);\n}\nd();\n", "", "javascript", "{\n  c(a);\n}"),
        (
            "  if (x) ",
            "{\n    y();\n  } else {\n    z();\n  }\n  w();\n",
            "",
            "java",
            "{\n    y();\n  } else {\n    z();\n  }",
        ),
        ("if x then\n", "  y()\nelse\n  z()\nend\nw()\n", "", "lua", "  y()"),
        (
            "  ",
            "if x then\n    y()\n  else\n    z()\n  end\n  w()\n",
            "",
            "lua",
            "if x then\n    y()\n  else\n    z()\n  end",
        ),
        # the whole body of a block that has none
        ("def f(x):\n", "    y = x\n    return y\n\nf(1)\n", "\n\nf(1)\n", "python", "    y = x\n    return y"),
        ("def f(x):\n    ", "y = x\n    return y\nf(1)\n", "", "python", "y = x\n    return y"),
        ("func f() {\n", "\tx()\n\ty()\n}\n\nfunc g() {\n", "", "go", "\tx()\n\ty()\n}"),
        ("if (a and\n        b):\n    ", "c()\n    d()\ne()\n", "", "python", "c()\n    d()"),
        ('def f():\n    """Doc."""\n    ', "a()\n    b()\n\nc()\n", "", "python", "a()\n    b()"),
        ("f(\n    ", "a,\n    b,\n)\nc()\n", "", "python", "a,\n    b,\n)"),
        ("def f\n  ", "a\n  b\nend\nc\n", "\nend\n", "ruby", "a\n  b"),
        ("def f\n  ", "a\n  b\nend\nc\n", "", "ruby", "a\n  b\nend"),
        # but of one that has a body, one statement
        ("def f(x):\n    ", "y = x\n    return y\n", "\n    return x\n", "python", "y = x"),
        # nothing but the rest of the line where code stands after the cursor
        ("x = ", "1\ny = 2\n", " + z\n", "python", "1"),
        # before a closer that is there
        ("foo(", "a, b)\nx()\n", ")\n", "python", "a, b"),
        ("foo(", "bar(a), b)\nx()\n", ")\n", "python", "bar(a), b"),
        ("x = '", "a'\ny = 'b'\n", "'\n", "python", "a"),
        ('x = f"', '{a["b"]} c"\n', '"\n', "python", '{a["b"]} c'),
        ("foo(", "a, b)\n", ", c)\n", "python", "a, b"),
        ("foo(\n    bar(", "a)\n)\n", "\n)\n", "python", "a)"),
        ("x = [\n    ", "1,\n    2,\n]\ny()\n", "\n]\n", "python", "1,\n    2,"),
        ("it(() => {\n  f(() => {\n    a()\n  ", "})\nb()\n", "\n})\n", "javascript", "})"),
        ("# text (", "more)\nx = 1\n", ")\n", "python", "more"),
        ("# text (", "more) and (more)\nx = 1\n", ")\n", "python", "more) and (more)"),
        ("/** ", "Text. */\nint f();\n", " */\n", "c", "Text."),
        # or across it, where the text goes on after it on the same line
        ("for i in range(", "10):\n    f(i)\ng()\n", ")\n", "python", "10):\n    f(i)"),
        ("foo(", "a).bar()\ny()\n", ")\n", "python", "a).bar()"),
        ("x = '", "a' + 'b'\ny()\n", "'\n", "python", "a' + 'b'"),
        ("if (", "x) {\n  y();\n}\nz();\n", ")\n", "javascript", "x) {\n  y();\n}"),
        ("if (x) {", "\n  y();\n}\nz();\n", "}\n", "javascript", "\n  y();\n}"),
        ("f(", "a);\ng();\n", ")\n", "java", "a);"),
        ("f(g(", "a), b)\nh()\n", "))\n", "python", "a"),
        ("foo([", "1], 2)\n", "])\n", "python", "1"),
        ("let s = `", "a ${b(`c`)} d`;\n", "`;\n", "typescript", "a ${b(`c`)} d"),
        # brackets in strings and comments are none
        ("x = foo(", '")", b)\n', ")\n", "python", '")", b'),
        ("x = f(a,  # (\n", "      b)\ny = 2\n", "", "python", "      b)"),
        # a string over several lines
        ('    """', 'A.\n\n    B.\n    """\n    return 1\n', "\n", "python", 'A.\n\n    B.\n    """'),
        # the lines that stand below already
        ("def f():\n", "    a()\n    bbbb()\n", "\n    bbbb()\n", "python", "    a()"),
        ("function f() {\n", "  a();\n  b();\n}\n", "\n}\n", "javascript", "  a();\n  b();"),
        ("f(", "a, {\n    bbbb: cccc,\n    d: e,\n})\n", "\n    bbbb: cccc,\n    d: e,\n})\n", "javascript", "a, {"),
        ("", "import os\nimport sys\n", "\nimport os\n", "python", ""),
        (
            "def f():\n    ",
            "while a:\n        break\n    b()\nx = 2\n",
            "\n\nx = 1\n",
            "python",
            "while a:\n        break\n    b()",
        ),
        # blank lines and other line ends
        ("x = 1\n", "y = 2\n\nz = 3\n", "", "python", "y = 2"),
        ("if x:\r\n", "    a()\r\n    b()\r\n\r\nc()\r\n", "", "python", "    a()\r\n    b()"),
        # an unknown language works by indentation
        ("task build:\n", "    do this\n    and that\ntask other:\n", "", "unheard-of", "    do this\n    and that"),
    ],
)
def test_it_ends_after_one_statement_or_its_block(
    prefix: str, generated: str, suffix: str, language: str, kept: str
) -> None:
    assert end_of(prefix, generated, suffix, language)[0].rstrip("\r") == kept


def test_it_says_when_the_text_below_was_reached() -> None:
    assert end_of("function f() {\n", "  a();\n}\n", "\n}\n", "javascript")[1] is StopReason.SUFFIX
    assert end_of("x = ", "1\n")[1] is StopReason.BLOCK


def places(seed: int, count: int) -> list[tuple[str, int]]:
    """Random places in random files of the standard library, at least 500 characters from both ends."""
    chance = random.Random(seed)
    files = [file for file in sorted(STANDARD_LIBRARY.glob("*.py")) if file.stat().st_size > 5000]
    texts = [chance.choice(files).read_text(encoding="utf-8", errors="replace") for _ in range(count)]
    return [(text, chance.randrange(500, len(text) - 500)) for text in texts]


def node_end(node: ast.stmt, lines: list[str]) -> int:
    """Where a statement's last line ends, in code points."""
    return sum(len(one) for one in lines[: node.end_lineno])


def test_what_really_follows_is_cut_where_a_statement_ends() -> None:
    """At statement starts in real code, the kept text is whole statements: it parses."""
    parsed = 0
    for text, anywhere in places(3, 150):
        lines = text.splitlines(keepends=True)
        statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt) and len(lines) > 20]
        node = statements[anywhere % len(statements)]
        line = lines[node.lineno - 1]
        if line[: node.col_offset].strip() or line.startswith(("elif", "class"), node.col_offset):
            continue  # no line of its own, or needs what stands above it
        start = sum(len(one) for one in lines[: node.lineno - 1])
        kept, reason = end_of(text[:start], text[start : start + 3000])
        if reason is None:
            continue  # a statement longer than that
        if kept.lstrip().startswith("try:") and "\n\n" in text[start : node_end(node, lines)]:
            continue  # a blank line ended it before its handlers
        width = node.col_offset
        body = "\n".join(row[width:] if row[:width].isspace() or not width else row for row in kept.split("\n"))
        try:
            ast.parse(body)
        except SyntaxError:
            pytest.fail(f"not whole statements:\n{kept}")
        parsed += 1
    assert parsed > 50


@pytest.mark.parametrize("seed", range(3))
def test_a_closer_after_the_cursor_ends_it_at_the_same_closer_of_real_code(seed: int) -> None:
    """Cut real code inside a bracket, leave its closer after the cursor, and feed what was cut: it is kept exactly."""
    tried = 0
    for text, anywhere in places(20 + seed, 120):
        opener = text.find("(", anywhere)
        line_end = text.find("\n", opener)
        if opener < 0 or line_end < 0 or Delimiters(text[:opener], "python").at_cursor[-1:] not in ((), ("(",)):
            continue
        walked = Delimiters(text[: opener + 1], "python").read(text[opener + 1 : line_end]).delimiters
        depth = len(Delimiters(text[: opener + 1], "python").at_cursor)
        closer = next((one.offset for one in walked if one.closes and len(one.open_after) < depth), None)
        if not closer:
            continue
        inside = text[opener + 1 : opener + 1 + closer]
        kept, _ = end_of(text[: opener + 1], text[opener + 1 : opener + 400], text[opener + 1 + closer :])
        assert kept == inside
        tried += 1
    assert tried > 30


@settings(max_examples=300, deadline=None)
@given(
    prefix=CODE, generated=CODE, suffix=CODE, language=st.sampled_from(["python", "javascript", "rust", "ruby", "yaml"])
)
def test_it_takes_any_text_and_ends_within_it(prefix: str, generated: str, suffix: str, language: str) -> None:
    policy = BlockPolicy(prefix=prefix, suffix=suffix, language=language)
    for length in range(len(generated) + 1):
        end = policy.end_of(generated[:length])
        assert end is None or (0 <= end <= length and generated[:end] == generated[:end].rstrip())
        if end is not None:
            break


def test_a_large_document_costs_no_more_than_a_small_one() -> None:
    line = "    value = compute(value, [1, 2, 3])\n"
    prefix, suffix = "def f(value):\n" + line * 70_000, line * 70_000
    started = time.thread_time()
    policy = BlockPolicy(prefix=prefix, suffix="\n" + suffix, language="python")
    text = "    return value\n"
    ends = [policy.end_of(text[:length]) for length in range(1, len(text) + 1)]
    assert time.thread_time() - started < 0.5
    assert ends[-1] == len("    return value")


def test_a_line_without_an_end_is_given_up() -> None:
    assert end_of("x = ", "a" * 1000)[0] == ""
    assert end_of("x = [\n", "    1,\n    " + "a" * 1000, "")[0] == "    1,"
