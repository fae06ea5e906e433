"""A proxy on the way to another machine: taken where it is meant, and named in the sentence where it fails."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.remote.address import RemoteError, parse_address, proxy_for
from tests.engine.remote.conftest import Connect
from tests.engine.remote.listening import Answer, join, listening
from tests.engine.remote.running import ELSEWHERE, Running, free_port, running, wait_for
from tests.engine.remote.test_remote_engine import CODE, LONG, at_end

GPU = f"https://{ELSEWHERE}:8000"
PLAIN = GPU.replace("https", "http")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def encrypted(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(model_cache, tls=tmp_path_factory.mktemp("certificates")) as server:
        yield server


def connecting_to(port: int) -> Answer:
    """What a proxy does that takes CONNECT, and leads to one server of this machine."""

    def answer(client: socket.socket) -> None:
        assert client.recv(1 << 16).startswith(b"CONNECT gpu.example:8000 ")
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        join(client, port)

    return answer


def socks_to(port: int) -> Answer:
    """What a SOCKS proxy does (RFC 1928), with names that it looks up itself."""

    def answer(client: socket.socket) -> None:
        assert client.recv(1 << 16)[0] == 5
        client.sendall(b"\5\0")
        asked = client.recv(1 << 16)
        assert ELSEWHERE.encode() in asked
        client.sendall(b"\5\0\0\1" + bytes(6))
        join(client, port)

    return answer


@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks"])
def test_the_way_through_a_proxy(
    kind: str, encrypted: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted.behave(pause=0.02)
    assert encrypted.authority is not None
    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
    trust = None
    if kind == "https":
        trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        folder = encrypted.authority.parent
        trust.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    answer = socks_to(encrypted.port) if "socks" in kind else connecting_to(encrypted.port)
    with listening(answer, trust) as proxy:
        at = f"localhost:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", f"{kind}://{at}")
        engine = connect(GPU)
        assert f"it is reached through the proxy {kind.removesuffix('5')}" in engine.facts().message
        for count in (1, 2):  # what ends a stream goes the same way
            engine.complete(at_end(LONG), until=time.perf_counter())
            wait_for(lambda: encrypted.seen()["cancelled"] == count)  # noqa: B023
        assert engine.complete(at_end(CODE)).text
        assert engine.connection.protocol == "HTTP/2"
        assert len(set(encrypted.seen()["clients"])) == 1, "no connection was broken by a cancelled request"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "does not connect to gpu.example (403 Forbidden)"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "does not connect to gpu.example (502 Bad Gateway)"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1\r\n\r\n", "does not connect to gpu.example (302 Found)"),
        (b"\0\1 what is no proxy\r\n", "breaks off, or is none"),
        (b"", "breaks off, or is none"),
    ],
)
def test_a_proxy_that_does_not_lead_on_is_named(
    answer: bytes, sentence: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass-word@127.0.0.1:{proxy.port}")
        message = connect(GPU, token="very-secret").facts().message
    assert f"The proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY) {sentence}" in message
    assert "or let NO_PROXY name gpu.example" in message
    assert "pass-word" not in message
    assert proxy.received
    assert all(b"very-secret" not in one for one in proxy.received)


@pytest.mark.parametrize("url", [GPU, PLAIN])
@pytest.mark.parametrize(("login", "what"), [("", "wants a name and a password"), ("a:b@", "refuses the name and")])
def test_a_proxy_that_wants_a_password_says_where_it_is_written(
    url: str, login: str, what: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        at = f"127.0.0.1:{proxy.port}"
        monkeypatch.setenv("ALL_PROXY", f"http://{login}{at}")
        message = connect(url).facts().message
    assert f"The proxy http://{at} (ALL_PROXY) {what}" in message
    assert f"Write them into ALL_PROXY, as http://NAME:PASSWORD@{at}" in message


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_that_is_silent_or_gone_is_named(kind: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"{kind}://127.0.0.1:{(port := free_port())}")
    refusing = f"The proxy {kind}://127.0.0.1:{port} (https_proxy) refuses the connection. Correct https_proxy"
    assert refusing in connect(GPU).facts().message
    monkeypatch.setenv("https_proxy", f"{kind}://no-proxy.invalid:3128")
    assert f"The proxy {kind}://no-proxy.invalid:3128 (https_proxy) is on no host" in connect(GPU).facts().message
    monkeypatch.setattr("engine.remote.connection._READ_WITHIN", 0.5)
    over = threading.Event()

    def hold(_: socket.socket) -> None:
        over.wait(60)

    with listening(hold) as proxy:
        monkeypatch.setenv("https_proxy", f"{kind}://127.0.0.1:{proxy.port}")
        assert f"127.0.0.1:{proxy.port} (https_proxy) does not answer in time" in connect(GPU).facts().message
        over.set()


def test_what_a_plain_server_says_through_a_proxy_may_be_said_by_the_proxy(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
        message = connect(PLAIN).facts().message
    assert message.endswith(f". It is reached through the proxy http://127.0.0.1:{proxy.port} (HTTP_PROXY)")


@pytest.mark.parametrize("written", ["socks4://10.0.0.1", "ftp://proxy", "http://", "http://a:b", "::", "http://[::1"])
def test_what_is_no_proxy_has_a_sentence(written: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", written)
    assert connect(GPU).facts().message.startswith("The proxy in HTTPS_PROXY ")


def test_without_its_package_a_socks_proxy_has_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "socksio", raising=False)
    with pytest.raises(RemoteError, match=r"speaks SOCKS, for which socksio is missing. Run: pip install"):
        proxy_for(parse_address(GPU))


@pytest.mark.parametrize(
    ("url", "excepted"),
    [
        (GPU, "gpu.example"),
        (GPU, "other, .example"),
        (GPU, "gpu.example:8000"),
        (GPU, "*"),
        ("https://10.1.2.3", "10.0.0.0/8"),
        ("https://[fd00::1]:8000", "[fd00::]/8"),
        ("https://localhost", ""),
        ("http://127.0.0.2", ""),
    ],
)
def test_some_servers_need_no_proxy(url: str, excepted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://no.use")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert proxy_for(parse_address(url)) is None


@pytest.mark.parametrize("excepted", ["", "example.org", "u.example", "gpu.example:1", "10.0.0.0/8", "[::, http://[,/"])
def test_others_do(excepted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", excepted)
    monkeypatch.setenv("ALL_PROXY", "socks4://no.use")  # not the one that is meant
    monkeypatch.setenv("HTTPS_PROXY", "http://na%40me:@Proxy:3128")
    proxy = proxy_for(parse_address(GPU))
    assert proxy is not None
    assert (proxy.url, proxy.login, proxy.source) == ("http://proxy:3128", ("na@me", ""), "HTTPS_PROXY")
