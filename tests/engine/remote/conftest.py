"""A server with the default model, for all tests of a file, and an engine that is connected to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.remote.engine import RemoteEngine
from tests.engine.remote.running import Running, running, wait_for

Connect = Callable[..., RemoteEngine]


@pytest.fixture(scope="module")
def the_server(model_cache: Path) -> Iterator[Running]:
    with running(model_cache) as server:
        yield server


@pytest.fixture
def server(the_server: Running) -> Running:
    """It behaves well."""
    the_server.behave()
    return the_server


@pytest.fixture
def connect(server: Running, loaded_engine: Engine) -> Iterator[Connect]:
    """Makes engines for a server, which greet it and are closed at the end."""
    made: list[RemoteEngine] = []

    def begin(
        url: str = server.url, model: str | None = None, token: str | None = None, **options: Any
    ) -> RemoteEngine:
        is_local = options.pop("is_local", True)
        local = (loaded_engine.tokenizer, loaded_engine.manifest.prompt) if is_local else None
        engine = RemoteEngine(url, model, credentials=lambda: token, local=local, prompt_tokens=512, **options)
        made.append(engine)
        wait_for(lambda: engine.facts().state != "connecting")
        return engine

    yield begin
    for engine in made:
        engine.close()
