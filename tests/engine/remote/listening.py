"""A server of a few lines for each test: it gets a connection, and does with it what no good server does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], None]


@dataclass
class Listening:
    """A server that listens on this machine."""

    port: int
    received: list[bytes] = field(default_factory=list)
    """What came first, of each connection to a server that `says`."""


@contextlib.contextmanager
def listening(answer: Answer | bytes, trust: ssl.SSLContext | None = None) -> Iterator[Listening]:
    """Answer each connection on a thread; bytes are sent after the first part of a request. `trust`: with TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Listening(listener.getsockname()[1])

        def say(client: socket.socket) -> None:
            assert isinstance(answer, bytes)
            server.received.append(client.recv(1 << 16))
            client.sendall(answer)

        def serve_one(client: socket.socket) -> None:
            with contextlib.suppress(OSError), client, client.dup() as kept:
                try:
                    stream = trust.wrap_socket(client, server_side=True) if trust is not None else client
                except ssl.SSLError:
                    kept.recv(
                        1 << 16
                    )  # what was sent meanwhile: unread, it resets the connection, and the alert is lost
                    raise
                with stream:
                    (say if isinstance(answer, bytes) else answer)(stream)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve_one, args=[client], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def join(client: socket.socket, port: int) -> None:
    """Pass on what comes from either side, until one of them ends."""
    with socket.create_connection(("127.0.0.1", port)) as there:

        def pipe(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    sink.sendall(data)
            for one in (source, sink):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=pipe, args=[there, client], daemon=True)
        back.start()
        pipe(client, there)
        back.join()


def polite(stream: Answer) -> Answer:
    """A server that greets well, and then answers a completion with this."""
    models = b'{"data": [{"id": "a-model"}]}'

    def answer(client: socket.socket) -> None:
        with client.makefile("rb") as asked:
            while path := asked.readline().split(b" ")[1:2]:
                headers = dict(line.lower().split(b": ", 1) for line in iter(asked.readline, b"\r\n"))
                asked.read(int(headers.get(b"content-length", b"0")))
                if path == [b"/v1/models"]:
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(models) + models)
                elif path == [b"/v1/completions"]:
                    stream(client)
                    return
                else:
                    client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    return answer
