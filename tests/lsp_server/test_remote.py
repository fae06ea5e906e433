"""A language server whose model is on another machine: over stdio, with a real server of OpenAI's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from evaluation.harness.client import SOON, Client, Server, environment, serving
from syntax.children import python_command
from tests.engine.remote.listening import listening, polite
from tests.engine.remote.openai_server import MODEL
from tests.engine.remote.running import Running, running

URI = "file:///shapes.py"
_ANSWERED_WITHIN = 15.0  # seconds after which a remote engine has given up an answer
CODE = "def area(width, height):\n    return width * height\n\n\ndef double(width, height):\n    return 2 * area("


@pytest.fixture(scope="module")
def the_engine(model_cache: Path) -> Iterator[Running]:
    with running(model_cache) as engine:
        yield engine


@pytest.fixture
def engine(the_engine: Running) -> Running:
    the_engine.behave()
    return the_engine


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, str]:
    """An environment with a folder for what is kept of a user, and a keyring."""
    keyring = {
        "PYTHON_KEYRING_BACKEND": "tests.lsp_server.token_file.TokenFile",
        "TOKEN_FILE": str(tmp_path / "tokens"),
    }
    return {"MELLUM_LSP_STATE": str(tmp_path / "state"), **keyring}


def remote(*arguments: str, cache: Path, kept: dict[str, str], token: str = "") -> str:
    """Run `mellum-lsp remote`."""
    command = python_command("lsp_server.cli", "remote", *arguments)
    there = environment(cache, **kept)
    done = subprocess.run(command, env=there, input=token, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


async def remote_state(client: Client, *states: str) -> dict[str, Any]:
    """Wait until the remote engine has one of these states."""
    async with asyncio.timeout(SOON):
        while True:
            status: dict[str, Any] = await client.request("mellum/status")
            if status["remote"] is not None and status["remote"]["state"] in states:
                return status
            await asyncio.sleep(0.05)


async def suggestion(client: Client, version: int, text: str = CODE) -> str:
    """The first suggestion at the end of a text."""
    client.change(URI, version, {"text": text})
    lines = text.split("\n")
    items = await client.complete(URI, len(lines) - 1, len(lines[-1]))
    return items[0]["insertText"] if items else ""


def options(engine: Running, **more: object) -> dict[str, object]:
    return {"remote": {"url": engine.url, "model": MODEL}, "eagerness": "always", "deadline": 0, **more}


async def test_a_server_that_the_user_has_not_allowed_gets_nothing_however_it_is_named(
    engine: Running, model_cache: Path, kept: dict[str, str]
) -> None:
    async with serving(model_cache, **kept) as server:
        client = server.client
        await client.initialize(initializationOptions=options(engine))
        status = await remote_state(client, "down")
        assert f"Run: mellum-lsp remote allow {engine.url}" in status["message"]
        pushed = {"settings": {"mellum": {"remote.url": engine.url + "/v1"}}}
        client.notify("workspace/didChangeConfiguration", pushed)
        client.open(URI, "")
        async with asyncio.timeout(SOON):
            version = 2
            while not await suggestion(client, version):
                version += 1
        await remote_state(client, "down")
    assert engine.seen()["prompts"] == []


async def test_an_allowed_server_suggests_without_a_local_model_and_its_end_has_a_reason(
    model_cache: Path, tmp_path: Path, kept: dict[str, str]
) -> None:
    nothing = tmp_path / "cache"
    with running(model_cache) as engine:
        assert "may have code" in remote("allow", engine.url, cache=nothing, kept=kept)
        assert engine.url in remote(cache=nothing, kept=kept)
        async with serving(nothing, **kept) as server:
            client = server.client
            await client.initialize(initializationOptions=options(engine))
            status = await remote_state(client, "ready")
            assert status["state"] == "ready"
            assert f"{MODEL} at {engine.url} is ready" in status["message"]
            client.open(URI, "")
            assert (await suggestion(client, 2)).startswith("width")
            [prompt, *_] = engine.seen()["prompts"]
            assert prompt.endswith(f"{CODE}<fim_middle>")
            engine.kill()
            assert not await suggestion(client, 3, CODE + "3 + ")
            status = await remote_state(client, "down")
            assert status["silence"]["reason"] == "remote"
            assert engine.url in status["message"]
    assert b"Traceback" not in server.stderr


async def test_the_local_model_goes_on_while_the_server_is_gone_and_the_server_comes_back(
    model_cache: Path, kept: dict[str, str]
) -> None:
    with running(model_cache) as engine:
        remote("allow", engine.url, cache=model_cache, kept=kept)
        async with serving(model_cache, **kept) as server:
            client = server.client
            await client.initialize(initializationOptions=options(engine))
            await remote_state(client, "ready")
            client.open(URI, "")
            assert await suggestion(client, 2)
            engine.kill()
            assert await suggestion(client, 3, CODE + "3 + ")
            status = await remote_state(client, "down")
            assert status["state"] == "ready"
            assert "is ready. " in status["message"]
            with running(model_cache, port=engine.port) as again:
                await remote_state(client, "ready")
                assert await suggestion(client, 4, CODE + "width * 2, ")
                assert again.seen()["prompts"]
            told = [one["remote"]["state"] for one in client.notifications("mellum/status") if one["remote"]]
            assert told.index("down") < len(told) - 1 - told[::-1].index("ready")
            again.kill()
            assert await suggestion(client, 5, CODE + "width * 3, ")
            await remote_state(client, "down")
            [shown] = client.notifications("window/showMessage")  # once, however often it goes
            assert shown["message"] == f"The model at {engine.url} is gone; the local one goes on"
    assert b"Traceback" not in server.stderr


def mapped(server: Server) -> set[str]:
    """Where the files of the local model lie in the server's memory."""
    maps = psutil.Process(server.process.pid).memory_maps(grouped=False)
    return {one.addr for one in maps if "/models/" in one.path}


