"""Who may drive a server on a socket: an editor, and no web page, whatever it sends. No model needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evaluation.harness.client import SOON, Client, environment
from lsp_server.wire.introduction import Introduction, NotAnEditor, is_loopback
from syntax.children import python_command
from tests.lsp_server.test_cli import run

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"processId": None, "capabilities": {}}}
SECRET = "correct-horse-battery"


def frame(message: object, *headers: str) -> bytes:
    body = json.dumps(message).encode()
    return "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}", "")).encode() + body


REFUSED = {
    "what a web page posts": frame(
        INITIALIZE, "POST / HTTP/1.1", "Host: 127.0.0.1:9257", "Origin: https://example.org"
    ),
    "the same without a request line": frame(INITIALIZE, "Origin: https://example.org"),
    "a header after the length": frame(INITIALIZE).replace(b"\r\n\r\n", b"\r\nHost: 127.0.0.1\r\n\r\n", 1),
    "a request without a body": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another method": frame({**INITIALIZE, "method": "shutdown"}),
    "a notification": frame({key: value for key, value in INITIALIZE.items() if key != "id"}),
    "a request without a number": frame({**INITIALIZE, "id": None}),
    "parameters that are none": frame({**INITIALIZE, "params": None}),
    "no JSON": b"Content-Length: 3\r\n\r\n{{{",
    "two lengths": frame(INITIALIZE, "Content-Length: 3"),
    "no length": b"Content-Type: text/plain\r\n\r\n",
    "a gigabyte": b"Content-Length: 1000000000\r\n\r\n",
    "brackets": b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
    "a header without an end": b"Content-Type: " + b"x" * 10_000,
    "lines that end otherwise": b"Content-Length: 2\nHost: x\n\n{}",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_whatever_is_no_editor_is_refused(sent: bytes, piece: int) -> None:
    introduction = Introduction(None)
    step = max(piece, len(sent) // 1000)
    refusal = ""
    for data in [*(sent[start : start + step] for start in range(0, len(sent), step)), b""]:
        try:
            assert not introduction.feed(data)
        except NotAnEditor as error:
            refusal = str(error)
            break
    assert refusal
    assert not re.search("example|127|Host", refusal)


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_an_editor_is_known_by_its_first_message(piece: int) -> None:
    sent = frame(INITIALIZE, "content-type: application/vscode-jsonrpc; charset=utf-8")
    introduction = Introduction(None)
    answers = [introduction.feed(sent[start : start + piece]) for start in range(0, len(sent), piece)]
    assert answers == [False] * (len(answers) - 1) + [True]


@pytest.mark.parametrize("options", [{"token": SECRET}, {"mellum": {"token": SECRET}}, {"token": SECRET, "threads": 1}])
def test_a_token_lets_in(options: dict[str, object]) -> None:
    assert Introduction(SECRET).feed(frame({**INITIALIZE, "params": {"initializationOptions": options}}))


@pytest.mark.parametrize("options", [None, {}, {"token": None}, {"token": SECRET[:-1]}, {"token": [SECRET]}, SECRET])
def test_without_the_token_a_client_is_refused(options: object) -> None:
    with pytest.raises(NotAnEditor) as refusal:
        Introduction(SECRET).feed(frame({**INITIALIZE, "params": {"initializationOptions": options}}))
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("", False)])
def test_addresses_that_other_machines_reach_are_recognized(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@asynccontextmanager
async def listening(cache: Path, *options: str, **more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A server on a free port of this machine, and the port."""
    process = await asyncio.create_subprocess_exec(
        *python_command("lsp_server.cli", "serve", "--tcp", "127.0.0.1:0", *options),
        stderr=asyncio.subprocess.PIPE, env=environment(cache, **more),
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(SOON):
            while (found := re.search(rb"Listening on \S+:(\d+)", await process.stderr.readline())) is None:
                assert process.returncode is None
        yield process, int(found[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_page_is_dropped_and_the_server_stays_for_the_editor(tmp_path: Path) -> None:
    async with listening(tmp_path) as (process, port):
        silent = await asyncio.open_connection("127.0.0.1", port)  # it never says a word
        for sent in REFUSED.values():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):  # dropped before all of it had arrived
                assert await asyncio.wait_for(reader.read(), SOON) == b""
            writer.close()
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        await client.initialize()
        await client.state("no-model")
        assert await asyncio.wait_for(silent[0].read(), SOON) == b""
        silent[1].close()
        await client.shut_down()
        assert await asyncio.wait_for(process.wait(), SOON) == 0
        await client.close()


async def test_a_token_is_asked_for_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    async with listening(tmp_path, "--token-file", str(file), MELLUM_LSP_LOG="debug") as (process, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frame(INITIALIZE))
        assert await asyncio.wait_for(reader.read(), SOON) == b""
        writer.close()
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        await client.initialize(initializationOptions={"token": SECRET})
        await client.state("no-model")
        assert not [one for one in client.notifications("window/logMessage") if "setting" in one["message"]]
        await client.shut_down()
        await client.close()
        assert process.stderr is not None
        assert SECRET.encode() not in await process.stderr.read()


@pytest.mark.parametrize(
    ("options", "variables", "sentence"),
    [
        (["--tcp", "0.0.0.0:0"], {}, "Other machines could connect to 0.0.0.0: give a token"),
        (["--tcp", "[::]:0"], {}, "Other machines could connect to ::: give a token"),
        (["--tcp", "0"], {"MELLUM_LSP_TOKEN": "short"}, "The token is too short"),
        (["--tcp", "0", "--token-file", "/no/such/file"], {}, "The token cannot be read from /no/such/file"),
        (["--tcp", "99999"], {}, "cannot listen on 127.0.0.1:99999"),
    ],
)
def test_what_would_be_unsafe_is_one_sentence(options: list[str], variables: dict[str, str], sentence: str) -> None:
    done = run("serve", *options, **variables)
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
