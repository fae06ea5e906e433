"""What the cursor stands in, in real languages, while code is typed: most of these texts are not complete."""

from __future__ import annotations

import fnmatch
import shlex
import textwrap
import tokenize
from pathlib import Path
from types import ModuleType

import pytest

from engine.ending.region import region_at

CASES = [
    ("python", "x = 1  # a com", "comment"),
    ("python", "x = 1  # a com\n", "code"),
    ("python", "# a\n# b", "comment"),
    ("python", 'def f():\n    """Doc of', "string"),
    ("python", 'def f():\n    """Doc\n\n    more', "string"),
    ("python", 'x = f"a {b', "code"),
    ("python", 'x = f"a {b} c', "string"),
    ("python", "x = 'it # no", "string"),
    ("python", 'x = "a" + ', "code"),
    ("python", 'x = r"a\\', "string"),
    ("python", 'x = "#" + ', "code"),
    ("python", 'def f():\n    """Doc."""\n    ret', "code"),
    ("python", "x = b'abc", "string"),
    ("python", 'print(f"{x!r:>{wid', "code"),
    ("python", '# "quoted" it\'s', "comment"),
    ("python", "x = '''\nab\n", "string"),
    ("haskell", "f x = x -- com", "comment"),
    ("haskell", "{- block\n more", "comment"),
    ("haskell", "{- block -}\nf = ", "code"),
    ("haskell", 'f = "tex', "string"),
    ("elixir", "x = 1 # com", "comment"),
    ("julia", "#= block", "comment"),
    ("ocaml", "(* block", "comment"),
    ("clojure", "(f x) ; com", "comment"),
    ("dart", "/* block", "comment"),
    ("scss", "/* block", "comment"),
    ("xml", "<!-- block", "comment"),
    ("shellscript", 'rm "$a"/*; echo ', "code"),
    ("javascript", "let a = 1; // com", "comment"),
    ("javascript", "/* block", "comment"),
    ("javascript", "/** doc\n * more", "comment"),
    ("javascript", "/* a */ le", "code"),
    ("javascript", "let s = `a ${b", "code"),
    ("javascript", "let s = `a ${b} c", "string"),
    ("javascript", 'let s = "http://x', "string"),
    ("javascript", "const a = 'b' + ", "code"),
    ("typescript", "function f() { // it's", "comment"),
    ("typescript", 'let s: string = "a', "string"),
    ("typescriptreact", "// com", "comment"),
    ("javascriptreact", "/* co", "comment"),
    ("java", "/** Doc\n * line", "comment"),
    ("java", "int x = 1; // com", "comment"),
    ("java", 'String s = "ab', "string"),
    ("java", "char c = 'a", "string"),
    ("java", 'String s = """\n  text', "string"),
    ("c", "/* com", "comment"),
    ("c", "int x; // com", "comment"),
    ("c", 'char *s = "a', "string"),
    ("c", '#include "a', "string"),
    ("c", 'wchar_t *s = L"a', "string"),
    ("cpp", "// com", "comment"),
    ("cpp", 'auto s = R"(a', "string"),
    ("cpp", 'auto s = "a\\"b', "string"),
    ("cpp", 'auto s = u8"a', "string"),
    ("csharp", "/// <summary> doc", "comment"),
    ("csharp", 'var s = $"a {b', "code"),
    ("csharp", 'var s = $"a {b} c', "string"),
    ("csharp", 'var s = @"a', "string"),
    ("csharp", "// c", "comment"),
    ("csharp", 'var s = "a', "string"),
    ("go", "// com", "comment"),
    ("go", "s := `raw", "string"),
    ("go", 's := "a', "string"),
    ("go", "/* c", "comment"),
    ("go", "r := 'a", "string"),
    ("rust", "/// doc com", "comment"),
    ("rust", "//! doc", "comment"),
    ("rust", "// com", "comment"),
    ("rust", "/* c", "comment"),
    ("rust", 'let s = "a', "string"),
    ("rust", 'let s = r#"a', "string"),
    ("rust", 'let s = b"a', "string"),
    ("rust", "fn f<'a", "code"),
    ("rust", "/// a\n/// b", "comment"),
    ("rust", "/// a\nfn ", "code"),
    ("ruby", "# com", "comment"),
    ("ruby", 's = "a', "string"),
    ("ruby", 's = "a #{b', "code"),
    ("ruby", 's = "a #{b} c', "string"),
    ("ruby", "s = 'a", "string"),
    ("ruby", "x = %w[a b", "string"),
    ("ruby", "x = <<~EOS\n  text", "string"),
    ("ruby", "=begin\ncom", "comment"),
    ("php", "<?php // com", "comment"),
    ("php", "<?php # com", "comment"),
    ("php", '<?php $s = "a', "string"),
    ("php", "<?php /* c", "comment"),
    ("shellscript", "# com", "comment"),
    ("shellscript", 's="a', "string"),
    ("shellscript", 's="a $(b', "code"),
    ("shellscript", 's="a $(b "c', "string"),
    ("shellscript", "s=\"a $(b 'c", "string"),
    ("shellscript", 's="a $(b "c")', "string"),
    ("shellscript", 's="a $(b)" c', "code"),
    ("shellscript", "echo it's a", "string"),
    ("shellscript", "s='a\nb", "string"),
    ("shellscript", "s='a\nb' c", "code"),
    ("shellscript", "x=$((1 + ", "code"),
    ("shellscript", "s='a", "string"),
    ("shellscript", "cat <<EOF\ntext", "string"),
    ("lua", "-- com", "comment"),
    ("lua", 's = "a', "string"),
    ("lua", "--[[ com", "comment"),
    ("lua", "s = [[a", "string"),
    ("kotlin", "// c", "comment"),
    ("kotlin", 'val s = "a', "string"),
    ("kotlin", 'val s = "a ${b', "code"),
    ("kotlin", "/* c", "comment"),
    ("kotlin", 'val s = """a', "string"),
    ("swift", "// c", "comment"),
    ("swift", 'let s = "a', "string"),
    ("swift", 'let s = "a \\(b', "code"),
    ("swift", "/* c", "comment"),
    ("scala", "// c", "comment"),
    ("scala", 'val s = "a', "string"),
    ("scala", "/* c", "comment"),
    ("scala", 'val s = """a', "string"),
    ("sql", "-- com", "comment"),
    ("sql", "select 'a", "string"),
    ("sql", "/* c", "comment"),
    ("toml", "# c", "comment"),
    ("toml", 'a = "b', "string"),
    ("yaml", "# c", "comment"),
    ("yaml", 'a: "b', "string"),
    ("json", '{"a', "string"),
    ("html", "<!-- com", "comment"),
    ("html", '<a href="x', "string"),
    ("css", "/* c", "comment"),
    ("css", 'a { content: "x', "string"),
    ("plaintext", "# hello", "code"),
    ("haskell", 's = "a', "string"),
]


@pytest.mark.parametrize(("language", "before", "expected"), CASES)
def test_comments_and_strings_are_told_from_code(language: str, before: str, expected: str) -> None:
    assert region_at(before, language) == expected


@pytest.mark.parametrize("module", [textwrap, shlex, fnmatch], ids=lambda module: module.__name__)
def test_every_comment_and_string_of_a_real_file_is_found(module: ModuleType) -> None:
    """At the middle of each token, as Python's own tokenizer finds them; f-strings are code in part."""
    path = Path(str(module.__file__))
    text = path.read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    names = {tokenize.COMMENT: "comment", tokenize.STRING: "string", tokenize.NAME: "code"}
    checked = {"comment": 0, "string": 0, "code": 0}
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            expected = names.get(token.type)
            if expected is None or len(token.string) < 4 or token.string.startswith("f"):
                continue
            offset = starts[token.start[0] - 1] + token.start[1] + len(token.string) // 2
            assert region_at(text[:offset], "python") == expected, token
            checked[expected] += 1
    assert all(count > 10 for count in checked.values()), checked
