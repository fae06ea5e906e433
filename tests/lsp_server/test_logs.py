"""What is logged, at any level and whatever goes wrong, holds no text of a document."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.harness.client import SOON, completion, edit, serving
from lsp_server.wire.logs import _Discreet
from lsp_server.wire.protocol import summary
from syntax.children import child_environment
from syntax.tracebacks import described, traceback_of

TEXT = "hunter2_of_the_user"
URI = "file:///workspace/some.py"
DOCUMENT = {"uri": URI, "languageId": "python", "version": 1, "text": f"password = '{TEXT}'\n"}


def messages() -> list[Any]:
    """Broken in every way that came to mind, each with the text in it."""
    at = {"line": 0, "character": 0}
    opened = {"method": "textDocument/didOpen", "params": {"textDocument": DOCUMENT}}
    complete = {"id": 7, "method": "textDocument/inlineCompletion"}
    wrong: list[Any] = [
        TEXT,
        [TEXT],
        {TEXT: TEXT},
        {"method": TEXT, "params": {"text": TEXT}},
        {"id": TEXT, "method": TEXT, "params": {TEXT: TEXT}},
        {"id": TEXT},
        {"id": 1, "result": TEXT},
        {"id": TEXT, "error": {"code": 1, "message": TEXT, "data": TEXT}},
        {"id": 10_000, "error": TEXT},
        {"method": [TEXT]},
        {"id": [TEXT], "method": "initialize", "params": TEXT},
        {"id": 2, "method": "initialize", "params": {"capabilities": TEXT, "initializationOptions": TEXT}},
        {"id": 3, "method": "shutdown", "params": TEXT, "jsonrpc": TEXT},
        {"id": 4, "method": "mellum/status", "params": TEXT},
        {"id": 5, "method": "workspace/executeCommand", "params": {"command": TEXT, "arguments": [TEXT]}},
        {"id": 6, "method": "workspace/executeCommand", "params": {"command": "mellum.accepted", "arguments": [TEXT]}},
        {"method": "$/cancelRequest", "params": {"id": TEXT}},
        {"method": "$/setTrace", "params": {"value": TEXT}},
        {"method": "workspace/didChangeConfiguration", "params": {"settings": {"mellum": {"maxTokens": TEXT}}}},
        {"method": "workspace/didChangeWatchedFiles", "params": {"changes": [{"uri": TEXT, "type": TEXT}]}},
        {"method": "workspace/didChangeWorkspaceFolders", "params": {"event": TEXT}},
        opened,
        {"method": "textDocument/didOpen", "params": {"textDocument": {**DOCUMENT, "version": TEXT}}},
        {"method": "textDocument/didOpen", "params": {"textDocument": {**DOCUMENT, "uri": f"{URI} {TEXT}"}}},
        {"method": "textDocument/didOpen", "params": {"textDocument": {**DOCUMENT, "uri": [TEXT]}}},
        {"method": "textDocument/didOpen", "params": {"textDocument": TEXT}},
        {"method": "textDocument/didOpen", "params": [TEXT]},
        {"method": "textDocument/didSave", "params": {"textDocument": {"uri": URI}, "text": [TEXT]}},
        {"method": "textDocument/didClose", "params": {"textDocument": {"uri": TEXT}}},
        {**complete, "params": {"textDocument": {"uri": URI}, "position": TEXT, "context": TEXT}},
        {**complete, "params": {"textDocument": {"uri": URI}, "position": {"line": TEXT, "character": 0}}},
        {**complete, "params": {"textDocument": {"uri": TEXT}, "position": at, "context": {"triggerKind": 1}}},
        {**complete, "params": {"textDocument": {"uri": URI}, "position": at, "context": {"triggerKind": TEXT}}},
        {**complete, "params": {"textDocument": {"uri": URI}, "position": {"line": 99, "character": 99}}},
    ]
    for changes in (TEXT, [TEXT], [{"text": [TEXT]}], [{"range": TEXT, "text": TEXT}], [{"rangeLength": TEXT}]):
        params = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": changes}
        wrong.append({"method": "textDocument/didChange", "params": params})
    for uri in (TEXT, f"file:///a.py\n{TEXT}", f"http://[{TEXT}"):
        wrong.append({"method": "textDocument/didOpen", "params": {"textDocument": {**DOCUMENT, "uri": uri}}})
        wrong.append(
            {"method": "textDocument/didChange", "params": {"textDocument": {"uri": uri}, "contentChanges": []}}
        )
    wrong.append({"id": 40, "method": TEXT})
    wrong.append({"method": TEXT})
    wrong.append({"id": TEXT, "result": None})
    far = edit((10**9, 0), (0, 10**9), TEXT)
    wrong.append(
        {"method": "textDocument/didChange", "params": {"textDocument": {"uri": URI}, "contentChanges": [far]}}
    )
    return wrong


def frames() -> list[bytes]:
    """Broken framing, each with the text in it, and each followed by a whole message."""
    text = TEXT.encode()
    follower = b"Content-Length: 2\r\n\r\n{}"
    return [
        b"Content-Length: " + text + b"\r\n\r\n" + follower,
        text + b"\r\n\r\n" + follower,
        b"X-Text: " + text + b"\r\n\r\n" + follower,
        b"Content-Length: 5\r\n\r\n" + text + b"\r\n\r\n" + follower,
        b"Content-Length: %d\r\n\r\n" % (len(text) + 4) + b'{"a"' + text + follower,
        b"Content-Length: %d\r\n\r\n" % (len(text) + 1) + b"\xff" + text + follower,
        text * 2000 + b"\r\n\r\n" + follower,
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="sockets that keep writes apart are Linux's")
def test_a_record_is_one_write() -> None:
    """An editor that takes each piece it reads for a message shows whole ones, also where Python does not buffer."""
    records = ["of one line", "of two\nlines", "the last"]
    code = f"""
