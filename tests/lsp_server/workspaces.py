"""Workspace folders as a client names them, and the wait until their files are indexed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from evaluation.harness.client import SOON, Client


def folder(root: Path) -> dict[str, str]:
    """A workspace folder of the protocol."""
    return {"uri": root.as_uri(), "name": root.name}


async def indexed(client: Client, files: int) -> dict[str, Any]:
    """Wait until the index holds a number of files and is at rest; returns what the status says of it."""
    async with asyncio.timeout(2 * SOON):
        while (index := (await client.request("mellum/status"))["index"]) != {"files": files, "busy": False}:
            pass
    return index
