"""A server with the real model loaded, for each test that wants one."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import Client, Server, serving


@pytest.fixture
def cache(model_cache: Path, tmp_path: Path) -> Path:
    """A cache folder of its own, with the model but without an index."""
    cache = tmp_path / "cache"
    shutil.copytree(model_cache / "models" / DEFAULT_MODEL, cache / "models" / DEFAULT_MODEL)
    return cache


@pytest.fixture
async def server(model_cache: Path) -> AsyncIterator[Server]:
    """A server with the model loaded, which shows whatever the model says, however long it takes."""
    async with serving(model_cache) as server:
        await server.client.initialize(initializationOptions={"eagerness": "always", "deadline": 0})
        await server.client.state("ready")
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    """The client of that server."""
    return server.client
