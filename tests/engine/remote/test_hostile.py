"""Servers that break TLS, HTTP or an answer: each has a sentence, in bounded time and memory."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trustme

from engine.remote.address import RemoteError
from tests.engine.remote.conftest import Connect
from tests.engine.remote.listening import Answer, listening, polite
from tests.engine.remote.test_remote_engine import LONG, at_end

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
EMPTY = OK + b"Content-Length: 2\r\n\r\n[]"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""An HTTP/2 frame."""
ROOM = 60_000_000
"""Bytes that a hostile answer may take of this process for a moment."""


class Authority:
    """Signs certificates, good and bad."""

    def __init__(self, folder: Path) -> None:
        self._authority, self.file = trustme.CA(), folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def context(self, name: str = "localhost", days: tuple[int, int] = (-1, 1), *protocols: str) -> ssl.SSLContext:
        """What a server needs for TLS; `days`: from when to when it is valid, from now."""
        now = datetime.datetime.now(datetime.UTC)
        begin, end = (now + datetime.timedelta(days=day) for day in days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name, not_before=begin, not_after=end).configure_cert(context)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this machine trusts."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up sooner, but not before a thread on a busy machine has its turn."""
    for name, seconds in (("_READ_WITHIN", 2.0), ("_CONNECT_WITHIN", 1.5), ("_ASKED_WITHIN", 4.0)):
        monkeypatch.setattr(f"engine.remote.connection.{name}", seconds)
    monkeypatch.setattr("engine.remote.engine._BEGUN_WITHIN", 4.0)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Check that this process takes little memory meanwhile."""
    process, over = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
    assert most - before < ROOM


def endless(first: bytes, part: bytes, pause: float = 0.0) -> Answer:
    """An answer that goes on until it is given up."""

    def answer(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(first)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            client.sendall(part)
            time.sleep(pause)

    return answer


def silent(client: socket.socket) -> None:
    """It listens, and says nothing."""
    while client.recv(1 << 16):
        pass


def saying(first: bytes) -> Answer:
    """Something at once, then nothing."""

    def answer(client: socket.socket) -> None:
        client.sendall(first)
        silent(client)

    return answer


@pytest.mark.parametrize(
    ("name", "days", "sentence"),
    [
        ("localhost", (-9, -1), "(certificate has expired). Have it renewed, and compare the clocks"),
        ("localhost", (1, 9), "(certificate is not yet valid). Have it renewed, and compare the clocks"),
        ("gpu.example", (-1, 1), "valid for 'localhost'). Name the host as the certificate does"),
    ],
)
def test_a_certificate_that_is_not_good_gets_nothing_and_has_its_mend(
    name: str, days: tuple[int, int], sentence: str, authority: Authority, connect: Connect
) -> None:
    with listening(EMPTY, authority.context(name, days)) as server:
        message = connect(f"https://localhost:{server.port}", token="very-secret").facts().message
    assert message.startswith("The certificate of localhost is not trusted (")
    assert sentence in message
    assert server.received == []


def test_a_certificate_of_another_authority_gets_nothing(
    authority: Authority, connect: Connect, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"))
    with listening(EMPTY, other.context()) as server:
        message = connect(f"https://localhost:{server.port}", token="very-secret").facts().message
    assert "Add its authority to the system's, or let the variable SSL_CERT_FILE name it" in message
    assert server.received == []


def test_a_server_that_wants_a_certificate_of_this_machine_is_told(authority: Authority, connect: Connect) -> None:
    context = authority.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(str(authority.file))
    with listening(EMPTY, context) as server:
        message = connect(f"https://localhost:{server.port}").facts().message
    assert "wants a certificate of this machine. Let it want a token instead" in message


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (silent, "does not take the connection in time"),
        (b"", "does not speak TLS as expected"),
        (EMPTY, "does not speak TLS as expected (WRONG_VERSION_NUMBER). Compare https with http"),
        (b"\x16\x03\x03\xff\xff" + b"x" * 99, "does not speak TLS as expected"),
    ],
)
def test_a_handshake_that_fails_has_a_sentence(answer: Answer | bytes, sentence: str, connect: Connect) -> None:
    with listening(answer) as server:
        assert sentence in connect(f"https://localhost:{server.port}").facts().message


def test_tls_where_plain_http_is_expected_is_told(authority: Authority, connect: Connect) -> None:
    with listening(EMPTY, authority.context()) as server:
        message = connect(f"http://localhost:{server.port}").facts().message
    assert "broke off its answer" in message
    assert "compare http with https" in message


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (saying(SETTINGS), "does not answer in time"),
        (saying(SETTINGS + b"\0\0\x08\7\0\0\0\0\0" + bytes(8)), "broke off its answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "broke off its answer"),
        (endless(SETTINGS, (b"\0\0\x08\6\0\0\0\0\0" + bytes(8)) * 100), "does not answer in time"),
    ],
    ids=["silent", "goes away", "HTTP/1.1", "pings"],
)
def test_http_2_that_is_none_has_a_sentence(
    answer: Answer | bytes, sentence: str, authority: Authority, connect: Connect
) -> None:
    with listening(answer, authority.context("localhost", (-1, 1), "h2")) as server, little_memory():
        assert sentence in connect(f"https://localhost:{server.port}").facts().message


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 1000 + b"\r\n"), id="headers"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n", 0.1), id="slow headers"),
        pytest.param(endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"), id="hints"),
        pytest.param(endless(OK + b"\r\n", b" " * (1 << 16)), id="body"),
        pytest.param(endless(OK + b"\r\n", b" ", 0.1), id="slow body"),
        pytest.param(endless(CHUNKED, b"0" * 1000), id="size of a chunk"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"X: " + b"a" * 1000 + b"\r\n"), id="trailers"),
        pytest.param(endless(b"HTTP/1.1 500 Error\r\n\r\n", b"a" * (1 << 16)), id="body of an error"),
        pytest.param(CHUNKED + b"zz\r\nabc", id="no size of a chunk"),
        pytest.param(CHUNKED + b"f" * 20 + b"\r\nabc", id="size of a chunk that is too large"),
        pytest.param(OK + b"Content-Length: 99999999999999999999\r\n\r\n[]", id="length"),
        pytest.param(OK + b'Content-Length: 11\r\n\r\n{"data": "\xff', id="no UTF-8"),
        pytest.param(OK + b"Content-Length: 9999\r\n\r\n" + b"1" * 9999, id="number"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="no content"),
        pytest.param(b"hello\n", id="HTTP/0.9"),
    ],
)
def test_an_answer_that_is_none_has_a_sentence(answer: Answer | bytes, connect: Connect) -> None:
    with listening(answer) as server, little_memory():
        begun = time.monotonic()
        facts = connect(f"http://localhost:{server.port}").facts()
        assert time.monotonic() - begun < 30
    assert facts.state == "down"
    assert facts.message.startswith(f"http://localhost:{server.port} ")
    assert len(facts.message) < 500


def test_what_is_packed_is_not_unpacked(connect: Connect) -> None:
    packed = gzip.compress(b" " * 300_000_000)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with listening(head + packed) as server, little_memory():
        assert "its answer is packed (gzip)" in connect(f"http://localhost:{server.port}").facts().message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_goes_to_another_host_that_a_server_names(status: int, connect: Connect) -> None:
    with listening(EMPTY) as other:
        there = f"http://127.0.0.1:{other.port}/v1/models".encode()
        moved = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, there)
        with listening(moved) as server:
            facts = connect(f"http://localhost:{server.port}", token="very-secret").facts()
        assert f"HTTP status {status}" in facts.message
        with listening(polite(lambda client: client.sendall(moved))) as server:
            engine = connect(f"http://localhost:{server.port}", token="very-secret")
            with pytest.raises(RemoteError, match=f"HTTP status {status}"):
                engine.complete(at_end(LONG))
        assert other.received == []


def event(text: str, finish: str | None = None, **more: object) -> bytes:
    said = {"choices": [{"text": text, "finish_reason": finish, **more}]}
    return b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n"


def then(*parts: bytes, pause: float = 0.2) -> Answer:
    """A stream in these parts."""

    def answer(client: socket.socket) -> None:
        for part in parts:
            client.sendall(part)
            time.sleep(pause)

    return answer


def streaming(part: bytes) -> Answer:
    """A stream that goes on with the same part until it is given up."""

    def answer(client: socket.socket) -> None:
        client.sendall(EVENTS)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            client.sendall(part)

    return answer


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param(then(EVENTS, event("return "), b'data: {"choi'), "broke off its answer", id="cut in an event"),
        pytest.param(then(EVENTS, b'data: {"choices": [{"text": "\xc3'), "broke off", id="cut in a character"),
        pytest.param(then(EVENTS), "broke off its answer", id="cut at once"),
        pytest.param(then(EVENTS, event("x").replace(b'"x"', b'"\xff"')), "codec", id="no UTF-8"),
        pytest.param(streaming(b"data: " + b"a" * (1 << 16)), "an event without an end", id="no end"),
        pytest.param(streaming(b": ping\n" * 1000), "does not answer in time", id="comments"),
        pytest.param(streaming(event("") * 1000), "does not answer in time", id="nothing"),
        pytest.param(then(EVENTS, event("x = 1\n" * 99_999)), "more text than was asked for", id="too much"),
    ],
)
def test_a_stream_that_is_none_has_a_sentence(answer: Answer, sentence: str, connect: Connect) -> None:
    with listening(polite(answer)) as server:
        engine = connect(f"http://localhost:{server.port}")
        assert engine.is_ready
        with little_memory(), pytest.raises(RemoteError, match=sentence):
            engine.complete(at_end(LONG))


@pytest.mark.parametrize("text", ["x", " ", "\n", "(", "\0", "\u2060"])
def test_a_stream_without_an_end_ends_with_the_suggestion(text: str, connect: Connect) -> None:
    with listening(polite(streaming(event(text) * 1000))) as server, little_memory():
        engine = connect(f"http://localhost:{server.port}")
        assert len(engine.complete(at_end(LONG)).text) < 1000
        assert engine.is_ready


def test_a_character_that_comes_in_two_parts_is_one(connect: Connect) -> None:
    whole = event("return 'é'\n", "stop")
    cut = whole.index("é".encode()) + 1
    with listening(polite(then(EVENTS, whole[:cut], whole[cut:], b"data: [DONE]\n\n"))) as server:
        assert connect(f"http://localhost:{server.port}").complete(at_end(LONG)).text == "return 'é'"
