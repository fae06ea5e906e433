"""Documents under random edits, in every position encoding: against the protocol's words, and against pygls."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec, TextDocument

from lsp_server.documents import Document, Documents

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
CHARACTERS = st.sampled_from(["a", "(", " ", "é", "漢", "😋", "\t", "\x0c", "\u2028"])
TEXTS = st.lists(CHARACTERS | LINE_ENDS, max_size=40).map("".join)
POSITIONS = st.builds(types.Position, st.integers(0, 12), st.integers(0, 20))


def units(text: str, encoding: str) -> int:
    """The length of a text in an encoding's units, by the definition of those."""
    return {
        "utf-8": lambda: len(text.encode()),
        "utf-16": lambda: len(text.encode("utf-16-le")) // 2,
        "utf-32": lambda: len(text),
    }[encoding]()


def offset_in(text: str, position: types.Position, encoding: str) -> int:
    """The protocol's words, as slow as they are clear."""
    lines = re.split(r"(\r\n|\n|\r)", text)
    contents = lines[::2]
    if position.line >= len(contents):
        return len(text)
    start = sum(map(len, lines[: 2 * position.line]))
    content = contents[position.line]
    fitting = [count for count in range(len(content) + 1) if units(content[:count], encoding) <= position.character]
    return start + fitting[-1]


def document_of(text: str, encoding: str) -> Document:
    codec = PositionCodec(types.PositionEncodingKind(encoding))
    return Document("file:///example.py", text, 1, "python", position_codec=codec)


def change(start: types.Position, end: types.Position, text: str) -> types.TextDocumentContentChangePartial:
    return types.TextDocumentContentChangePartial(range=types.Range(start, end), text=text)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS, edits=st.lists(st.tuples(POSITIONS, POSITIONS, TEXTS), max_size=8), asked=st.lists(POSITIONS))
def test_edits_and_positions_are_what_the_protocol_says(
    encoding: str, text: str, edits: list[tuple[types.Position, types.Position, str]], asked: list[types.Position]
) -> None:
    document = document_of(text, encoding)
    for one, other, inserted in edits:
        start, end = sorted((one, other), key=lambda position: (position.line, position.character))
        first, last = offset_in(text, start, encoding), offset_in(text, end, encoding)
        text = text[:first] + inserted + text[last:]
        document.apply_change(change(start, end, inserted))
        assert document.source == text
        for position in asked:
            offset = offset_in(text, position, encoding)
            assert document.offset_at_position(position) == offset
            there = document.client_position_at_offset(offset)
            assert offset_in(text, there, encoding) == offset
            assert there.line <= position.line


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_edits_are_those_of_pygls_wherever_pygls_counts_lines_as_editors_do(encoding: str, data: st.DataObject) -> None:
    characters = st.sampled_from(["a", "(", " ", "é", "漢", "😋", "\n", "\r\n"])
    text = data.draw(st.lists(characters, max_size=40).map("".join))
    codec = PositionCodec(types.PositionEncodingKind(encoding))
    theirs = TextDocument("file:///example.py", text, 1, "python", position_codec=codec)
    ours = document_of(text, encoding)
    for _ in range(data.draw(st.integers(1, 6))):
        offsets = st.integers(0, len(ours.source))
        start, end = map(ours.client_position_at_offset, sorted(data.draw(st.tuples(offsets, offsets))))
        inserted = data.draw(st.lists(characters, max_size=10).map("".join))
        ours.apply_change(change(start, end, inserted))
        theirs.apply_change(change(start, end, inserted))
        assert ours.source == theirs.source
        position = ours.client_position_at_offset(data.draw(st.integers(0, len(ours.source))))
        if position.line < len(theirs.lines):  # below the last line, pygls counts its units instead of its code points
            assert ours.offset_at_position(position) == theirs.offset_at_position(position)


def test_a_position_inside_a_character_is_its_start() -> None:
    assert document_of("a😋b", "utf-16").offset_at_position(types.Position(0, 2)) == 1
    assert document_of("a😋b", "utf-8").offset_at_position(types.Position(0, 4)) == 1
    assert document_of("a😋b", "utf-8").offset_at_position(types.Position(0, 5)) == 2


def test_what_lies_outside_is_clamped() -> None:
    document = document_of("one\r\ntwo", "utf-16")
    assert document.offset_at_position(types.Position(0, 99)) == 3
    assert document.offset_at_position(types.Position(1, 99)) == 8
    assert document.offset_at_position(types.Position(99, 0)) == 8
    document.apply_change(change(types.Position(1, 3), types.Position(2**31 - 1, 2**31 - 1), "!"))
    assert document.source == "one\r\ntwo!"


def test_a_form_feed_ends_no_line() -> None:
    document = document_of("import os\n\x0c\ndef f():\n    pass\n", "utf-16")
    assert document.offset_at_position(types.Position(2, 3)) == 15


def test_halves_of_a_character_join_and_lone_ones_never_reach_the_model() -> None:
    document = document_of("x = '\ud83d'", "utf-16")
    assert document.text == "x = '\ufffd'"
    document.apply_change(change(types.Position(0, 6), types.Position(0, 6), "\ude0b"))
    assert document.source == document.text == "x = '😋'"
    assert document.client_position_at_offset(7) == types.Position(0, 8)


def test_a_whole_new_text_replaces_the_old_one() -> None:
    document = document_of("one\ntwo\nthree", "utf-16")
    assert document.offset_at_position(types.Position(2, 1)) == 9
    document.apply_change(types.TextDocumentContentChangeWholeDocument(text="x\ny"))
    assert document.source == "x\ny"
    assert document.offset_at_position(types.Position(1, 1)) == 3


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_jumps_through_a_long_document_find_every_line(line_end: str) -> None:
    lines = [f"line {number} 漢" for number in range(40_000)]
    document = document_of(line_end.join(lines), "utf-16")
    width = len(line_end)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + width)
    for number in (39_999, 0, 20_000, 19_999, 35_000, 12, 13, 38_000, 25_000, 39_999, 39_998):
        offset = document.offset_at_position(types.Position(number, 2))
        assert offset == starts[number] + 2
        assert document.client_position_at_offset(offset) == types.Position(number, 2)


FOLDERS = [
    types.WorkspaceFolder("file:///projects/app", "app"),
    types.WorkspaceFolder("file:///projects/app/plugins/one", "one"),
]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///projects/app/package/module.py", "package/module.py"),
        ("file:///projects/app/plugins/one/main.py", "main.py"),
        ("file:///projects/app/with%20space/m%C3%BCll.py", "with space/müll.py"),
        ("file:///elsewhere/module.py", "module.py"),
        ("file:///projects/application/module.py", "module.py"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("vscode-notebook-cell:/projects/app/book.ipynb#W0", "book.ipynb"),
    ],
)
def test_paths_are_relative_to_the_nearest_workspace_folder(uri: str, path: str) -> None:
    assert Documents(None, workspace_folders=FOLDERS).identity(uri).path == path


def test_a_root_is_a_workspace_folder_where_there_are_none() -> None:
    assert Documents("file:///projects/app").identity("file:///projects/app/a/b.py").path == "a/b.py"
    assert Documents(None).identity("file:///projects/app/a/b.py").path == "b.py"


def test_a_document_that_is_not_open_is_not_read_from_disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("disk") / "module.py"
    file.write_text("secret = 1\n")
    documents = Documents(None)
    assert documents.open_document(file.as_uri()) is None
    documents.put_text_document(types.TextDocumentItem(file.as_uri(), "python", 1, ""))
    document = documents.open_document(file.as_uri())
    assert document is not None
    assert document.source == ""
