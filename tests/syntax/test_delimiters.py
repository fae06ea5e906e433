"""Open brackets and quotes, by language, and on real code against Python's own tokenizer."""

from __future__ import annotations

import io
import random
import sysconfig
import tokenize
from pathlib import Path

import pytest

from syntax import Delimiters, language_of
from syntax.languages import _LANGUAGES
from syntax.nesting.tree_leaves import tree_leaves
from syntax.nesting.walk import _NOTHING, _on_from, walk
from syntax.parsing.grammars import parser_for

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.mark.parametrize(
    ("before", "is_code"),
    [
        ("<?php\nfunction f($n) {\n  $x = 1;\n  ", True),
        ("<?php\n" + "$a = f(1);\n" * 3_000 + "function f($n) {\n  ", True),  # longer than what is read
        ("<p>\n<?= g() ?>\n<?php if ($n) {\n  ", True),
        ("<?php function f() { ?>\n  <p>{ ", False),
        ("<p>", False),
    ],
)
def test_php_is_code_after_its_tag_and_html_outside(before: str, is_code: bool) -> None:
    delimiters = Delimiters(before, "php")
    found = delimiters.read("return 2) {\n    return g(3)")
    assert [one.text for one in found.delimiters] == ([")", "{", "(", ")"] if is_code else [])
    if is_code:
        assert delimiters.at_cursor == ("{",)
        assert found.delimiters[0].is_stray


@pytest.mark.parametrize(
    ("language", "before", "is_open"),
    [
        ("python", "f(a, [1", ("(", "[")),
        ("python", 'f("(", ', ("(",)),
        ("python", "x = '", ("'",)),
        ("python", 'x = rb"', ('"',)),
        ("python", r"x = f(r'\\', [", ("(", "[")),
        ("python", r"x = f(r'a\'', rf'''\d{", ("(", "f'''", "{")),
        ("python", 'x = f"a {b[', ('f"', "{", "[")),
        ("python", '"""doc (', ('"""',)),
        ("python", "x = 'it", ("'",)),
        ("python", "f(a)  # (", ()),
        ("python", "é = '🎉' + f(", ("(",)),
        ("javascript", "const s = `a ${f(", ("`", "${", "(")),
        ("javascript", "function f() { // (\n", ("{",)),
        ("typescript", "const f = <T>(x: Array<T>) => {", ("{",)),
        ("rust", "fn f<'a>(x: &'a str) {", ("{",)),
        ("go", 'x := map[string]int{"a": f(', ("{", "(")),
        ("java", 'class A { String s = "', ("{", '"')),
        ("c", "int f(void) { return '('", ("{",)),
        ("cpp", "auto x = std::vector<int>{1, g(", ("{", "(")),
        ("cpp", 'f(L"', ("(", '"')),
        ("c", "f(1); /* it's (", ("/*",)),
        ("java", "class A {\n  /** {@code x", ("{", "/*")),
        ("rust", "fn f() { /* a (", ("{", "/*")),
        ("go", "x := f() /* (a) */ + g(", ("(",)),
        ("lua", "f('(', -- (\n  \"a\", ", ("(",)),
        ("lua", "x = [[a ", ("[", "[")),
        ("c", '#define A "', ('"',)),
        ("c", "#define A(x) f(x, g(", ("(", "(")),
        ("csharp", 'var s = @"a\n (', ('"',)),
        ("scala", 's"a $b" + f(', ("(",)),
        ("scala", 'f(s"""a $b', ("(", '"""')),
        ("sql", "select f('it''s (", ("(", "'")),
        ("sql", "-- it's\nselect f(", ("(",)),
        ("shellscript", 'x=$(ls "$a" | (', ("$(", "(")),
        ("shellscript", 'x="$(f "$a', ('"', "$(", '"')),
        ("shellscript", "[[ $a && (b) ]]\n((a++))\ndiff <(a) >(b", ("(",)),
        ("shellscript", "x=$((1 + (2))); y=$((", ("$(", "(")),
        ("shellscript", "awk '{\n  print $1 (", ("'",)),
        ("shellscript", "echo 'a (' # it's\nx=(", ("(",)),
        ("shellscript", "echo \"a\n\n$b it's (\n", ('"',)),
        ("shellscript", 'echo "a $(\n  f "b"\n) c\n', ('"',)),
        ("shellscript", 'f() {\n  echo "a\nb"\n  g ', ("{",)),
        ("unheard-of", 'f(a, "(", [', ("(", "[")),
    ],
)
def test_what_is_open(language: str, before: str, is_open: tuple[str, ...]) -> None:
    assert Delimiters(before, language).at_cursor == is_open


def test_growing_text_gives_what_the_whole_gives() -> None:
    text = (STANDARD_LIBRARY / "json" / "encoder.py").read_text(encoding="utf-8")
    for start in range(1000, len(text) - 300, 1500):
        growing = Delimiters(text[:start], "python")
        for length in range(0, 300, 7):
            found = growing.read(text[start : start + length]).delimiters
            assert found == Delimiters(text[:start], "python").read(text[start : start + length]).delimiters


