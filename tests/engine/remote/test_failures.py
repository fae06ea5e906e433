"""Each failure of another machine has its sentence, and the engine comes back by itself."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Cancelled
from engine.remote.address import RemoteError, parse_address
from engine.remote.connection import Connection
from evaluation.harness.client import SOON
from tests.engine.remote.conftest import Connect
from tests.engine.remote.openai_server import MODEL
from tests.engine.remote.running import Running, free_port, running, wait_for
from tests.engine.remote.test_remote_engine import CODE, LONG, at_end


@pytest.fixture(scope="module")
def encrypted(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a certificate of an authority that this machine does not know."""
    with running(model_cache, tls=tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ({"token": "secret"}, "wants a token. Run: mellum-lsp remote allow"),
        ({"status": 500, "message": "out of memory"}, "fails (HTTP status 500, out of memory). See its log"),
        ({"status": 503, "message": "Loading model"}, "is busy or still loading, Loading model. It is asked again"),
        ({"status": 404}, "is not an OpenAI-compatible completions server"),
        ({"models": ["a", "b"]}, "serves several models. Set `remote.model` to one of: a, b"),
        ({"models": []}, "serves several models"),
    ],
)
def test_a_greeting_that_fails_has_a_sentence(
    behaviour: dict[str, object], sentence: str, server: Running, connect: Connect
) -> None:
    server.behave(**behaviour)
    engine = connect()
    facts = engine.facts()
    assert facts.state == "down"
    assert sentence in facts.message
    with pytest.raises(RemoteError) as raised:
        engine.complete(at_end(CODE))
    assert str(raised.value) == engine.facts().message


def test_a_wrong_token_has_a_sentence_and_the_right_one_works(server: Running, connect: Connect) -> None:
    server.behave(token="right")
    assert "refuses the token" in connect(token="wrong").facts().message
    assert connect(token="right").complete(at_end(CODE)).text


def test_a_model_that_is_not_served_has_a_sentence(connect: Connect) -> None:
    assert f"does not serve mellum. Set `remote.model` to one of: {MODEL}" in connect(model="mellum").facts().message


def test_nothing_that_listens_has_a_sentence(connect: Connect) -> None:
    assert "refuses the connection" in connect(f"http://127.0.0.1:{free_port()}").facts().message


def test_a_host_that_is_not_there_has_a_sentence(connect: Connect) -> None:
    assert "There is no host no-such-host.invalid" in connect("http://no-such-host.invalid").facts().message


