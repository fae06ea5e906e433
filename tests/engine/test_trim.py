"""Trim, rule by rule, and what holds for every text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ending.trim import Trimmed, indented_like, trim, without_lines_below, without_loops, without_spurious_space

CODE = st.text(alphabet=st.sampled_from("ab1_ =.,:;(){}[]\"'\n\t#é🎉"), max_size=40)


@pytest.mark.parametrize(
    ("language", "generated", "expected"),
    [
        ("less", 'a {\n  b: "c;\n  d {\n    e: f;', 'a {\n  b: "c;\n  d {\n    e: f;\n  }\n}'),
        ("javascript", "f(`a ${ {\n b", "f(`a ${ {\n b\n}}`)"),
    ],
)
def test_blocks_beside_open_strings_are_closed(language: str, generated: str, expected: str) -> None:
    assert trim(generated, prefix="", suffix="", language=language) == Trimmed(expected, 0)


@pytest.mark.parametrize(
    ("prefix", "generated", "suffix", "expected"),
    [
        # auto-closed brackets and quotes are not written twice
        ("print(", "a, b)", ")\n", Trimmed("a, b", 0)),
        ("x = [", "1, 2]", "]", Trimmed("1, 2", 0)),
        ('print("', 'hello")', '")\n', Trimmed("hello", 0)),
        ("f(g(", "1))", "))", Trimmed("1", 0)),
        ("f(g(", "1)", "))", Trimmed("1", 0)),
        ("if (", "x) {", ") {\n", Trimmed("x", 0)),
        # but text that goes on after them takes their place
        ("foo(", "a).bar()", ")", Trimmed("a).bar()", 1)),
        ("for i in range(", "10):\n    f(i)", ")\n", Trimmed("10):\n    f(i)", 1)),
        ("f({", "\n    a: b,\n}", "})\n", Trimmed("\n    a: b,\n}", 1)),
        ("f({", "\n    a: b,\n})", "})\n", Trimmed("\n    a: b,\n})", 2)),
        ("f(", "'{} b'.format(a))", ")\n", Trimmed("'{} b'.format(a)", 0)),
        ("List<", "Map<String>>", ">\n", Trimmed("Map<String>", 0)),
        ("List<", "Map<String>", ">\n", Trimmed("Map<String>", 0)),
        ("f(", "a, b)", ", c)\n", Trimmed("a, b", 0)),
        ("foo(", "a).bar", ")", Trimmed("a).bar", 1)),
        ("# text (", "more) and more", ")\n", Trimmed("more) and more", 1)),
        # the rest of the line is not written twice
        ("x = ", "1 + 2  # sum", "  # sum\n", Trimmed("1 + 2", 0)),
        ("x = ", "foo(bar, baz)", "baz)\n", Trimmed("foo(bar,", 0)),
        ("x = ", "foo_baz", "bazaar()\n", Trimmed("foo_baz", 0)),
        # nor are the lines below
        ("import os\n", "import sys\nimport re", "\nimport sys\nimport re\n", Trimmed("", 0)),
        ("def f():\n    ", "a = 1\n    return a", "\n    return a\n", Trimmed("a = 1", 0)),
        # a space that is typed already
        ("x = ", " 1", "", Trimmed("1", 0)),
        ("return ", " x", "\n", Trimmed("x", 0)),
        # what is half open
        ("", "a = 1\nb = f(2,\n      3", "\n", Trimmed("a = 1", 0)),
        ("x = ", "f(1,", "\n", Trimmed("f(1,", 0)),
        ("x = ", "f(1, 'abc", "\n", Trimmed("f(1, 'abc", 0)),
        ("x = a + ", "'abc", "\n", Trimmed("", 0)),
        # closers of nothing
        ("x = 1", " + 2)", "\n", Trimmed(" + 2", 0)),
        ("print(a", ", b))", "\n", Trimmed(", b)", 0)),
        ("x = 1  # (", " and so on)", "\n", Trimmed(" and so on)", 0)),
        # white space
        ("x = ", "   ", "", Trimmed("", 0)),
        ("x", " = 1  \n\n", "", Trimmed(" = 1", 0)),
        ("a\r\nb\r\nif x:", "\n    y()\n    z()", "\r\n", Trimmed("\r\n    y()\r\n    z()", 0)),
    ],
)
def test_text_fits_the_document(prefix: str, generated: str, suffix: str, expected: Trimmed) -> None:
    assert trim(generated, prefix=prefix, suffix=suffix, language="python") == expected


@pytest.mark.parametrize(
    ("language", "prefix", "generated", "suffix", "expected"),
    [
        ("python", "def f(a,\n      ", "b,  # the second", "):\n    pass\n", "b,"),
        ("python", "def f(a,\n      ", "# type: ignore", "):\n    pass\n", ""),
        ("go", "x := f(", "a // first", ", b)\n", "a"),
        ("python", "f(", "a,  # first\n  b", ")\n", "a,  # first\n  b"),
        ("python", "x = ", "1  # one", "\n", "1  # one"),
        ("python", "f(", "a)  # all", ")\n", "a)  # all"),
        ("python", "f(", '"# a"', ")\n", '"# a"'),
        ("javascript", "f(", '"http://a.b"', ");\n", '"http://a.b"'),
        ("javascript", "f(", "a /* first */", ");\n", "a /* first */"),
        ("python", "f(1)  # see ", "# 7", " below\n", "# 7"),
        ("python", 'x = "', "# a", '"\n', "# a"),
    ],
)
def test_a_comment_never_swallows_the_rest_of_the_line(
    language: str, prefix: str, generated: str, suffix: str, expected: str
) -> None:
    assert trim(generated, prefix=prefix, suffix=suffix, language=language).text == expected


def test_loops_are_cut() -> None:
    assert without_loops("a\nb\nb\nb\nb", "") == "a\nb"
    assert without_loops("a\nb\nb\nc", "") == "a\nb\nb\nc"
    assert without_loops("x\n\n\n\ny", "") == "x\n\n\n\ny"
    assert without_loops("f(a)\ng(b)\nf(a)\ng(b)\nf(a)\ng(b)", "") == "f(a)\ng(b)"
    assert without_loops("    }\n    }\n    }", "") == "    }\n    }\n    }"


def test_loops_count_the_lines_above() -> None:
    assert without_loops("f(a)\ng(b)", "f(a)\nf(a)\n") == ""
    assert without_loops("f(a)\ng(b)", "f(a)\n") == "f(a)\ng(b)"


def test_a_line_that_stutters_is_cut() -> None:
    assert without_loops("x = a.first().second().first().second().first().second().f", "") == "x = a.first().second()"
    assert (
        without_loops("x = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "")
        == "x = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"
    )


def test_lines_below_are_cut_only_where_all_agree() -> None:
    assert without_lines_below("a\nbbbb\nc", "\nbbbb\nc\n", "") == "a"
    assert without_lines_below("a\nbbbb\nd", "\nbbbb\nc\n", "") == "a\nbbbb\nd"
    assert without_lines_below("bbbb", "\nbbbb\n", "") == ""
    assert without_lines_below("bbbb", "\nbbbb\n", "a = ") == "bbbb"
    assert without_lines_below("if a {\n}", "\n}\n", "") == "if a {\n}"


@pytest.mark.parametrize(
    ("prefix", "generated", "suffix", "language", "expected"),
    [
        ('{\n  "a": 1,\n  ', '"b": 2,', "\n}\n", "json", '"b": 2'),
        ('{"a": [1', ", 2,", "]}", "jsonc", ", 2"),
        ('{\n  "a": 1,\n  ', '"b": 2,', '\n  "c": 3\n}\n', "json", '"b": 2,'),
        ("x = [\n    1,\n    ", "2,", "\n]\n", "python", "2,"),
    ],
)
def test_json_has_no_comma_after_the_last_entry(
    prefix: str, generated: str, suffix: str, language: str, expected: str
) -> None:
    assert trim(generated, prefix=prefix, suffix=suffix, language=language).text == expected


def test_a_space_stays_where_none_is_typed() -> None:
    assert without_spurious_space(" = 1", "x") == " = 1"
    assert without_spurious_space("    y", "    ") == "    y"


@pytest.mark.parametrize(
    ("prefix", "generated", "suffix", "expected"),
    [
        ("", "if (a) {\n  b();", "", "if (a) {\n  b();\n}"),
        ("  ", "else {\n    return 1;", "\n}\n", "else {\n    return 1;\n  }"),
        ("  ", "if (a) {\n    if (b) {\n      c();", "\n}\n", "if (a) {\n    if (b) {\n      c();\n    }\n  }"),
        ("  ", "if (a) {\n    if (b) {\n      c();\n    }", "\n}\n", "if (a) {\n    if (b) {\n      c();\n    }\n  }"),
        ("x.", "on(function () {\n  a();", "\n", "on(function () {\n  a();\n})"),
        ("", "if (a) { b();", "\n", "if (a) { b(); }"),
        # a brace that opens a block with nothing in it is left out
        ("", "if (a) {", "\n", "if (a)"),
        ("", "a();\nif (b) {", "\n", "a();"),
        # a call that goes on over lines is not guessed
        ("", "call(a,\n  b,", "\n", "call(a,"),
        # what is closed already stays
        ("", "if (a) {\n  b();\n}", "\n", "if (a) {\n  b();\n}"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blocks_are_closed(prefix: str, generated: str, suffix: str, expected: str, newline: str) -> None:
    before, after, text = (
        (f"\n{prefix}", suffix, expected)
        if newline == "\n"
        else (f"\r\n{prefix}", suffix.replace("\n", newline), expected.replace("\n", newline))
    )
    assert trim(generated, prefix=before, suffix=after, language="javascript") == Trimmed(text, 0)


@pytest.mark.parametrize(
    ("prefix", "generated", "suffix", "expected"),
    [
        ("x = comp", "ute_total(items)", "ute_total([1, 2])\n", Trimmed("", 0)),
        ("x = comp", "ile(items)", "ute_total([1, 2])\n", Trimmed("ile", 9)),
        ("x = comp", "ile(items)", "ute\n", Trimmed("ile(items)", 3)),
        ("x = comp", "ute(items)", "ute\n", Trimmed("ute(items)", 3)),
        ("x = comp", "ute", "ute\n", Trimmed("", 0)),
        ("x = comp", "(items)", "ute\n", Trimmed("", 0)),
        ("x = ", "comp(items)", "ute\n", Trimmed("comp(items)", 0)),  # between words
    ],
)
def test_within_a_word_its_rest_is_replaced_or_nothing_is_said(
    prefix: str, generated: str, suffix: str, expected: Trimmed
) -> None:
    assert trim(generated, prefix=prefix, suffix=suffix, language="python") == expected


@pytest.mark.parametrize(
    ("language", "prefix", "generated", "expected"),
    [
        ("ruby", "def add(a, b)\n  ", "  a + b", "a + b"),
        ("ruby", "def add(a, b)\n  ", "  c = a\n    c + b", "c = a\n  c + b"),
        ("python", "def f():\n    ", "    x = 1\n    return x", "x = 1\n    return x"),
        ("python", "def f():\n    a = 1\n    ", "    return a", "return a"),
        ("python", "class A:\n    def f():\n    ", "    return 1", "    return 1"),  # the block begins further in
        ("python", "def f():\n", "    return 1", "    return 1"),
        ("javascript", "function f() {\n\t", "\treturn 1;", "return 1;"),
        ("python", "x = 1\n\n", "    y = 2\n    z = 3", "y = 2\nz = 3"),
        ("python", "x = [\n", "    1,\n    2", "    1,\n    2"),
        ("python", "class A:\n    x = 1\n", "    y = 2", "    y = 2"),
        ("python", 'def f():\n    """Text:\n\n    ', "    indented", "    indented"),  # text has its own
    ],
)
def test_indentation_that_stands_is_not_repeated(language: str, prefix: str, generated: str, expected: str) -> None:
    assert trim(generated, prefix=prefix, suffix="\n", language=language).text == expected