def test_python_code_has_the_depth_that_its_own_tokenizer_says() -> None:
    chance = random.Random(1)
    files = [file for file in sorted(STANDARD_LIBRARY.glob("*.py")) if 5_000 < file.stat().st_size < 24_000]
    for file in chance.sample(files, 12):
        text = file.read_text(encoding="utf-8")
        starts = [0, *(index + 1 for index, character in enumerate(text) if character == "\n")]
        depth, places = 0, []
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.OP and token.string in "()[]{}":
                depth += 1 if token.string in "([{" else -1
                places.append((starts[token.end[0] - 1] + token.end[1], depth))
        for offset, expected in chance.sample(places, min(40, len(places))):
            assert len(Delimiters(text[:offset], "python").at_cursor) == expected, (file.name, offset)


@pytest.mark.parametrize("language", [one for one in _LANGUAGES if one.grammar], ids=lambda one: one.name)
def test_every_grammar_that_is_named_loads(language: object) -> None:
    assert parser_for(language.name) is not None  # type: ignore[attr-defined]


def test_languages_are_known_by_file_name() -> None:
    assert language_of("a/B.PY") == "python"
    assert language_of("x.tsx") == "typescriptreact"
    assert language_of("Makefile") == "plaintext"


def test_statements_begin_where_nothing_is_open_or_a_brace_is_innermost() -> None:
    found = Delimiters("a();\nit('x', () => {\n  b(1,\n    2);\n  c(  // why\n    ", "javascript")
    assert found.code == "  c(  \n    "
    assert found.above == ("it('x', () => {\n", "  b(1,\n    2);\n")
    assert found.columns == (0, 0, 2)


@pytest.mark.parametrize(
    ("language", "before", "generated"),
    [
        ("python", 'x = "a ', "b # c"),
        ("python", 'x = "a # ', "b"),
        ("python", 's = """doc\n', "# no (\nmore"),
        ("javascript", "const u = `http:", "//x.org\n/* no */"),
        ("rust", 'let u = "http:', "//x.org"),
        ("ruby", 'x = "a ', "# b"),
        ("css", 'a { content: "', "/* x */"),
        ("html", '<a title="', "<!-- x -->"),
        ("php", '<?php\n$u = "http:', "//x.org"),
    ],
)
def test_no_comment_begins_in_a_string_that_is_open(language: str, before: str, generated: str) -> None:
    delimiters = Delimiters(before, language)
    assert not delimiters.in_comment
    assert delimiters.read(generated).comments == []


def test_a_comment_begins_after_a_string_that_was_open() -> None:
    generated = 'b # c"\ny = f(1)  # d'
    [(start, end)] = Delimiters('x = "a ', "python").read(generated).comments
    assert generated[start:end] == "# d"


@pytest.mark.parametrize("language", ["javascript", "css", "go", "java"])
def test_two_slashes_end_no_comment_that_is_open(language: str) -> None:
    delimiters = Delimiters("a = f(1);\n/* see\n", language)
    assert delimiters.at_cursor == ("/*",)
    assert delimiters.read("   // https://example.org/\ufeff\n").delimiters == []
    (closing,) = delimiters.read("   // https://example.org/ 😀 */\n").delimiters
    assert (closing.offset, closing.text, closing.open_after) == (29, "*/", ())


def test_comments_are_told_from_code() -> None:
    before = Delimiters("x = 1  # why", "python")
    assert before.in_comment
    assert before.read(" not\ny = f(  # (\n").comments == [(-5, 4), (13, 16)]
    assert not Delimiters("x = 1  # why\n", "python").in_comment


def test_a_file_larger_than_the_window_begins_at_code() -> None:
    text = '"""Doc.\n\nIt\'s prose (with more of it.\n' + "word " * 5000 + '\n"""\ndef f():\n    g('
    assert Delimiters(text, "python").at_cursor == ("(",)


def test_a_long_text_read_in_parts_is_read_as_a_whole() -> None:
    chance = random.Random(0)
    for name in ("argparse.py", "typing.py", "logging/__init__.py", "asyncio/base_events.py"):
        text = (STANDARD_LIBRARY / name).read_bytes()
        for end in (chance.randrange(4000, 20_000) for _ in range(25)):
            source = text[:end]
            found, whole = walk(source, "python", tree_leaves), _on_from(_NOTHING, source, "python", tree_leaves)
            assert found.at_end == whole.at_end
            assert (found.at_line_start, found.columns) == (whole.at_line_start, whole.columns)
            assert found.statements(source, 3) == whole.statements(source, 3)


@pytest.mark.parametrize("language", ["nix", "c", "python"])
@pytest.mark.parametrize("line", [")", "]", "})", "  ];"])
def test_a_long_text_of_closers_has_nothing_open(line: str, language: str) -> None:
    delimiters = Delimiters(f"{line}\n" * 3_000, language)
    assert delimiters.at_cursor == ()