def test_a_certificate_of_an_unknown_authority_is_refused_and_of_a_known_one_is_taken(
    encrypted: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted.behave()
    assert "The certificate of localhost is not trusted" in connect(encrypted.url).facts().message
    assert encrypted.seen()["prompts"] == []
    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
    engine = connect(encrypted.url)
    assert engine.complete(at_end(CODE)).text
    assert engine.connection.protocol == "HTTP/2"


def test_with_http_2_a_cancelled_request_keeps_the_connection(
    encrypted: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
    encrypted.behave(pause=0.02)
    engine = connect(encrypted.url)
    for count in (1, 2, 3):
        engine.complete(at_end(LONG), until=time.perf_counter())
        wait_for(lambda: encrypted.seen()["cancelled"] == count)  # noqa: B023
    engine.complete(at_end(CODE))
    seen = encrypted.seen()
    assert seen["http"] == ["2"] * 4
    assert len(set(seen["clients"])) == 1
    assert seen["decoded"] < 40


def test_with_http_2_hundreds_of_requests_are_cancelled(
    model_cache: Path, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(model_cache, tls=tmp_path) as encrypted:
        monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
        encrypted.behave(delay=30.0)
        engine = connect(encrypted.url)
        for _ in range(220):
            looks = iter([False, False])
            with pytest.raises(Cancelled):
                engine.complete(at_end(CODE), lambda: next(looks, True))  # noqa: B023
        came = len(encrypted.seen()["prompts"])  # a request that is cancelled while it connects does not come at all
        assert came > 110, "more than a server lets one connection have"
        wait_for(lambda: encrypted.seen()["cancelled"] >= came)
        encrypted.behave()
        assert engine.complete(at_end(CODE)).text
        assert engine.is_ready


def test_a_request_that_is_cancelled_while_it_connects_spoils_no_connection(
    encrypted: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection takes some milliseconds to open; each round cancels somewhat later."""
    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
    encrypted.behave(delay=SOON)
    body = {"model": MODEL, "prompt": "x", "max_tokens": 4, "stream": True}
    for step in range(100):
        connection = Connection(parse_address(encrypted.url))
        stream = connection.stream("/v1/completions", body, lambda event: None, model=MODEL)
        time.sleep(step * 0.0004)
        stream.cancel()
        for _ in range(3):
            assert connection.start(connection.get("/v1/models")).result(SOON)["data"]
        assert connection.protocol == "HTTP/2"
        connection.close()
    came = len(encrypted.seen()["prompts"])
    assert 0 < came < 100, "some are cancelled before they are sent, and some after it"
    wait_for(lambda: encrypted.seen()["cancelled"] == came)


def test_tls_is_not_confused_with_plain_http(encrypted: Running, server: Running, connect: Connect) -> None:
    assert connect(encrypted.url.replace("https", "http")).facts().state == "down"
    assert "does not speak TLS" in connect(server.url.replace("http", "https")).facts().message


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ({"break_after": 2}, "broke off its answer"),
        ({"kind": "text/html"}, "its answer is text/html, and no stream of events"),
        ({"status": 500, "at": ["/v1/completions"]}, "fails (HTTP status 500"),
        ({"status": 404, "at": ["/v1/completions"], "message": "model is gone"}, "does not serve the model"),
    ],
)
def test_an_answer_that_fails_has_a_sentence_and_the_engine_comes_back(
    behaviour: dict[str, object], sentence: str, server: Running, connect: Connect
) -> None:
    told: list[str] = []
    engine = connect(on_change=lambda: told.append(engine.facts().state))
    server.behave(**behaviour)
    with pytest.raises(RemoteError) as raised:
        engine.complete(at_end(LONG))
    assert sentence in str(raised.value)
    assert told[-1] == "down"
    server.behave()
    wait_for(lambda: engine.is_ready)
    assert engine.complete(at_end(CODE)).text
    assert told[-2:] == ["down", "ready"]


def test_a_request_that_is_not_taken_is_no_loss_of_the_server(server: Running, connect: Connect) -> None:
    engine = connect()
    server.behave(status=400, message="the prompt is too long")
    with pytest.raises(RemoteError, match=r"does not take the request .* the prompt is too long"):
        engine.complete(at_end(CODE))
    assert engine.is_ready


def test_a_server_that_is_killed_in_its_answer_is_found_again(model_cache: Path, connect: Connect) -> None:
    with running(model_cache) as first:
        first.behave(pause=0.1)
        engine = connect(first.url)
        killing = threading.Timer(0.5, first.kill)
        killing.start()
        with pytest.raises(RemoteError) as raised:
            engine.complete(at_end(LONG, max_tokens=200))
        assert "broke off its answer" in str(raised.value)
        wait_for(lambda: "refuses the connection" in engine.facts().message)
    with running(model_cache, port=first.port):
        wait_for(lambda: engine.is_ready)
        assert engine.complete(at_end(CODE)).text


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\1\2 not http",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html></h",
        b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"data": [{"id": 1.5}]}',
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n" + b'{"data": [{"id": "a"}, {"id": "\\u001b[m"}]}',
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_no_such_server_has_a_sentence(answer: bytes, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    client.recv(1 << 16)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        facts = connect(f"http://127.0.0.1:{listening.getsockname()[1]}").facts()
        listening.shutdown(socket.SHUT_RDWR)
    assert facts.state == "down"
    assert facts.message.startswith("http://127.0.0.1:")
    assert facts.message.isprintable()


@pytest.mark.parametrize(
    "url",
    ["", "gpu:8000", "ftp://gpu", "https://", "https://a:b@gpu", "https://gpu/?a=b", "https://gpu:x", "file:///a"],
)
def test_what_is_no_address_has_a_sentence(url: str) -> None:
    with pytest.raises(RemoteError, match=r"`remote\.url`"):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://gpu/v1/", "https://gpu"),
        ("https://GPU:443/llm/v1", "https://gpu/llm"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_is_read_with_and_without_its_version(url: str, base: str) -> None:
    assert parse_address(url).base == base


def test_a_token_does_not_cross_a_network_unencrypted() -> None:
    connection = Connection(parse_address("http://gpu.example:8000"))
    with pytest.raises(RemoteError, match="Use https"):
        connection.use("secret")
    connection.close()


@pytest.mark.parametrize("token", ["secret token", "secret\nX: y", "s\u00e9cret", "secret\0"])
def test_what_is_no_token_is_not_quoted(token: str, server: Running, connect: Connect) -> None:
    facts = connect(token=token).facts()
    assert facts.state == "down"
    assert "The token holds characters that no token has" in facts.message
    assert "cret" not in facts.message


def test_spaces_around_a_token_are_no_part_of_it(server: Running, connect: Connect) -> None:
    server.behave(token="very-secret")
    assert connect(token=" very-secret\r\n").is_ready


def test_a_server_that_quotes_the_token_is_not_quoted_and_the_status_says_what_it_refuses(
    server: Running, connect: Connect
) -> None:
    engine = connect(token="very-secret")
    server.behave(status=400, at=["/v1/completions"], message="bad header Authorization: Bearer very-secret")
    with pytest.raises(RemoteError, match=r"bad header Authorization: Bearer \(the token\)"):
        engine.complete(at_end(CODE))
    message = engine.facts().message
    assert "is ready; but it refused the last request: " in message
    assert "very-secret" not in message
    server.behave()
    engine.complete(at_end(CODE))
    assert "refused" not in engine.facts().message


def test_an_answer_that_does_not_begin_in_time_is_given_up(
    server: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.remote.engine._BEGUN_WITHIN", 0.3)
    engine = connect()
    server.behave(delay=60.0)
    with pytest.raises(RemoteError, match="does not answer in time"):
        engine.complete(at_end(CODE))
    wait_for(lambda: server.seen()["cancelled"] == 1)


def test_a_keyring_that_waits_for_its_user_holds_up_no_end() -> None:
    program = (
        "import time; from engine.remote.engine import RemoteEngine\n"
        "engine = RemoteEngine('http://127.0.0.1:1', None, credentials=lambda: time.sleep(600))\n"
        "time.sleep(0.5); engine.close()"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_no_log_holds_a_token(
    encrypted: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
    encrypted.behave(token="very-secret")
    with caplog.at_level(logging.DEBUG):
        assert connect(encrypted.url, token="very-secret").complete(at_end(CODE)).text
    assert caplog.records
    assert "very-secret" not in caplog.text


def test_certificates_are_always_checked() -> None:
    from engine.remote.connection import _trust

    context = _trust()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