@pytest.mark.parametrize(
    ("language", "generated"),
    [("python", "#"), ("python", "##"), ("c", "//"), ("c", "/*"), ("lua", "--"), ("c", "}"), ("c", "});"), ("c", ";")],
)
def test_a_mark_or_a_closer_alone_is_no_suggestion(language: str, generated: str) -> None:
    for prefix in ("", "f(a)", "if (a) {\n", "if (a) {\n  f();\n"):
        assert trim(generated, prefix=prefix, suffix="\n", language=language).text == ""


@pytest.mark.parametrize(("prefix", "generated"), [("f(a", ")"), ("x = [(", ")]"), ('f("a', '")'), ("f(a", ");")])
def test_a_closer_of_what_the_line_has_opened_is_one(prefix: str, generated: str) -> None:
    assert trim(generated, prefix=prefix, suffix="\n", language="c").text == generated


def test_tabs_stay_tabs() -> None:
    assert indented_like("x {\n        y\n    }", "func f() {\n\tx()\n\tif ") == "x {\n\t\ty\n\t}"
    assert indented_like("x {\n    y\n  }", "func f() {\n\tx()\n\tif ") == "x {\n\t\ty\n\t}"
    assert indented_like("x:\n        y", "def f():\n    x()\n    if ") == "x:\n        y"
    assert indented_like("x:\n\t\ty", "def f():\n  x()\n  if ") == "x:\n    y"
    assert indented_like("x:\n\t\ty", "def f():\n  x()\n\ty()\n  if ") == "x:\n\t\ty"


