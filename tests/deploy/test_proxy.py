"""The proxy's real configuration in a real nginx on loopback, with a certificate of our own and a small upstream."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
SOON = 60.0
TOKEN = "0123456789abcdef" * 4
NAMES = [f"developer-{number}" for number in range(24)]
CHUNKS = [b'data: {"choices": [{"text": "one"}]}\n\n', b"data: [DONE]\n\n"]

pytestmark = pytest.mark.skipif(
    NGINX is None and not os.environ.get("MELLUM_LSP_MUST_OBSERVE"), reason="nginx is not there (nginx-light)"
)


@dataclass
class Upstream:
    """A server that answers like vLLM, one chunk at a time; the second one when the test says so."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection was closed before the answer was complete."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(one.split(":")[1]) for one in head.split("\r\n") if one.startswith("Content-L")), 0)
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                writer.write(_chunk(CHUNKS[0]))
                await writer.drain()
                closed = asyncio.create_task(reader.read(1))
                ending = asyncio.create_task(self.may_end.wait())
                await asyncio.wait([closed, ending], return_when=asyncio.FIRST_COMPLETED)
                if not self.may_end.is_set():
                    self.left.set()
                    ending.cancel()
                    break
                closed.cancel()
                with suppress(asyncio.CancelledError):
                    await closed
                writer.write(_chunk(CHUNKS[1]) + _chunk(b""))
                await writer.drain()
        writer.close()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    found = Upstream()
    async with await asyncio.start_server(found.answer, "127.0.0.1", 0) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    port: int
    trust: ssl.SSLContext

    async def ask(
        self, path: str = "/v1/completions", token: str | None = TOKEN, method: str = "POST", body: bytes = b"{}"
    ) -> tuple[int, dict[str, str], asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request; returns status, headers, and the stream of the answer."""
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.trust)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        head += f"Authorization: Bearer {token}\r\n" if token is not None else ""
        writer.write(f"{head}\r\n".encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers, reader, writer

    async def status(self, **more: object) -> int:
        """The status alone."""
        status, _, _, writer = await self.ask(**more)  # type: ignore[arg-type]
        writer.close()
        return status


def installed(folder: Path, ports: list[int]) -> tuple[Path, int, ssl.SSLContext]:
    """Put the configuration into a folder, with paths and ports of the test; returns file, port, and whom to trust."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    for name in ("tls", "tokens"):
        (folder / name).mkdir(parents=True)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "tls" / "both.pem")
    (folder / "tls" / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(folder / "tls" / "tls.key")
    lines = [f'"Bearer {TOKEN}" me;'] + [f'"Bearer {name}" {name};' for name in NAMES]
    (folder / "tokens" / "tokens.map").write_text("\n".join(lines) + "\n", encoding="utf-8")
    servers = "\n".join(f"server 127.0.0.1:{one};" for one in ports)
    upstreams = (DEPLOY / "nginx" / "upstream.conf").read_text(encoding="utf-8")
    assert "server vllm:8000;" in upstreams
    (folder / "upstream.conf").write_text(upstreams.replace("server vllm:8000;", servers), encoding="utf-8")
    text = (DEPLOY / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    text = text.replace("/tmp/", f"{folder}/").replace("/etc/mellum", str(folder))
    text = text.replace("listen 8443", f"listen 127.0.0.1:{port}").replace("/dev/stdout", f"{folder}/access.log")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return folder / "nginx.conf", port, trust


@asynccontextmanager
async def proxy(folder: Path, *ports: int) -> AsyncIterator[Proxy]:
    assert NGINX is not None, "install nginx-light"
    file, port, trust = installed(folder, list(ports))
    process = await asyncio.create_subprocess_exec(
        NGINX,
        "-p",
        str(folder),
        "-c",
        str(file),
        "-e",
        "stderr",
        "-g",
        "daemon off;",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SOON):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert process.returncode is None
                await asyncio.sleep(0.02)
            yield Proxy(port, trust)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mellum"


def test_nginx_takes_the_configuration(folder: Path) -> None:
    assert NGINX is not None, "install nginx-light"
    file, _, _ = installed(folder, [1])
    done = subprocess.run(
        [NGINX, "-t", "-e", "stderr", "-p", str(folder), "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


async def test_without_a_valid_token_nothing_reaches_the_model(folder: Path) -> None:
    async with upstream() as model, proxy(folder, model.port) as there:
        for token in (None, "", "wrong", TOKEN[:-1], f"{TOKEN} "[1:]):
            status, headers, reader, writer = await there.ask(token=token)
            assert status == 401
            assert headers["www-authenticate"] == "bearer"
            assert json.loads(await reader.read())["error"]["code"] == 401
            writer.close()
            assert await there.status(path="/v1/models", method="GET", token=token) == 401
            assert await there.status(path="/tokenize", token=token) == 401
        assert not model.heads


async def test_a_token_opens_what_an_editor_needs_and_nothing_else(folder: Path) -> None:
    async with upstream() as model, proxy(folder, model.port) as there:
        model.may_end.set()
        status, headers, reader, writer = await there.ask(body=b'{"prompt": [1, 2, 3], "stream": true}')
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert CHUNKS[0] in await reader.read()
        writer.close()
        assert await there.status(path="/v1/models", method="GET") == 200
        assert await there.status(path="/tokenize") == 200
        assert model.bodies[0] == b'{"prompt": [1, 2, 3], "stream": true}'
        assert not [head for head in model.heads if "authorization" in head.lower()]
        reached = len(model.heads)
        for path in ("/metrics", "/detokenize", "/pause", "/v1/chat/completions", "/v1/completions/x", "/health", "/"):
            assert await there.status(path=path) == 404
        assert await there.status(method="GET") == 403
        assert await there.status(body=b"x" * 600_000) == 413
        assert len(model.heads) == reached
    log = (folder / "access.log").read_text(encoding="utf-8")
    assert " me 200 " in log
    assert TOKEN not in log
    assert "prompt" not in log


async def test_tokens_are_streamed_as_they_come(folder: Path) -> None:
    async with upstream() as model, proxy(folder, model.port) as there, asyncio.timeout(SOON):
        _, _, reader, writer = await there.ask()
        received = b""
        while CHUNKS[0] not in received:  # the second one is not sent before this one was seen
            received += await reader.read(1 << 12)
        assert CHUNKS[1] not in received
        model.may_end.set()
        assert CHUNKS[1] in await reader.read()
        writer.close()


async def test_a_client_that_goes_away_ends_the_request_at_the_model(folder: Path) -> None:
    async with upstream() as model, proxy(folder, model.port) as there, asyncio.timeout(SOON):
        _, _, reader, writer = await there.ask()
        assert await reader.read(1)
        assert not model.left.is_set()
        writer.transport.abort()
        await model.left.wait()


async def test_the_certificate_is_checked_and_http_2_offered(folder: Path) -> None:
    async with upstream() as model, proxy(folder, model.port) as there:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("localhost", there.port, ssl=ssl.create_default_context())
        there.trust.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection("localhost", there.port, ssl=there.trust)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.close()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        assert old.maximum_version is not None
        _, writer = await asyncio.open_connection("localhost", there.port, ssl=old)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()


async def test_each_developer_always_gets_the_same_card(folder: Path) -> None:
    async with upstream() as one, upstream() as other, proxy(folder, one.port, other.port) as there:
        one.may_end.set()
        other.may_end.set()
        places: dict[str, set[int]] = {name: set() for name in NAMES}
        for _ in range(3):
            for name in NAMES:
                before = len(one.heads)
                assert await there.status(token=name) == 200
                places[name].add(len(one.heads) - before)
        assert all(len(seen) == 1 for seen in places.values())
        assert len(set.union(*places.values())) == 2


async def test_a_client_that_runs_wild_is_slowed_down_and_others_are_not(folder: Path) -> None:
    async with upstream() as model, proxy(folder, model.port) as there:
        model.may_end.set()
        statuses = await asyncio.gather(*(there.status(token=NAMES[0]) for _ in range(120)))
        assert 429 in statuses
        assert await there.status(token=NAMES[1]) == 200


async def test_a_model_that_is_not_there_is_a_sentence(folder: Path) -> None:
    async with upstream() as model:
        port = model.port
    async with proxy(folder, port) as there:
        status, _, reader, writer = await there.ask()
        assert status == 503
        assert "The model is not ready" in json.loads(await reader.read())["error"]["message"]
        writer.close()
        assert await there.status(path="/healthz", method="GET", token=None) == 204
