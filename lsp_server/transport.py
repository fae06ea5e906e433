"""Bytes in and out: stdio or a socket, each way on a thread of its own, so that the event loop never waits for them.

Reading has its own thread because a blocked read cannot be cancelled: the process must end although stdin stays open.
Writing has one because a client that does not read would otherwise stop the server while it holds requests to cancel.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

_CHUNK = 1 << 16

log = logging.getLogger(__name__)


class Connection:
    """A client at the other end: two blocking functions, `receive` returns b"" at the end, `send` sends everything."""

    def __init__(self, receive: Callable[[], bytes], send: Callable[[bytes], None], close: Callable[[], None]) -> None:
        self._receive, self._send, self._close = receive, send, close
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="writer", daemon=True)
        self._is_closed = False

    def start(self, received: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """Start both threads. `received` gets each piece of data, `ended` is called once at the end of the stream."""

        def read_all() -> None:
            try:
                while data := self._receive():
                    received(data)
            except OSError as error:
                log.info("The connection broke: %s", error)
            finally:
                ended()

        threading.Thread(target=read_all, name="reader", daemon=True).start()
        self._writer.start()

    def write(self, data: bytes) -> None:
        """Queue data to be sent; after `close` it is dropped."""
        if not self._is_closed:
            self._outgoing.put(data)

    def close(self) -> None:
        """Send what is queued, waiting at most two seconds for the client to take it, and end."""
        if not self._is_closed:
            self._is_closed = True
            self._outgoing.put(None)
            self._writer.join(timeout=2.0)
            self._close()

    def _write_all(self) -> None:
        try:
            while (data := self._outgoing.get()) is not None:
                self._send(data)
        except OSError as error:  # nobody reads any more; the reader sees the end of the stream and says so
            log.info("Nothing can be sent any more: %s", error)


def stdio() -> Connection:
    """Take over stdin and stdout. Whatever else in this process prints to stdout ends up on stderr from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(incoming, os.O_BINARY)
        msvcrt.setmode(outgoing, os.O_BINARY)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without a stderr
        os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = sys.stderr

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(outgoing, view) :]

    return Connection(lambda: os.read(incoming, _CHUNK), send, lambda: os.close(outgoing))


def accept_one(host: str, port: int, announce: Callable[[str], None]) -> Connection:
    """Listen until one client has connected. `announce` gets the address, with the port that port 0 became."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        listener.settimeout(1.0)  # on Windows, Ctrl-C is seen only between two waits
        announce("{}:{}".format(*listener.getsockname()[:2]))
        while True:
            with contextlib.suppress(TimeoutError):
                client, address = listener.accept()
                break
    log.info("Connected to %s", address)
    client.settimeout(None)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close() -> None:
        with contextlib.suppress(OSError):  # already gone
            client.shutdown(socket.SHUT_RDWR)
        client.close()

    return Connection(lambda: client.recv(_CHUNK), client.sendall, close)
