"""The language server: which messages it knows, and how it is served over stdio or a socket.

Handlers are thin. Those that answer from a document take a snapshot of it, made when the message arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter

from lsp_server import inline_completion
from lsp_server.model_loader import in_thread
from lsp_server.reporting.feedback import ACCEPTED, DID_PARTIALLY_ACCEPT, DID_SHOW
from lsp_server.reporting.silence import Silence
from lsp_server.reporting.status import STATUS
from lsp_server.session import VERSION, Session
from lsp_server.snapshot import Snapshot, take_snapshot
from lsp_server.wire import editor_watch
from lsp_server.wire.framing import Damage, FrameReader
from lsp_server.wire.introduction import is_loopback
from lsp_server.wire.logs import shown_uri, start_logging
from lsp_server.wire.protocol import Protocol
from lsp_server.wire.transport import Connection, accept_editor, stdio
from syntax.parsing.grammar_process import end_children

_NATIVE_THREADS = ("loader", "inference", "index", "closing")
"""Threads that may be inside ONNX Runtime. Python would unwind them at its end, and C++ aborts: 10 of 40 exits did. It
would wait for those of a pool, however long they take."""
_SECONDS_TO_STOP = 2.0

log = logging.getLogger(__name__)


class MellumServer(LanguageServer):
    """pygls' server with our protocol, a session, and errors that go to the log instead of the user's screen."""

    protocol: Protocol

    def __init__(self) -> None:
        super().__init__("mellum-lsp", VERSION, protocol_cls=Protocol, converter_factory=default_converter)
        self.session = Session(self)
        self.initial_settings: object = None

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log an error, with its traceback if it is one of ours. pygls would show it as a message box."""
        is_ours = not isinstance(error, JsonRpcException) or isinstance(error, JsonRpcInternalError)
        log.log(logging.ERROR if is_ours else logging.INFO, "%s: %s", source.__name__, error, exc_info=is_ours)


def create_server() -> MellumServer:
    """Make a server that knows all its messages."""
    server = MellumServer()

    @server.feature(types.INITIALIZE)
    def initialize(ls: MellumServer, params: types.InitializeParams) -> None:
        ls.initial_settings = params.initialization_options
        if params.process_id is not None:
            loop = asyncio.get_running_loop()

            def end() -> None:
                loop.call_soon_threadsafe(ls.protocol.on_exit, ls.protocol.exit_code)

            editor_watch.watch(params.process_id, end)

    @server.feature(types.INITIALIZED)
    async def initialized(ls: MellumServer, _: types.InitializedParams) -> None:
        await ls.session.start(ls.initial_settings)

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def configuration_changed(ls: MellumServer, params: types.DidChangeConfigurationParams) -> None:
        await ls.session.configure(params.settings)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(ls: MellumServer, params: types.DidOpenTextDocumentParams) -> None:
        ls.session.typed()
        ls.session.document_changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(ls: MellumServer, params: types.DidChangeTextDocumentParams) -> None:
        ls.session.typed()
        ls.session.document_changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: MellumServer, params: types.DidCloseTextDocumentParams) -> None:
        ls.session.document_closed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(ls: MellumServer, params: types.DidSaveTextDocumentParams) -> None:
        ls.session.files_changed([params.text_document.uri])

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def files_changed(ls: MellumServer, params: types.DidChangeWatchedFilesParams) -> None:
        ls.session.files_changed([change.uri for change in params.changes])

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def folders_changed(ls: MellumServer, _: types.DidChangeWorkspaceFoldersParams) -> None:
        ls.session.workspace_changed()

    def snapshot_of(params: types.InlineCompletionParams) -> Snapshot | Silence:
        documents = server.session.documents
        if documents.open_document(params.text_document.uri) is None:
            return Silence.OUT_OF_STEP
        try:
            return take_snapshot(documents, params) or Silence.NOTHING
        except Exception:
            log.exception("No snapshot of %s at %s", shown_uri(params.text_document.uri), params.position)
            return Silence.FAILED

    server.protocol.on_lost_step = server.session.lose_step
    server.protocol.freeze[types.TEXT_DOCUMENT_INLINE_COMPLETION] = snapshot_of

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def complete(ls: MellumServer, asked: Snapshot | Silence) -> types.InlineCompletionList:
        return await inline_completion.answer(ls.session, asked)

    @server.command(ACCEPTED)
    def accepted(ls: MellumServer, *arguments: Any) -> None:
        if not arguments or not ls.session.feedback.accept(arguments[0]):
            log.info("An unknown suggestion was accepted")

    @server.feature(DID_SHOW)
    def displayed(ls: MellumServer, params: Any) -> None:
        ls.session.feedback.display(params.item)

    @server.feature(DID_PARTIALLY_ACCEPT)
    def accepted_in_part(ls: MellumServer, params: Any) -> None:
        ls.session.feedback.accept_in_part(params.item, params.acceptedLength)

    @server.feature(STATUS)
    def status(ls: MellumServer, _: Any) -> dict[str, Any]:
        return ls.session.status().to_json()

    return server


