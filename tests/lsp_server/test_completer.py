"""A model that is replaced or unloaded leaves the memory, even while its completer is referenced."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from lsprotocol import types

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
    asked = completer.submit(snapshot("def add(a, b):\n    return "), (), (), Settings(confidence=0))
    held = [completer.read, completer.count_tokens, completer.snippet_budget, asked, asked.result(60)]
    cancelled = completer.submit(snapshot("def sub(a, b):\n    return "), (), (), Settings(confidence=0))
    completer.close()
    gc.collect()
    assert engine() is None
    assert cancelled.done()
    assert completer.count_tokens("a text") == 0
    completer.read(("a text",))
    completer.warm_up(snapshot("x = "), (), Settings())
    completer.close()
    assert len(held) == 5
