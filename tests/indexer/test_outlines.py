"""Definitions and imports, in small texts of every language that has a query file."""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path

import pytest

from indexer.parsing.analysis import parse
from indexer.parsing.outlines import query_for
from indexer.parsing.trees import read_tree

PYTHON = '''from .shapes import (Circle, Square as Box)

LIMIT: int = 3


class Canvas(Base):
    """Where shapes are drawn."""

    scale = 1

    def __init__(self, width):
        self.width = width

    @property
    def area(
        self,
    ):
        """
        How much there is to paint.
        """
        def inner():
            pass
        return inner
'''
JAVA = """package a.b;
import c.d.Shape;

/**
 * Where shapes are drawn.
 */
public class Canvas extends Base {
  private int width;
  Canvas(int width) {
    this.width = width;
  }
  @Override
  public int area() {
    return width;
  }
}
"""
SMALL = {
    "javascript": ('import {a} from "./b";\nexport class A { m() {} }\nexport const f = (x) => x;\n', "A A.m f", "a b"),
    "typescript": (
        "import {a} from './b';\ninterface I { x: number }\nenum E { V }\ntype T = I;\n",
        "I I.x E T",
        "a b",
    ),
    "typescriptreact": ("export function View() { return <p/> }\n", "View", ""),
    "go": (
        'import "x/y"\ntype S struct { F int }\nfunc (s *S) M() {}\nfunc G() {}\nconst C = 1\n',
        "S S.F S.M G C",
        "x y",
    ),
    "rust": (
        "use a::{B};\nstruct S { f: i32 }\nimpl S { fn m(&self) {} }\ntrait T { fn o(); }\n",
        "S S.f S.m T T.o",
        "a B",
    ),
    "c": ('#include "a.h"\n#define M 1\nstruct S { int f; };\nint *g(void) {}\nint h(int);\n', "M S S.f g h", "a h"),
    "cpp": ("namespace n { class A { int m(); }; }\nint A::k() { return 1; }\n", "n.A A.m A.k", ""),
    "csharp": ("using X;\nclass A { int P { get; } int F() { return 1; } }\n", "A A.P A.F", "X"),
    "kotlin": ("import x.Y\nclass A { val q = 1\n fun f() = 1 }\nfun top() = 2\n", "A A.q A.f top", "x Y"),
    "php": ("<?php\nuse C\\D;\nclass F { public $i; function j() {} }\n", "F F.i F.j", "C D"),
    "ruby": (
        'require "a"\nmodule M\n  class A\n    attr_reader :x\n    def f; end\n  end\nend\n',
        "M M.A A.x A.f",
        "a",
    ),
    "swift": ("import Foo\nclass A { var x = 1\n func f() {} }\nprotocol P { func g() }\n", "A A.x A.f P P.g", "Foo"),
    "scala": ("import a.B\ntrait T { def f(y: Int): Int = y }\nobject O\n", "T T.f O", "a B"),
    "shellscript": ("source ./lib.sh\nfoo() { :; }\nexport BAR=1\n", "foo BAR", "lib sh"),
    "sql": ("CREATE TABLE t (id INT);\n", "t t.id", ""),
    "html": ('<link href="a.css"><div id="main"></div>\n', "main", "a css"),
    "css": ('@import "a.css";\n.foo { --size: 1px }\n', "foo --size", "a css"),
    "json": ('{"a": {"b": 1}}\n', "a", ""),
    "yaml": ("a:\n  b: 1\nc: 2\n", "a c", ""),
    "toml": ("x = 1\n[a.b]\nc = 1\n", "x a.b a.b.c", ""),
    "lua": ('local m = require("b")\nfunction M.f() end\n', "m f", "b"),
}


@pytest.mark.parametrize("language", SMALL)
def test_definitions_and_imports_are_found(language: str) -> None:
    text, names, words = SMALL[language]
    outline = parse(text, "file", language, within=60).outline
    found = [f"{one.container}.{one.name}".lstrip(".") for one in outline.symbols]
    if language in ("css", "scala", "html"):
        found = [name.rpartition(".")[2] if "--" in name else name for name in found]
    assert found == names.split()
    assert set(words.split()) <= {word for one in outline.imports for word in one.words}


def test_a_definition_has_its_kind_its_signature_and_its_documentation() -> None:
    outline = parse(PYTHON, "canvas.py", within=60).outline
    lines = PYTHON.split("\n")
    found = {one.name: one for one in outline.symbols}
    assert {name: (one.kind, one.container) for name, one in found.items()} == {
        "LIMIT": ("constant", ""),
        "Canvas": ("class", ""),
        "scale": ("field", "Canvas"),
        "__init__": ("method", "Canvas"),
        "width": ("field", "Canvas"),
        "area": ("method", "Canvas"),
    }
    area = found["area"]
    assert lines[area.first : area.head + 1] == ["    def area(", "        self,", "    ):"]
    assert "How much" in lines[area.documentation]
    assert "Where shapes" in lines[found["Canvas"].documentation]
    assert lines[area.last].strip() == "return inner"
    assert outline.imports[0].words == ("from", "shapes", "import", "Circle", "Square", "as", "Box")


def test_comments_above_a_definition_document_it() -> None:
    outline = parse(JAVA, "Canvas.java", within=60).outline
    lines = JAVA.split("\n")
    found = {(one.kind, one.name): one for one in outline.symbols}
    assert "Where shapes" in lines[found["class", "Canvas"].documentation]
    assert found["method", "area"].documentation == -1
    assert lines[found["method", "area"].head].strip() == "public int area() {"


def test_a_language_without_a_grammar_works_by_its_lines() -> None:
    assert query_for("fennel") is None
    assert parse("(fn area [x] x)\n", "a.fnl", "fennel").outline.symbols == ()


def test_what_is_parsed_again_after_edits_is_what_is_parsed_anew() -> None:
    chance = random.Random(3)
    text = (Path(sysconfig.get_paths()["stdlib"]) / "textwrap.py").read_text(encoding="utf-8")
    old = read_tree(text, "python")
    for _ in range(20):
        at, cut = chance.randrange(len(text)), chance.randrange(60)
        text = text[:at] + chance.choice(["", "x", "é = 1\n", "\ndef new(self):\n    return (\n"]) + text[at + cut :]
        old, fresh = read_tree(text, "python", old), read_tree(text, "python")
        assert old.tree is not None
        assert fresh.tree is not None
        assert str(old.tree.root_node) == str(fresh.tree.root_node)
        assert old.outline == fresh.outline