def serve_stdio() -> int:
    """Serve one client on stdin and stdout; returns the exit code: 0 after `shutdown` and `exit`, else 1."""
    return _serve(stdio)


def serve_tcp(host: str, port: int, token: str | None = None) -> int:
    """Serve the first client that is an editor; returns the exit code. Port 0 takes a free port; stderr says which.

    Raises ListenError.
    """

    def announce(address: str) -> None:
        print(f"Listening on {address}", file=sys.stderr, flush=True)
        if not is_loopback(host):
            print(
                "WARNING: other machines can connect to this address. All that is typed crosses the network as it is, "
                "and who has the token can read what the server reads.",
                file=sys.stderr,
                flush=True,
            )

    return _serve(lambda: accept_editor(host, port, announce, token))


def _serve(connect: Callable[[], Connection]) -> int:
    _leave_current_folder()
    logs = start_logging()
    try:
        code = asyncio.run(_run(create_server(), connect()))
    except KeyboardInterrupt:
        code = 130
    end_children()
    is_read = logs.drain(timeout=1.0)  # where nobody reads stderr, Python's own end would wait for its flush
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    if not is_read or any(thread.name in _NATIVE_THREADS or not thread.daemon for thread in others):
        os._exit(code)
    return code


def _leave_current_folder() -> None:
    """Stand in the root of the file system: a library that is loaded by its name alone is not one of a workspace's."""
    if folder := os.environ.get("MELLUM_LSP_CACHE"):
        os.environ["MELLUM_LSP_CACHE"] = str(Path(folder).absolute())
    os.chdir(Path(sys.executable).anchor)


def _resume_children() -> None:
    """Let children run on that were stopped: they could not notice our end, and would stay."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.status() == psutil.STATUS_STOPPED:
                    child.resume()


async def _run(server: MellumServer, connection: Connection) -> int:
    """Handle messages until the client says `exit`, dies, or closes the connection."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    frames = FrameReader()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def on_loop(function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the client is still there, but we are leaving
            loop.call_soon_threadsafe(function, *arguments)

    def receive(data: bytes) -> None:
        for frame in frames.feed(data):
            if isinstance(frame, Damage):
                log.warning("The client sent %s", frame.reason)
            else:
                on_loop(server.protocol.receive, frame)

    def end_of_stream() -> None:
        if frames.is_inside_a_message:
            log.warning("The connection ended in the middle of a message")
        on_loop(lambda: end(server.protocol.exit_code))

    server.protocol.on_exit = end
    server.protocol.set_writer(connection)
    connection.start(receive, end_of_stream)
    try:
        return await ended
    finally:
        _resume_children()
        with contextlib.suppress(TimeoutError):  # an inference thread that hangs must not keep us
            async with asyncio.timeout(_SECONDS_TO_STOP):
                await in_thread("closing", server.session.close())
        connection.close()
