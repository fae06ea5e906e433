"""A model that is replaced or unloaded leaves the memory, even while its completer is referenced."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import pytest
from lsprotocol import types

import lsp_server.completer
from evaluation.harness.client import SOON
from lsp_server.completer import Completer
from lsp_server.configuration.settings import ModelChoice, Settings
from lsp_server.documents import Document
from lsp_server.snapshot import Snapshot
from syntax import Cursor, identify


def snapshot(text: str) -> Snapshot:
    document = Document("file:///a.py", source=text, language_id="python", sync_kind=types.TextDocumentSyncKind.Full)
    cursor = Cursor(identify(document.uri, []), "python", text, len(text))
    return Snapshot(document, text, cursor, False, "", cursor.offset, cursor.offset)


def test_a_closed_completer_keeps_no_model_in_memory(model_cache: Path) -> None:
    folder = str(model_cache / "models" / "smollm2-135m")
    completer = Completer.load(ModelChoice(folder, "cpu", 1, 512, None), lambda what, share: None)
    engine = weakref.ref(completer._engine)
    asked = completer.submit(snapshot("def add(a, b):\n    return "), (), (), Settings(), confidence=0)
    held = [completer.read, completer.count_tokens, completer.snippet_budget, asked, asked.result(60)]
    cancelled = completer.submit(snapshot("def sub(a, b):\n    return "), (), (), Settings(), confidence=0)
    completer.close()
    gc.collect()
    assert engine() is None
    assert cancelled.done()
    assert completer.count_tokens("a text") == 0
    completer.read(("a text",))
    completer.warm_up(snapshot("x = "), (), Settings(), confidence=0.7)
    completer.close()
    assert len(held) == 5


def test_memory_is_given_back_after_the_last_thread_has_let_go_of_the_model(
    model_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completer = Completer.load(
        ModelChoice(str(model_cache / "models" / "smollm2-135m"), "cpu", 1, 512, None), lambda what, share: None
    )
    engine = weakref.ref(completer._engine)
    working = [completer._engine]  # as a thread that reads neighbours does, or one that ends late
    was_there: list[bool] = []
    monkeypatch.setattr(lsp_server.completer, "give_back", lambda: was_there.append(engine() is not None))
    closing = threading.Thread(target=completer.close)
    closing.start()
    while not was_there:
        assert closing.is_alive()
    working.clear()
    closing.join(SOON)
    assert not closing.is_alive()
    assert was_there[0]
    assert not was_there[-1]