def loads(client: Client) -> int:
    """How often the editor has shown that the local model is loaded."""
    return sum(one["value"]["kind"] == "begin" for one in client.notifications("$/progress"))


async def test_the_local_model_stays_in_memory_while_the_settings_change_the_remote_one(
    engine: Running, model_cache: Path, kept: dict[str, str]
) -> None:
    remote("allow", engine.url, cache=model_cache, kept=kept)
    local: dict[str, object] = {"eagerness": "always", "deadline": 0}
    async with serving(model_cache, **kept) as server:
        client = server.client

        async def push(settings: dict[str, object]) -> None:
            client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})
            assert await client.request("mellum/status")

        await client.initialize({"window": {"workDoneProgress": True}}, initializationOptions=local)
        await client.state("ready")
        where, begun = mapped(server), len(client.notifications("mellum/status"))
        client.open(URI, "")
        assert await suggestion(client, 2)
        await push(options(engine))
        await remote_state(client, "ready")
        assert await suggestion(client, 3, CODE + "width * 2, ")
        assert engine.seen()["prompts"]
        await push({**local, "remote": {"url": engine.url, "model": "another"}})
        assert "does not serve another" in (await remote_state(client, "down"))["message"]
        assert await suggestion(client, 4, CODE + "width * 3, ")
        await push({**local, "remote": {"url": "https://gpu.example"}})
        await client.until(lambda: "gpu.example" in client.notifications("mellum/status")[-1]["message"])
        assert await suggestion(client, 5, CODE + "width * 4, ")
        for settings in (options(engine), local, options(engine), local):  # faster than they can be followed
            client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})
        await client.until(lambda: client.notifications("mellum/status")[-1]["remote"] is None)
        assert await suggestion(client, 6, CODE + "width * 5, ")
        assert {one["state"] for one in client.notifications("mellum/status")[begun:]} == {"ready"}
        assert loads(client) == 1
        if sys.platform == "linux":
            assert where
            assert mapped(server) == where
        await push({**local, "threads": 1})  # its own setting
        await client.until(lambda: loads(client) == 2)
    assert b"Traceback" not in server.stderr


