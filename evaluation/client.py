"""A language client of a few lines, to drive the real server over stdio: for the benchmarks and for the tests."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.models import CACHE_VARIABLE


class ResponseError(Exception):
    """The server answered a request with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class Client:
    """A server process and a conversation with it. Use as an async context manager."""

    def __init__(
        self,
        *,
        cache: Path | None = None,
        environment: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        capabilities: Mapping[str, Any] | None = None,
        workspace: Path | None = None,
    ) -> None:
        self.environment = {**os.environ, **(environment or {}), **({CACHE_VARIABLE: str(cache)} if cache else {})}
        self._initialize = {
            "processId": os.getpid(),
            "rootUri": workspace.as_uri() if workspace else None,
            "workspaceFolders": [{"uri": workspace.as_uri(), "name": workspace.name}] if workspace else None,
            "capabilities": dict(capabilities or {}),
            "initializationOptions": dict(options or {}),
        }
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._versions: dict[str, int] = {}
        self._watchers: list[tuple[Callable[[str, Any], bool], asyncio.Future[Any]]] = []
        self.notifications: list[tuple[str, Any]] = []
        """Every notification from the server, oldest first: method and parameters."""
        self.process: asyncio.subprocess.Process
        self.initialized: dict[str, Any] = {}

    async def __aenter__(self) -> Client:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lsp_server", stdin=-1, stdout=-1, stderr=-1, env=self.environment, limit=1 << 26
        )
        self._stderr = asyncio.create_task(self._read_stderr())
        self._reader = asyncio.create_task(self._read())
        self.initialized = await self.request("initialize", self._initialize)
        self.notify("initialized", {})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.returncode is None and kind is None:
            await self.request("shutdown", None)
            self.notify("exit", None)
        elif self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.log = await self._stderr
        await self._reader
        if kind is not None:
            sys.stderr.write(self.log)

    def send(self, method: str, params: Any) -> asyncio.Future[Any]:
        """Send a request; the future's `id` attribute is its id. Raises ResponseError when awaited, if refused."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = next(self._ids)
        future.id = number  # type: ignore[attr-defined]
        self._waiting[number] = future
        self._write({"id": number, "method": method, "params": params})
        return future

    async def request(self, method: str, params: Any) -> Any:
        """Send a request and wait for its result."""
        return await asyncio.wait_for(self.send(method, params), 120)

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self._write({"method": method, "params": params})

    async def until(self, method: str, condition: Callable[[Any], bool] = lambda params: True) -> Any:
        """Wait for a notification that meets the condition, past ones included; returns its parameters."""
        for name, params in self.notifications:
            if name == method and condition(params):
                return params
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._watchers.append((lambda name, params: name == method and condition(params), future))
        return await asyncio.wait_for(future, 120)

    async def ready(self) -> None:
        """Wait until the model is loaded."""
        await self.until("mellum/status", lambda status: status["state"] == "ready")

    def open(self, uri: str, text: str, language: str = "python") -> None:
        """Open a document."""
        self._versions[uri] = 0
        document = {"uri": uri, "languageId": language, "version": 0, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, text: str, start: tuple[int, int], end: tuple[int, int] | None = None) -> None:
        """Replace the range from `start` to `end` (line, character from 0); without an end, insert."""
        self._versions[uri] += 1
        change = {"range": _range(start, end or start), "text": text}
        document = {"uri": uri, "version": self._versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def ask(self, uri: str, line: int, character: int, *, explicit: bool = False) -> asyncio.Future[Any]:
        """Send an inline completion request."""
        return self.send(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 1 if explicit else 2},
            },
        )

    async def complete(self, uri: str, line: int, character: int) -> list[dict[str, Any]]:
        """Ask for inline completions and wait for the items."""
        answer = await asyncio.wait_for(self.ask(uri, line, character), 120)
        items: list[dict[str, Any]] = answer["items"] if isinstance(answer, dict) else answer or []
        return items

    def write_raw(self, data: bytes) -> None:
        """Write bytes to the server's stdin as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def _write(self, message: Mapping[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.write_raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while header := await self.process.stdout.readline():
            length = int(header.split(b":")[1])
            while (await self.process.stdout.readline()).strip():
                pass
            message = json.loads(await self.process.stdout.readexactly(length))
            if "method" in message and "id" in message:
                self._write({"id": message["id"], "result": None})
            elif "method" in message:
                self._notified(message["method"], message.get("params"))
            elif (future := self._waiting.pop(message["id"], None)) is not None and not future.done():
                if "error" in message:
                    future.set_exception(ResponseError(message["error"]["code"], message["error"]["message"]))
                else:
                    future.set_result(message.get("result"))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("The server closed its output"))

    def _notified(self, method: str, params: Any) -> None:
        self.notifications.append((method, params))
        for watcher in [watcher for watcher in self._watchers if watcher[0](method, params)]:
            self._watchers.remove(watcher)
            if not watcher[1].done():
                watcher[1].set_result(params)

    async def _read_stderr(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode("utf-8", "replace")


def _range(start: tuple[int, int], end: tuple[int, int]) -> dict[str, dict[str, int]]:
    return {
        "start": {"line": start[0], "character": start[1]},
        "end": {"line": end[0], "character": end[1]},
    }
