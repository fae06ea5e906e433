"""What lies near a document, as the server keeps it: read in the background, handed over once it is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.harness.client import SOON
from lsp_server.documents import Document
from lsp_server.snapshot import Snapshot
from lsp_server.workspace.project_context import Context, Read
from syntax import Cursor, DocumentId, identify


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """The index of a project with two files, in a cache of its own."""
    monkeypatch.setenv("MELLUM_LSP_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    (root / "parcels.py").write_text("PARCELS = 1\n")
    (root / "letters.py").write_text("LETTERS = 2\n")
    context = Context(lambda folder, message: None)
    context.use_folders([root], indexed=True)
    yield context
    context.close()


class Model:
    """What of a model counts here: that it gets ready for texts."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, ...]] = []

    def read(self, texts: tuple[str, ...]) -> None:
        self.texts.append(texts)


def snapshot(text: str) -> Snapshot:
    document = Document("file:///project/main.py", source=text)
    cursor = Cursor(identify(document.uri, []), "python", text, len(text))
    return Snapshot(document, text, cursor, False, "", cursor.offset, cursor.offset)


def asked(context: Context, read: Read) -> tuple[str, ...]:
    """What a request gets; what is new is looked for after it."""
    known = context.neighbours_of(snapshot("x = "), read)
    context.look_around(snapshot("x = "), read)
    return known


def until_known(context: Context, model: Model, files: int) -> tuple[str, ...]:
    """Ask as a user who types does, until so many files are known."""
    end = time.monotonic() + SOON
    while len(known := asked(context, model.read)) != files:
        assert time.monotonic() < end
        time.sleep(0.01)
    return known


def test_neighbours_are_read_before_they_are_handed_over(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsp_server.workspace.project_context._LOOK_AGAIN", 0.05)
    model, opened = Model(), DocumentId.scratch("open.py")
    assert asked(context, model.read) == ()  # a request does not wait
    assert until_known(context, model, 2) in model.texts
    context.update(opened, "python", "OPENED = 3\n")
    known = until_known(context, model, 3)
    assert known[0] == "OPENED = 3\n"
    context.forget(opened)
    assert set(until_known(context, model, 2)) == {"PARCELS = 1\n", "LETTERS = 2\n"}


def test_another_model_reads_them_anew_and_one_that_fails_gets_none(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    until_known(context, Model(), 0)

    def fails(texts: tuple[str, ...]) -> None:
        raise RuntimeError("no room")

    assert asked(context, fails) == ()
    end = time.monotonic() + SOON
    while "no room" not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "main.py" in caplog.text
    assert asked(context, fails) == ()


def test_however_many_documents_are_opened_one_look_at_them_waits(context: Context, tmp_path: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    held = context._thread.submit(lambda: (begun.set(), goes_on.wait(SOON)))
    assert begun.wait(SOON)
    root = tmp_path / "project"
    documents = [DocumentId.in_folder(root, f"new_{number}.py") for number in range(200)]
    for document in documents:
        context.update(document, "python", "def add_them_all(numbers):\n    return 1\n")
        context.opened()
    assert context._thread._work_queue.qsize() == 1
    goes_on.set()
    held.result(SOON)
    until = time.monotonic() + SOON
    while set(context._index._opened.keys().values()) != {*documents}:  # in several looks, between which others may ask
        assert time.monotonic() < until
        time.sleep(0.01)
