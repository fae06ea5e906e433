"""The model in memory: it loads, fails, is set up, replaced and given up while a real server runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
from pathlib import Path

import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import SOON, Client, completion, serving

URI = "file:///projects/module.py"
TEXT, END = "def add(a, b):\n    return a + ", (1, 15)
"""Where the model is sure of itself."""
LONG_TEXT = Path(argparse.__file__).read_text(encoding="utf-8")


async def until_it_suggests(client: Client) -> None:
    """Ask until a model was found that was not there at first: the server looks for one every few seconds."""
    async with asyncio.timeout(SOON):
        while not await client.complete(URI, *END):
            with contextlib.suppress(TimeoutError):
                await client.state("ready", within=0.5)


async def test_a_request_that_fails_is_logged_and_gets_an_empty_list(model_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(model_cache, tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "models" / DEFAULT_MODEL / "manifest.json"
    fields = json.loads(manifest.read_text(encoding="utf-8"))
    fields["prompt"]["filename"] = 10**6  # a token that the graph does not have: every prompt fails, loading does not
    manifest.write_text(json.dumps(fields), encoding="utf-8")
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        await client.state("ready")
        client.open(URI, "def add(a, b):\n    return ")
        for _ in range(3):
            assert await client.complete(URI, 1, 11) == []
        assert client.notifications("window/showMessage") == []
        await client.shut_down()
        assert await server.wait() == 0
    assert server.stderr.count(b"No suggestion for file:///projects/module.py (python) at offset 26") == 3
    assert b"def add" not in server.stderr


async def test_another_number_of_threads_loads_the_model_again(client: Client) -> None:
    before = len(client.notifications("mellum/status"))
    client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"threads": 1}}})
    await client.until(
        lambda: [said["state"] for said in client.notifications("mellum/status")[before:]][-1:] == ["ready"]
    )
    assert client.notifications("mellum/status")[-1]["model"]["threads"] == 1
    client.open(URI, "def add(a, b):\n    return ")
    assert await client.complete(URI, 1, 11)


async def test_a_model_folder_that_is_removed_is_one_sentence_and_ends_no_suggestion(
    cache: Path, tmp_path: Path
) -> None:
    folder = (cache / "models" / DEFAULT_MODEL).rename(tmp_path / "mine")

    def told(client: Client) -> list[str]:
        said = [one["message"] for one in client.notifications("window/logMessage")]
        return [one for one in said if str(folder) in one]

    async with serving(cache) as server:
        client = server.client
        await client.initialize(initializationOptions={"eagerness": "always", "deadline": 0, "model": str(folder)})
        await client.state("ready")
        client.open(URI, TEXT)
        assert await client.complete(URI, *END)
        aside = folder.rename(tmp_path / "aside")
        async with asyncio.timeout(SOON):
            while not told(client):  # it is looked for every few seconds
                assert await client.complete(URI, *END)
                await asyncio.sleep(0.1)
        assert f"The folder {folder} of the model in use was removed" in told(client)[0]
        assert "there is no such folder. Run: mellum-lsp models" in told(client)[0]
        status = await client.request("mellum/status")
        assert status["state"] == "ready"
        assert told(client)[0] in status["message"]
        aside.rename(folder)
        async with asyncio.timeout(SOON):
            while "removed" in (await client.request("mellum/status"))["message"]:
                assert await client.complete(URI, *END)
                await asyncio.sleep(0.1)
        assert len(told(client)) == 1
        folder.rename(aside)
        for enabled in (False, True):
            client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"enabled": enabled}}})
            await client.state("disabled" if not enabled else "no-model")
        await client.shut_down()
        assert await server.wait() == 0
    assert b"Traceback" not in server.stderr


async def test_loading_shows_a_progress_bar_where_there_is_one(model_cache: Path) -> None:
    async with serving(model_cache) as server:
        client = server.client
        await client.initialize({"window": {"workDoneProgress": True}})
        client.open(URI, TEXT)
        assert await client.complete(URI, *END) == []  # at once, not when the model is there
        assert (await client.request("mellum/status"))["state"] == "loading"
        status = await client.state("ready")
        assert status["model"]["name"] == DEFAULT_MODEL
        assert await client.complete(URI, *END)
        kinds = [progress["value"]["kind"] for progress in client.notifications("$/progress")]
        assert kinds[0] == "begin"
        assert kinds[-1] == "end"
        assert set(kinds[1:-1]) == {"report"}


async def test_a_model_that_is_set_up_while_the_editor_is_open_starts_working(
    model_cache: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        await client.state("no-model")
        client.open(URI, TEXT)
        models = tmp_path / "models"
        shutil.copytree(model_cache / "models" / DEFAULT_MODEL, models / "half-done")
        (models / "half-done").rename(models / DEFAULT_MODEL)
        await until_it_suggests(client)
        assert len(client.notifications("window/showMessage")) == 1


async def test_a_broken_model_is_named_and_a_mended_one_works(model_cache: Path, tmp_path: Path) -> None:
    good, bad = model_cache / "models" / DEFAULT_MODEL, tmp_path / "models" / DEFAULT_MODEL
    shutil.copytree(good, bad)
    (bad / "tokenizer.json").write_text("{}")
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        status = await client.state("failed")
        assert "tokenizer.json" in status["message"]
        assert "mellum-lsp setup --force" in status["message"]
        assert client.notifications("window/showMessage") == []
        client.open(URI, TEXT)
        assert await client.complete(URI, *END) == []
        shutil.rmtree(bad)
        shutil.copytree(good, tmp_path / "mended")
        (tmp_path / "mended" / "manifest.json").touch()
        (tmp_path / "mended").rename(bad)
        await until_it_suggests(client)


@pytest.mark.parametrize("state", ["loading", "ready"])
async def test_it_ends_well_while_the_model_loads_and_while_it_computes(model_cache: Path, state: str) -> None:
    async with serving(model_cache) as server:
        client = server.client
        await client.initialize()
        await client.state(state)
        client.open(URI, LONG_TEXT)
        _, future = client.start_request(*completion(URI, 700, 0))
        await client.shut_down()
        assert await server.wait() == 0
        await asyncio.gather(future, return_exceptions=True)
    assert b"terminate called" not in server.stderr
    assert b"Traceback" not in server.stderr


async def test_two_servers_answer_from_the_same_model(model_cache: Path) -> None:
    async with serving(model_cache) as one, serving(model_cache) as other:
        for server in (one, other):
            await server.client.initialize()
            server.client.open(URI, "def add(a, b):\n    return ")
        answers = []
        for server in (one, other):
            await server.client.state("ready")
            answers.append(await server.client.complete(URI, 1, 11))
        assert answers[0] == answers[1]


SERVER_WITH = """
import sys, time
{patch}
from lsp_server.server import serve_stdio
sys.exit(serve_stdio())
"""


async def test_loading_that_ends_in_what_is_no_exception_has_failed(model_cache: Path) -> None:
    patch = (
        "import engine\n"
        "class Panic(BaseException): pass\n"
        "def load(*_, **__): raise Panic('a native library gave up')\n"
        "engine.Engine.load = load"
    )
    async with serving(model_cache, "-c", SERVER_WITH.format(patch=patch)) as server:
        client = server.client
        await client.initialize()
        status = await client.state("failed")
        assert "a native library gave up" in status["message"]
        client.open(URI, TEXT)
        assert await client.complete(URI, *END) == []
        assert (await client.request("mellum/status"))["silence"]["reason"] == "no model"


async def test_a_pool_that_is_busy_does_not_delay_the_exit(model_cache: Path) -> None:
    patch = "import indexer\nindexer.Index.refresh = lambda self: time.sleep(600)"
    async with serving(model_cache, "-c", SERVER_WITH.format(patch=patch)) as server:
        client = server.client
        await client.initialize(initializationOptions={"indexWorkspace": False})
        await client.state("ready")
        client.open(URI, TEXT)
        await client.complete(URI, *END)  # although its context is not found
        await client.shut_down()
        assert await server.wait() == 0