@pytest.mark.parametrize(
    ("language", "prefix", "generated", "expected"),
    [
        ("html", "<p>a", " b</p>", " b</p>"),
        ("html", "<p>a", "</div>", ""),
        ("html", "<p>a", " b</div>", " b"),
        ("html", "<div><p>a", "</p></div>", "</p></div>"),
        ("html", "<div><p>a", "</div>", "</div>"),  # which ends the paragraph, too
        ("html", "<div><b>a", "</div>", ""),
        ("html", "<ul>\n<li>a\n<li>b", "\n</ul>", "\n</ul>"),
        ("html", "<DIV>a<br>b<img src=a>", "</div>", "</div>"),
        ("html", "<!-- <b> -->a", "</b>", ""),
        ("html", "<script>if (a<b && c>d) {}", "</script>", "</script>"),
        ("html", "<p>a", "</p><b>c</i>", "</p><b>c"),
        ("html", "x\n" * 20_000, "</div>", "</div>"),  # of what stands too far above
        ("html", "<div>\n" + "x\n" * 20_000 + "<b>a", "</div>", ""),
        ("xml", "<a><p>x", "</a>", ""),
        ("xml", "<a><b/>x", "</a>", "</a>"),
        ("xml", "<a>x", "</A>", ""),
        ("python", "x = 'a", "</b>'", "</b>'"),
    ],
)
def test_a_closing_tag_closes_what_is_open(language: str, prefix: str, generated: str, expected: str) -> None:
    assert trim(generated, prefix=prefix, suffix="\n", language=language) == Trimmed(expected, 0)


