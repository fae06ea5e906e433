"""How the language server is served over stdio or a socket, and how its process ends."""

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

from lsp_server.language_server import MellumServer
from lsp_server.methods import register_all
from lsp_server.model_loader import in_thread
from lsp_server.statistics.events import STATE_VARIABLE
from lsp_server.wire.framing import Damage, FrameReader
from lsp_server.wire.introduction import is_loopback
from lsp_server.wire.logs import start_logging
from lsp_server.wire.transport import Connection, accept_editor, stdio
from syntax.children import end_children

_NATIVE_THREADS = ("loader", "inference", "index", "closing")
"""Threads that may be inside ONNX Runtime. At its end Python would unwind them, and C++ would abort: 10 of 40 exits
did. Python would also wait for threads of a pool without limit."""
_SECONDS_TO_STOP = 2.0

log = logging.getLogger(__name__)


def create_server() -> MellumServer:
    """Make a server that knows all its messages."""
    server = MellumServer()
    register_all(server)
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
    is_read = logs.drain(timeout=1.0)  # if the client does not read stderr, Python's own end would wait for the flush
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    if not is_read or any(thread.name in _NATIVE_THREADS or not thread.daemon for thread in others):
        os._exit(code)
    return code


def _leave_current_folder() -> None:
    """Change to the root of the file system: no library that is loaded by its name comes from a workspace."""
    for variable in ("MELLUM_LSP_CACHE", STATE_VARIABLE):
        if folder := os.environ.get(variable):
            try:
                os.environ[variable] = str(Path(folder).absolute())
            except FileNotFoundError:  # the current folder was removed
                del os.environ[variable]
    os.chdir(Path(sys.executable).anchor)


async def _run(server: MellumServer, connection: Connection) -> int:
    """Handle messages until the client says `exit`, dies, or closes the connection."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    frames = FrameReader()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def on_loop(function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends before the client
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
        # an inference thread that hangs must not delay the end, nor a machine that starts no more threads
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(_SECONDS_TO_STOP):
                await in_thread("closing", server.session.close())
        connection.close()
