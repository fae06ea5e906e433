"""A server that has indexed a small project, what is expected of it, and what a fault is made with."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from evaluation.harness.client import Client, Server, completion, items_of, serving
from evaluation.robustness.surroundings import SOON, family, left_of

_MOST_SENTENCES = 4
_SERVE = [sys.executable, "-P", "-m", "lsp_server"]
_DROPPED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
_TEXT = "def add(a, b):\n    return a + "


class Wrong(Exception):
    """What must not be."""


class Skipped(Exception):
    """The machine lacks what the fault is made with."""


@asynccontextmanager
async def session(
    place: Path,
    *,
    wrapped: list[str] | None = None,
    cache: Path | None = None,
    code: str = "",
    may_fail: bool = False,
) -> AsyncIterator[tuple[Server, Client, Path]]:
    """A server that has indexed a small project. `wrapped`: the command line that starts it; `code`: runs before it.

    `may_fail`: what the model was computing may fail, with its traceback in the log.
    """
    root = place / "project"
    root.mkdir(exist_ok=True)
    (root / "ok.py").write_text("def ok():\n    return 1\n")
    command = [*(wrapped or []), *_SERVE]
    start = f"import os\n{code}\nos.execvp({command[0]!r}, {command!r})"
    async with serving(cache or place / "cache", "-c", start) as server:
        client = server.client
        await client.initialize(
            workspaceFolders=[{"uri": root.as_uri(), "name": "project"}],
            initializationOptions={"eagerness": "always", "deadline": 0},
        )
        yield server, client, root
        everyone = family(server.process.pid)
        await client.shut_down()
        if (code_at_end := await server.wait(SOON)) != 0:
            raise Wrong(f"exit code {code_at_end}; {server.stderr[-500:]!r}")
        if left := await asyncio.to_thread(left_of, everyone):
            raise Wrong(f"left at the end: {left}")
    if b"Traceback" in server.stderr and not may_fail:
        at = server.stderr.index(b"Traceback")
        raise Wrong(f"a traceback on stderr: {server.stderr[at : at + 900].decode('utf-8', 'replace')}")
    if len(said := sentences(client)) > _MOST_SENTENCES:
        raise Wrong(f"{len(said)} sentences: {said}")


def sentences(client: Client) -> list[str]:
    return [one["message"] for one in client.notifications("window/logMessage") if one["type"] <= 2]


async def indexed(client: Client, files: int) -> None:
    """Wait until the index holds so many files, and is at rest."""
    index: object = None
    try:
        async with asyncio.timeout(SOON):
            while True:
                index = (await client.request("mellum/status"))["index"]
                if isinstance(index, dict) and index["files"] == files and not index["busy"]:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Wrong(f"the index is {index}, not of {files} files; said: {sentences(client)}") from None


async def answers(client: Client, root: Path) -> list[dict[str, object]]:
    """A request for a suggestion is answered."""
    uri = (root / "main.py").as_uri()
    client.open(uri, _TEXT)
    return items_of(await client.request(*completion(uri, 1, 15), within=SOON))


async def said_sentence(client: Client) -> str:
    """Wait for a sentence that tells of a trouble."""
    await client.until(lambda: sentences(client), within=SOON)
    return sentences(client)[0]


def succeeds(*command: str) -> bool:
    """Run a command of the system, which takes no time; returns whether it has succeeded."""
    return (
        shutil.which(command[0]) is not None
        and not subprocess.run(command, check=False, capture_output=True).returncode
    )


def without_privileges() -> list[str]:
    if os.getuid() != 0:
        return ["env"]
    if shutil.which("setpriv") is None:
        raise Skipped("there is no setpriv")
    return _DROPPED
