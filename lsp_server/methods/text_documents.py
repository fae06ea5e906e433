"""`textDocument/didOpen`, `didChange`, `didClose` and `didSave`. The protocol has updated the text already."""

from __future__ import annotations

import asyncio

from lsprotocol import types

from lsp_server.language_server import MellumServer
from lsp_server.session import Session
from lsp_server.snapshot import snapshot_at_last_edit
from lsp_server.warm_up import warm_up


def did_open(ls: MellumServer, params: types.DidOpenTextDocumentParams) -> None:
    """Tell the index of the document."""
    _edited(ls.session, params.text_document.uri)


def did_change(ls: MellumServer, params: types.DidChangeTextDocumentParams) -> None:
    """Cancel what is being computed from the older text, and tell the index of the new one."""
    _edited(ls.session, params.text_document.uri)


def did_close(ls: MellumServer, params: types.DidCloseTextDocumentParams) -> None:
    """Stop all work for the document."""
    ls.session.document_closed(params.text_document.uri)


def did_save(ls: MellumServer, params: types.DidSaveTextDocumentParams) -> None:
    """Let the index read the file again, and see how much of accepted text was saved."""
    ls.session.files_changed([params.text_document.uri])
    document = ls.session.documents.open_document(params.text_document.uri)
    if ls.session.observer is not None and document is not None:
        ls.session.observer.saved(document)


def _edited(session: Session, uri: str) -> None:
    """Take note of a new text; when a pause follows, compute ahead for the place of the edit."""
    session.typed()
    if (document := session.documents.open_document(uri)) is None:
        return
    session.document_changed(document)
    if session.completer is not None:
        snapshot = snapshot_at_last_edit(session.documents, document)
        session.begin_warm_up(document.uri, asyncio.create_task(warm_up(session, snapshot)))