import logging
from lsp_server.wire.logs import start_logging
handler = start_logging()
for record in {records}:
    logging.warning(record)
assert handler.drain(20)
raise ValueError
"""
    read, written = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read.settimeout(SOON)
    with read, written:
        command = [sys.executable, "-u", "-c", code]
        assert subprocess.run(command, stderr=written, env=child_environment({})).returncode == 1
        pieces = [read.recv(100_000).decode() for _ in range(4)]
    for piece, end in zip(pieces, [*records, "ValueError"], strict=True):
        assert piece.endswith(f"{end}\n")


async def test_whatever_a_client_sends_no_text_reaches_the_log(model_cache: Path) -> None:
    async with serving(model_cache, MELLUM_LSP_LOG="debug") as server:
        client = server.client
        await client.initialize()
        await client.state("ready", within=4 * SOON)
        for message in messages():
            if isinstance(message, dict) and isinstance(message.get("id"), int):
                message["id"] += 1000  # none of the client's own
            body = json.dumps({"jsonrpc": "2.0", **message} if isinstance(message, dict) else message).encode()
            client.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for frame in frames():
            client.send_bytes(frame)
        client.open(URI, DOCUMENT["text"])
        await client.request(*completion(URI, 0, 8))
        assert await client.request("mellum/status")
        client.send_bytes(b"Content-Length: 1000\r\n\r\n" + TEXT.encode())
        assert server.process.stdin is not None
        server.process.stdin.close()
        await server.wait()
    assert b"DEBUG" in server.stderr
    assert b"without Content-Length" in server.stderr
    assert b"in the middle of a message" in server.stderr
    assert TEXT.encode() not in server.stderr
    assert TEXT[:8].encode() not in server.stderr


@pytest.mark.parametrize(
    "error",
    [
        ValueError(TEXT),
        KeyError(TEXT),
        UnicodeEncodeError("ascii", TEXT, 0, 1, TEXT),
        ExceptionGroup(TEXT, [ValueError(TEXT)]),
        sqlite3.OperationalError(f'fts5: syntax error near "{TEXT}"'),
        RuntimeError(TEXT),
        Exception(TEXT),
    ],
    ids=lambda error: type(error).__name__,
)
def test_of_an_error_only_what_holds_no_text_is_logged(error: Exception) -> None:
    try:
        raise TypeError(TEXT) from error
    except TypeError as caught:
        record = logging.LogRecord(
            "any", logging.ERROR, __file__, 1, "Went wrong: %s", (error,), (type(caught), caught, caught.__traceback__)
        )
    logged = _Discreet("%(message)s").format(record)
    assert TEXT not in logged
    assert type(error).__name__ in logged
    assert "test_logs.py" in logged


def test_what_the_system_says_is_logged() -> None:
    error = FileNotFoundError(2, "No such file or directory", "model.onnx")
    assert "model.onnx" in described(error)
    assert traceback_of(error).endswith(described(error))


def test_a_message_is_named_by_what_it_should_be() -> None:
    position = {"line": 3, "character": 4}
    message = {
        "id": 1,
        "method": "textDocument/inlineCompletion",
        "params": {"textDocument": {"uri": URI}, "position": position},
    }
    assert summary(message) == f"textDocument/inlineCompletion, id 1, uri {URI}, position 3:4"