@pytest.mark.parametrize("kind", ["endless events", "cut", "no greeting"])
async def test_the_local_model_goes_on_whatever_the_server_sends(
    kind: str, model_cache: Path, kept: dict[str, str]
) -> None:
    def stream(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        if kind == "cut":
            client.sendall(b'data: {"choices": [{"te')
        while kind == "endless events":
            client.sendall(b'data: {"choices": [{"text": ""}]}\n\n' * 100)

    with listening(polite(stream) if kind != "no greeting" else b"\0\1\2\r\n") as hostile:
        url = f"http://localhost:{hostile.port}"
        remote("allow", url, cache=model_cache, kept=kept)
        async with serving(model_cache, **kept) as server:
            client = server.client
            settings = {"remote": {"url": url}, "eagerness": "always", "deadline": 0}
            await client.initialize(initializationOptions=settings)
            await remote_state(client, "ready" if kind != "no greeting" else "down")
            client.open(URI, "")
            for version in range(2, 5):
                assert await suggestion(client, version, CODE + f"{version} + ")
            status: dict[str, Any] | None = None
            async with asyncio.timeout(SOON):
                while status is None:
                    with contextlib.suppress(TimeoutError):
                        status = await asyncio.wait_for(remote_state(client, "down"), _ANSWERED_WITHIN)
                    if status is None:  # the local model was faster than the failure
                        version += 1
                        await suggestion(client, version, CODE + f"{version} + ")
            assert status["state"] == "ready"
            assert url in status["message"]
            assert await suggestion(client, version + 1, CODE + "width * 2, ")
        assert b"Traceback" not in server.stderr


async def test_a_token_of_the_keyring_is_sent_and_can_be_removed(
    engine: Running, tmp_path: Path, kept: dict[str, str]
) -> None:
    nothing = tmp_path / "cache"
    engine.behave(token="a-secret")
    remote("allow", engine.url, "--token", cache=nothing, kept=kept, token="a-secret\n")
    async with serving(nothing, **kept) as server:
        await server.client.initialize(initializationOptions=options(engine))
        await remote_state(server.client, "ready")
    assert "gets no code any more" in remote("forbid", engine.url, cache=nothing, kept=kept)
    assert "a-secret" not in (tmp_path / "tokens").read_text()
    allowing = {**kept, "MELLUM_LSP_REMOTE": engine.url, "MELLUM_LSP_REMOTE_TOKEN": "wrong"}
    async with serving(nothing, **allowing) as server:
        await server.client.initialize(initializationOptions=options(engine))
        assert "refuses the token" in (await remote_state(server.client, "down"))["message"]


async def test_what_is_no_address_is_told_and_the_local_model_suggests(model_cache: Path, kept: dict[str, str]) -> None:
    async with serving(model_cache, **kept) as server:
        wrong = {"remote": {"url": "ftp://gpu"}, "eagerness": "always", "deadline": 0}
        await server.client.initialize(initializationOptions=wrong)
        assert "`remote.url` is no address" in (await remote_state(server.client, "down"))["message"]
        server.client.open(URI, "")
        assert await suggestion(server.client, 2)


def test_the_doctor_tries_what_is_allowed_and_says_how_fast_it_is(
    engine: Running, tmp_path: Path, kept: dict[str, str]
) -> None:
    nothing = tmp_path / "cache"
    remote("allow", engine.url, cache=nothing, kept=kept)

    def doctor(*arguments: str) -> dict[str, Any]:
        command = python_command("lsp_server.cli", "doctor", "--json", *arguments)
        done = subprocess.run(command, env=environment(nothing, **kept), capture_output=True, text=True, check=False)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    fact = doctor()["facts"][f"remote {engine.url}"]
    assert "is ready; HTTP/1.1; a round trip takes " in fact
    assert "its first token comes after" in fact
    assert "tokens a second" in fact
    other = doctor("--remote", "https://gpu.example")
    assert any("Run: mellum-lsp remote allow https://gpu.example" in one for one in other["problems"])
    engine.behave(status=500)
    assert any("fails (HTTP status 500" in one for one in doctor()["problems"])
