"""What can stand at the other end of the typing simulation: something that is asked for text at a place in a document.

Here: the protocol, and our own server over stdio, driven as an editor drives it. `llama` has the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from evaluation.harness.client import Client, Server, completion, edit, items_of, serving
from evaluation.harness.functions import Function, unpacked
from evaluation.harness.packages import folder
from evaluation.harness.typist import Page

_LOADED_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a page."""

    text: str
    """To be inserted at the cursor; empty where there is nothing to show."""
    replaces: int
    """Characters after the cursor that it replaces."""
    seconds: float
    """From the request to the answer."""
    computed: int | None
    """Prompt tokens that the model had to compute for it; None where no model was asked."""


class Side(Protocol):
    """One of the servers that are compared. One document at a time, one request at a time."""

    name: str

    async def open(self, function: Function, page: Page) -> None:
        """Show the document that a function is typed into."""

    def ask(self, page: Page) -> asyncio.Task[Answer]:
        """Tell what the document is now, and ask for text at the cursor. Cancelled when the user goes on."""

    def taken(self) -> None:
        """Hear that the last answer was taken whole."""

    async def rest(self) -> None:
        """Wait until nothing is computed any more."""

    def cpu_seconds(self) -> float:
        """What its processes have used so far."""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
            times = one.cpu_times()
            total += times.user + times.system
    return total


class Mellum:
    """Our server, as an editor uses it: incremental changes, a request after each, cancelled when it is stale."""

    def __init__(self, server: Server, name: str = "mellum-lsp") -> None:
        self.name = name
        self._server = server
        self._client: Client = server.client
        self._uri = ""
        self._root: Path | None = None
        self._version = 0
        self._text = ""
        self._statistics: dict[str, Any] = {}
        self._command: dict[str, Any] | None = None

    async def open(self, function: Function, page: Page) -> None:
        """Open the file in its project, which lies on the disk without it.

        The project's folder is a new one each time: nothing that was typed before is remembered for the file.
        """
        self._version += 1
        self._root = unpacked(function, folder() / "typing" / self.name / str(self._version))
        self._change_folders(added=[self._root])
        has_files = any(self._root.rglob("*.py"))
        async with asyncio.timeout(_LOADED_WITHIN):
            while not is_indexed((await self._client.request("mellum/status"))["index"], has_files):
                pass
        self._uri = (self._root / function.path).as_uri()
        self._text = page.before + page.after
        self._client.open(self._uri, self._text, version=self._version)
        self._statistics = await self._ask_for_statistics()

    def ask(self, page: Page) -> asyncio.Task[Answer]:
        """Send the change and the request at once; the answer is waited for in the task."""
        text = page.before + page.after
        if text != self._text:
            self._version += 1
            self._client.change(self._uri, self._version, difference(self._text, text))
            self._text = text
        line, character = position(page.before, len(page.before))
        asked = time.perf_counter()
        request, future = self._client.start_request(*completion(self._uri, line, character))
        return asyncio.create_task(self._answer(page, request, future, asked))

    def taken(self) -> None:
        """Run the item's command, as editors do."""
        if self._command is not None:
            command = {"command": self._command["command"], "arguments": self._command["arguments"]}
            self._client.start_request("workspace/executeCommand", command)
            self._command = None

    async def rest(self) -> None:
        """Close the document, and hear from the server until it is not busy."""
        self._client.notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})
        if self._root is not None:
            self._change_folders(removed=[self._root])
        while (await self._client.request("mellum/status"))["busy"]:
            pass

    def cpu_seconds(self) -> float:
        """The server and the processes that it has started."""
        return cpu_seconds(self._server.process.pid)

    def _change_folders(self, *, added: Iterable[Path] = (), removed: Iterable[Path] = ()) -> None:
        lists = [[{"uri": root.as_uri(), "name": root.name} for root in roots] for roots in (added, removed)]
        event = dict(zip(("added", "removed"), lists, strict=True))
        self._client.notify("workspace/didChangeWorkspaceFolders", {"event": event})

    async def _answer(self, page: Page, request: int, future: asyncio.Future[Any], asked: float) -> Answer:
        try:
            items = items_of(await future)
        except asyncio.CancelledError:
            self._client.notify("$/cancelRequest", {"id": request})
            raise
        seconds = time.perf_counter() - asked
        before, self._statistics = self._statistics, await self._ask_for_statistics()
        new = {name: self._statistics[name] - before[name] for name in ("answered", "remembered", "computed_tokens")}
        # where a stale request was answered, too, it is not known which of them the tokens belong to
        computed = new["computed_tokens"] if (new["answered"], new["remembered"]) == (1, 0) else None
        text, replaces = shown(page, items)
        self._command = items[0].get("command") if text else None
        return Answer(text, replaces, seconds, computed)

    async def _ask_for_statistics(self) -> dict[str, Any]:
        statistics: dict[str, Any] = (await self._client.request("mellum/status"))["statistics"]
        return statistics


def is_indexed(index: dict[str, Any], has_files: bool) -> bool:
    """Whether the status says that all files of a folder are in the index."""
    return not index["busy"] and (bool(index["files"]) or not has_files)


@asynccontextmanager
async def mellum(
    cache: Path, *, name: str = "mellum-lsp", python: Path | None = None, **settings: Any
) -> AsyncIterator[Mellum]:
    """Start our server and wait until its model is loaded. Raises RuntimeError where there is none.

    `python`: see `serving`.
    """
    async with serving(cache, python=python) as server:
        await server.client.initialize(initializationOptions=settings)
        status = await server.client.state("ready", "no-model", "failed", within=_LOADED_WITHIN)
        if status["state"] != "ready":
            raise RuntimeError(status["message"])
        yield Mellum(server, name)
        await server.client.shut_down()
        await server.wait()


def shown(page: Page, items: Iterable[dict[str, Any]]) -> tuple[str, int]:
    """What an editor shows of the first item: its text from the cursor on, and what it replaces after it."""
    for item in items:
        cursor = position(page.before, len(page.before))
        start, end = ((place["line"], place["character"]) for place in (item["range"]["start"], item["range"]["end"]))
        if not (start[0] == end[0] == cursor[0] and start[1] <= cursor[1] <= end[1]):
            continue
        typed = page.before[len(page.before) - (cursor[1] - start[1]) :] if cursor[1] > start[1] else ""
        if item["insertText"].startswith(typed):
            return item["insertText"][len(typed) :], end[1] - cursor[1]
    return "", 0


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and character from 0, of ASCII text."""
    return text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1)


def difference(old: str, new: str) -> dict[str, Any]:
    """The one edit that turns a text into another."""
    shorter = min(len(old), len(new))
    start = next((index for index in range(shorter) if old[index] != new[index]), shorter)
    most = shorter - start
    same = next((index for index in range(most) if old[-1 - index] != new[-1 - index]), most)
    return edit(position(old, start), position(old, len(old) - same), new[start : len(new) - same])