@settings(max_examples=400, deadline=None)
@given(prefix=CODE, generated=CODE, suffix=CODE, language=st.sampled_from(["python", "javascript", "lua"]))
def test_text_is_part_of_what_was_generated_but_for_closed_blocks_and_ends_in_no_white_space(
    prefix: str, generated: str, suffix: str, language: str
) -> None:
    trimmed = trim(generated, prefix=prefix, suffix=suffix, language=language)
    assert trimmed.text == trimmed.text.rstrip()
    assert 0 <= trimmed.replaces <= len(suffix.split("\n", 1)[0])
    left = iter(generated)
    text = trimmed.text.rstrip("})] \n\t") if language == "javascript" else trimmed.text
    assert all(character in left for character in text if not character.isspace())
    is_within_a_word = (prefix[-1:] + suffix[:1]).replace("_", "a").isalnum() and bool(prefix)
    assert suffix[: trimmed.replaces].strip() in trimmed.text or is_within_a_word


@settings(max_examples=400, deadline=None)
@given(prefix=CODE, generated=CODE, suffix=CODE)
def test_what_was_trimmed_once_stays_as_it_is(prefix: str, generated: str, suffix: str) -> None:
    once = trim(generated, prefix=prefix, suffix=suffix, language="python")
    assert trim(once.text, prefix=prefix, suffix=suffix, language="python") == once


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(["a", "x1", "total"]), closers=st.sampled_from([")", "]", "}", "))", "])", '")', "')"]))
def test_a_closer_that_stands_after_the_cursor_is_never_doubled(name: str, closers: str) -> None:
    openers = {")": "(", "]": "[", "}": "{", '"': '"', "'": "'"}
    prefix = "x = " + "".join(openers[closer] for closer in reversed(closers))
    trimmed = trim(name + closers, prefix=prefix, suffix=closers + "\n", language="python")
    assert trimmed == Trimmed(name, 0)
