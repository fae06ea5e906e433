"""The index of open documents: on real files of the standard library."""

from __future__ import annotations

import sysconfig
import time
from pathlib import Path

import pytest

from indexer import Index
from indexer.parsing.analysis import analyse, parse
from indexer.parsing.chunks import LONGEST
from syntax import Cursor, DocumentId

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def source(name: str) -> str:
    return (STANDARD_LIBRARY / name).read_text(encoding="utf-8")


def document(path: str) -> DocumentId:
    return DocumentId.scratch(path)


@pytest.fixture
def index() -> Index:
    index = Index()
    for name in ("json/decoder.py", "json/scanner.py", "statistics.py", "textwrap.py"):
        index.update(document(name), "python", source(name))
    return index


def test_what_is_alike_is_found_least_alike_first(index: Index) -> None:
    text = source("json/decoder.py")
    place = text.index("def JSONArray")
    snippets = index.context_for(Cursor(document("json/decoder.py"), "python", text, place), within=5)
    assert snippets
    assert snippets[-1].path == "json/scanner.py"
    assert [one.score for one in snippets] == sorted(one.score for one in snippets)
    assert sum(len(one.text) for one in snippets) <= 3000
    for one in snippets:  # whole lines, in their order
        lines = iter(source(one.path).splitlines())
        assert all(line in lines for line in one.text.splitlines())


def test_a_document_is_no_context_of_its_own(index: Index) -> None:
    text = source("textwrap.py")
    for place in range(0, len(text), 4000):
        assert all(
            one.path != "textwrap.py"
            for one in index.context_for(Cursor(document("textwrap.py"), "python", text, place), within=5)
        )


def test_only_the_same_language_is_asked(index: Index) -> None:
    assert index.context_for(Cursor(document("a.js"), "javascript", source("json/decoder.py"), 5000), within=5) == []


def test_the_choice_stays_while_the_cursor_stays_near(index: Index) -> None:
    text = source("json/decoder.py")
    place = text.index("def JSONArray")
    first = index.context_for(Cursor(document("json/decoder.py"), "python", text, place), within=5)
    for moved in (place + 1, place + 300, place - 300):
        edited = Cursor(document("json/decoder.py"), "python", text + "# edited", moved)
        assert index.context_for(edited, within=5) == first


def test_no_choice_stays_too_until_a_document_changes() -> None:
    index = Index()
    index.update(document("a.py"), "python", "first = 1\n")
    assert index.context_for(Cursor(document("b.py"), "python", "unlike(anything)\n", 3), within=5) == []
    alike = "def alike(first, second):\n    return first + second\n"
    assert index.context_for(Cursor(document("b.py"), "python", alike, 3), within=5) == []
    index.update(document("a.py"), "python", alike)  # which the document itself holds already
    assert index.context_for(Cursor(document("b.py"), "python", alike, 3), within=5) == []
    index.update(document("a.py"), "python", alike.replace("first + second", "second + first"))
    assert len(index.context_for(Cursor(document("b.py"), "python", alike, 3), within=5)) == 1


def test_the_choice_is_made_anew_when_what_was_chosen_has_changed(index: Index) -> None:
    text = source("json/decoder.py")
    place = text.index("def JSONArray")
    before = index.context_for(Cursor(document("json/decoder.py"), "python", text, place), within=5)
    assert any("def py_make_scanner" in one.text for one in before)
    index.update(
        document("json/scanner.py"), "python", "x = 1\n"
    )  # the module is imported, so this is what it offers now
    after = index.context_for(Cursor(document("json/decoder.py"), "python", text, place), within=5)
    assert {one.text for one in after if one.path == "json/scanner.py"} <= {"x = 1\n"}
    index.forget(document("statistics.py"))
    index.forget(document("textwrap.py"))
    index.forget(document("json/scanner.py"))
    assert index.context_for(Cursor(document("json/decoder.py"), "python", text, place), within=5) == []


def test_without_time_there_is_an_answer_at_once(index: Index) -> None:
    started = time.monotonic()
    index.context_for(Cursor(document("json/decoder.py"), "python", source("json/decoder.py"), 5000), within=0)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("language", ["python", "unheard-of"])
def test_chunks_cover_every_line_and_stay_short(language: str) -> None:
    text = source("argparse.py")
    lines = text.split("\n")
    chunks = analyse(parse(text, "argparse.py", language), "argparse.py").chunks
    assert all(chunk.last - chunk.first < LONGEST for chunk in chunks)
    covered = {line for chunk in chunks for line in range(chunk.first, chunk.last + 1)}
    assert {at for at, line in enumerate(lines) if line.strip()} <= covered
    assert analyse(parse("", "a.py", language), "a.py").chunks == ()
