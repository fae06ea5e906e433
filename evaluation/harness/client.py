"""A small language client: a real server process, raw JSON-RPC, and everything that the server says recorded.

For the benchmarks, and for the tests of the server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsp_server.statistics.events import STATE_VARIABLE
from syntax.children import child_environment

HOUSE = Path(__file__).parents[2]
SOON = 100.0
"""Seconds in which whatever is waited for must have happened, on a slow and busy machine."""


class ServerError(Exception):
    """An error response."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]


class Client:
    """One end of a connection. Messages are plain dicts; `recorded` holds whatever is not a response to us."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = itertools.count(1)
        self._pending: dict[Any, asyncio.Future[Any]] = {}
        self._heard = asyncio.Condition()
        self.recorded: list[dict[str, Any]] = []
        self.responses: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        """By method: what to answer to requests of the server; an exception's text is sent as an error."""
        self.capabilities: dict[str, Any] = {}
        self._listening = asyncio.create_task(self._listen())

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message as it is."""
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self._writer.write(data)

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self.send({"method": method, "params": params})

    def start_request(self, method: str, params: Any = None) -> tuple[int, asyncio.Future[Any]]:
        """Send a request; returns its id and the future of its result, which fails with ServerError."""
        identifier = next(self._ids)
        future = self._pending[identifier] = asyncio.get_running_loop().create_future()
        self.send({"id": identifier, "method": method, "params": params})
        return identifier, future

    async def request(self, method: str, params: Any = None, *, within: float = SOON) -> Any:
        """Send a request and wait for its result."""
        async with asyncio.timeout(within):
            return await self.start_request(method, params)[1]

    async def until(self, condition: Callable[[], Any], *, within: float = SOON) -> Any:
        """Wait until a condition holds; it is looked at after each message. Returns what it returned."""
        async with asyncio.timeout(within), self._heard:
            return await self._heard.wait_for(condition)

    def notifications(self, method: str) -> list[Any]:
        """Parameters of all notifications and requests of one method so far."""
        return [message.get("params") for message in self.recorded if message["method"] == method]

    async def initialize(self, capabilities: Mapping[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        """Open the session; returns the server's capabilities."""
        given = {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities or {}, **params}
        self.capabilities = (await self.request("initialize", given))["capabilities"]
        self.notify("initialized", {})
        return self.capabilities

    async def state(self, *states: str, within: float = SOON) -> dict[str, Any]:
        """Wait for a status notification with one of these states."""
        found: dict[str, Any] = await self.until(
            lambda: next(
                (status for status in self.notifications("mellum/status")[::-1] if status["state"] in states), None
            ),
            within=within,
        )
        return found

    def open(self, uri: str, text: str, language: str = "python", version: int = 1) -> None:
        """Open a document."""
        document = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, version: int, *changes: dict[str, Any]) -> None:
        """Change a document; see `edit`."""
        identified = {"uri": uri, "version": version}
        self.notify("textDocument/didChange", {"textDocument": identified, "contentChanges": list(changes)})

    async def complete(self, uri: str, line: int, character: int, **context: Any) -> list[dict[str, Any]]:
        """Ask for suggestions; returns the items."""
        return items_of(await self.request(*completion(uri, line, character, **context)))

    async def shut_down(self) -> None:
        """Close the session as the protocol wants it."""
        await self.request("shutdown")
        self.send({"method": "exit"})

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            while True:
                header = await self._reader.readuntil(b"\r\n\r\n")
                lengths = [line.split(b":")[1] for line in header.split(b"\r\n") if line.startswith(b"Content-Length")]
                message = json.loads(await self._reader.readexactly(int(lengths[0])))
                async with self._heard:
                    self._take(message)
                    self._heard.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(ConnectionError("the server has closed the connection"))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self.recorded.append(message)
            if "id" in message:
                self._answer(message)
            return
        self.responses.append(message)
        future = self._pending.pop(message["id"], None)
        if future is not None and not future.done():
            if "error" in message:
                future.set_exception(ServerError(message["error"]))
            else:
                future.set_result(message["result"])

    def _answer(self, request: dict[str, Any]) -> None:
        answer = self.answers.get(request["method"])
        if isinstance(answer, Exception):
            self.send({"id": request["id"], "error": {"code": -32603, "message": str(answer)}})
        elif answer is not asyncio.sleep:  # which stands for a client that never answers
            self.send({"id": request["id"], "result": answer})


class Server:
    """A server process and the client that talks to it."""

    def __init__(self, process: asyncio.subprocess.Process, client: Client) -> None:
        self.process, self.client = process, client
        self.stderr = b""

    async def wait(self, within: float = SOON) -> int:
        """Wait for the process to end; returns its exit code."""
        async with asyncio.timeout(within):
            return await self.process.wait()


def environment(cache: Path, **more: str) -> dict[str, str]:
    """An environment in which the server finds its packages, and models only in this cache folder."""
    path = os.pathsep.join(filter(None, (str(HOUSE), os.environ.get("PYTHONPATH"))))
    return child_environment({"PYTHONPATH": path, "MELLUM_LSP_CACHE": str(cache), **more})


@asynccontextmanager
async def serving(cache: Path, *arguments: str, python: Path | None = None, **more: str) -> AsyncIterator[Server]:
    """Run a server over stdio. At the end it is killed if it still runs.

    `python`: that of another environment, with the server that is installed there. Its statistics are in a folder of
    their own, unless MELLUM_LSP_STATE is given: they are not the user's, and no gate has learned from them.
    """
    if STATE_VARIABLE not in more:
        with tempfile.TemporaryDirectory(prefix="mellum-state-", ignore_cleanup_errors=True) as state:
            async with serving(cache, *arguments, python=python, **more, **{STATE_VARIABLE: state}) as server:
                yield server
        return
    pipe = asyncio.subprocess.PIPE
    command = [str(python or sys.executable), "-P", *(arguments or ("-m", "lsp_server"))]
    there = environment(cache, **more)
    if python is not None:
        del there["PYTHONPATH"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=there, limit=1 << 26
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    server = Server(process, Client(process.stdout, process.stdin))

    async def drain(stream: asyncio.StreamReader) -> None:
        while data := await stream.read(1 << 16):
            server.stderr += data

    draining = asyncio.create_task(drain(process.stderr))
    try:
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await draining
        await server.client.close()


def completion(uri: str, line: int, character: Any, **context: Any) -> tuple[str, dict[str, Any]]:
    """Method and parameters of a request for suggestions."""
    position = {"line": line, "character": character}
    params = {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 2, **context}}
    return "textDocument/inlineCompletion", params


def items_of(result: Any) -> list[dict[str, Any]]:
    """The items of an answer, which is an object, or nothing if a newer text or request came."""
    if result is None:
        return []
    assert isinstance(result, dict), result
    items: list[dict[str, Any]] = result["items"]
    return items


def edit(start: tuple[int, int], end: tuple[int, int], text: str) -> dict[str, Any]:
    """One incremental change."""
    first, last = ({"line": line, "character": character} for line, character in (start, end))
    return {"range": {"start": first, "end": last}, "text": text}
