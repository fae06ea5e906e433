"""Reads and writes bytes on stdio or a socket, on one thread each, so that the event loop never waits for them.

Reading has its own thread because a blocked read cannot be cancelled: the process must end while stdin is still open.
Writing has one because a client that does not read would block the event loop, and with it cancellations.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from lsp_server.wire.introduction import Introduction, NotAnEditor, is_loopback

TOKEN_VARIABLE = "MELLUM_LSP_TOKEN"
_CHUNK = 1 << 16
_MOST_CALLERS = 16
_SECONDS_TO_INTRODUCE = 10.0

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
        """Queue data to be sent. After `close`, data is dropped."""
        if not self._is_closed:
            self._outgoing.put(data)

    def close(self) -> None:
        """Send the queued data, for at most two seconds, and end the connection."""
        if not self._is_closed:
            self._is_closed = True
            self._outgoing.put(None)
            self._writer.join(timeout=2.0)
            self._close()

    def _write_all(self) -> None:
        try:
            while (data := self._outgoing.get()) is not None:
                self._send(data)
        except OSError as error:  # the client does not read any more; the reader thread reports the end of the stream
            log.info("Nothing can be sent any more: %s", error)


def stdio() -> Connection:
    """Take over stdin and stdout. Other output of this process to stdout goes to stderr from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(incoming, os.O_BINARY)
        msvcrt.setmode(outgoing, os.O_BINARY)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # the process has no stderr
        os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = sys.stderr

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(outgoing, view) :]

    return Connection(lambda: os.read(incoming, _CHUNK), send, lambda: os.close(outgoing))


class ListenError(Exception):
    """The server cannot listen; its text is one sentence with the mend."""


def accept_editor(host: str, port: int, announce: Callable[[str], None], token: str | None = None) -> Connection:
    """Listen until a client introduces itself as an editor, with the token if there is one; close other connections.

    `announce` gets the address with the real port, also for port 0. Raises ListenError, also if other machines could
    connect and there is no token.
    """
    try:
        if token is None and not is_loopback(host):
            raise ListenError(
                f"Other machines could connect to {host}: give a token with --token-file FILE or in {TOKEN_VARIABLE}"
            )
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ListenError(f"The server cannot listen on {host}:{port} ({error}); choose another port") from error
    with listener, selectors.DefaultSelector() as selector:
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)
        announce("{}:{}".format(*listener.getsockname()[:2]))
        callers: dict[socket.socket, _Caller] = {}
        while True:
            for key, _ in selector.select(timeout=1.0):  # on Windows, Ctrl-C counts only between two waits
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if client is listener:
                    _greet(listener, selector, callers, token)
                elif (caller := callers.get(client)) is None:  # dismissed in this round
                    continue
                elif caller.has_introduced_itself(client):
                    del callers[client]
                    _dismiss(list(callers), selector, callers)
                    return _connection(client, caller)
                elif caller.refused:
                    _dismiss([client], selector, callers)
            late = [client for client, caller in callers.items() if time.monotonic() > caller.until]
            _dismiss(late, selector, callers)


class _Caller:
    """A client that has not introduced itself yet."""

    def __init__(self, address: object, token: str | None) -> None:
        self.address, self.introduction = address, Introduction(token)
        self.until = time.monotonic() + _SECONDS_TO_INTRODUCE
        self.refused = False

    def has_introduced_itself(self, client: socket.socket) -> bool:
        """Read its bytes; sets `refused` if it is not an editor."""
        try:
            return self.introduction.feed(client.recv(_CHUNK))
        except BlockingIOError:
            return False
        except NotAnEditor as error:
            log.warning("A client at %s was refused: %s", self.address, str(error))
        except OSError as error:
            log.info("A client at %s went away: %s", self.address, error)
        self.refused = True
        return False


def _greet(
    listener: socket.socket,
    selector: selectors.BaseSelector,
    callers: dict[socket.socket, _Caller],
    token: str | None,
) -> None:
    try:
        client, address = listener.accept()
    except OSError:  # it left again
        return
    client.setblocking(False)
    if len(callers) >= _MOST_CALLERS:
        _dismiss([next(iter(callers))], selector, callers)  # the oldest
    callers[client] = _Caller(address, token)
    selector.register(client, selectors.EVENT_READ)


def _dismiss(
    clients: list[socket.socket], selector: selectors.BaseSelector, callers: dict[socket.socket, _Caller]
) -> None:
    for client in clients:
        del callers[client]
        selector.unregister(client)
        client.close()


def _connection(client: socket.socket, caller: _Caller) -> Connection:
    """The editor's connection; the first bytes are those of its introduction."""
    log.info("Connected to %s", caller.address)
    client.setblocking(True)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = [bytes(caller.introduction.received)]

    def receive() -> bytes:
        return first.pop() if first else client.recv(_CHUNK)

    def close() -> None:
        with contextlib.suppress(OSError):  # already gone
            client.shutdown(socket.SHUT_RDWR)
        client.close()

    return Connection(receive, client.sendall, close)
