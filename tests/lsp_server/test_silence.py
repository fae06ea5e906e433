"""Silence has a reason, and off means off: why an answer was empty, and what of the model stays in memory then."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import SOON, Client, Server, completion, edit, serving
from lsp_server.reporting.silence import Silence

URI = "file:///projects/module.py"
TEXT, END = "def add(a, b):\n    return a + ", (1, 15)
"""Where the model is sure of itself."""


async def reason(client: Client) -> str | None:
    silence: dict[str, Any] = (await client.request("mellum/status"))["silence"]
    if silence["reason"] is not None:
        assert silence["sentence"] == Silence(silence["reason"]).sentence
        assert silence["counts"][silence["reason"]] > 0
    found: str | None = silence["reason"]
    return found


def configure(client: Client, **settings: Any) -> None:
    client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})


def test_every_reason_is_a_name_with_a_sentence() -> None:
    assert len(Silence) == 12
    for silence in Silence:
        assert silence.value == str(silence) == silence
        assert silence.sentence.endswith(".") or silence.sentence.split(": ")[-2].endswith("Run")


async def test_each_empty_answer_has_its_reason(model_cache: Path) -> None:
    async with serving(model_cache, MELLUM_LSP_LOG="debug") as server:
        client = server.client
        await client.initialize(initializationOptions={"deadline": 0})
        client.open(URI, TEXT)
        assert await client.complete(URI, *END) == []
        assert await reason(client) == "loading"
        await client.state("ready")
        assert await client.complete(URI, *END)
        assert await reason(client) is None
        configure(client, eagerness="quiet")
        client.open(URI, "x = ")
        assert await client.complete(URI, 0, 4) == []
        assert await reason(client) == "gate"
        configure(client, disabledLanguages=["python"])
        assert await client.complete(URI, 0, 4) == []
        assert await reason(client) == "off here"
        configure(client, disabledIn=["comment", "string"], eagerness="always")
        comment, string = "# Adds two num", 'label = "the su'
        client.open(URI, f"{comment}\n{string}")
        assert await client.complete(URI, 0, len(comment)) == []
        assert await client.complete(URI, 1, len(string)) == []
        assert await reason(client) == "off here"
        await client.complete(URI, 1, len(string), triggerKind=1)  # by a key: the model is asked
        assert await reason(client) != "off here"
        client.open(URI, TEXT)
        assert await client.complete(URI, *END)  # in code
        assert await client.complete("file:///not/open.py", 0, 0) == []
        assert await reason(client) == "out of step"
        stale = client.start_request(*completion(URI, *END))[1]
        client.change(URI, 2, edit((0, 0), (0, 0), "#"))
        await client.request("mellum/status")
        if await stale is None:
            assert await reason(client) == "superseded"
        counts = (await client.request("mellum/status"))["silence"]["counts"]
        assert counts["off here"] == 3
        assert set(counts) <= {silence.value for silence in Silence}
        await client.shut_down()
        assert await server.wait() == 0
    assert b"Nothing for file:///projects/module.py: off here. " + Silence.OFF_HERE.sentence.encode() in server.stderr
    assert b"label" not in server.stderr.split(b"pygls")[0]


def memory(server: Server) -> int:
    """Bytes in memory that are the process's own."""
    return psutil.Process(server.process.pid).memory_info().rss


@pytest.mark.parametrize("how", ["idle", "off"])
async def test_the_model_is_unloaded_and_comes_back(model_cache: Path, how: str) -> None:
    async with serving(model_cache) as server:
        client = server.client
        await client.initialize(initializationOptions={"eagerness": "always", "deadline": 0, "unloadAfter": 0})
        await client.state("ready")
        client.open(URI, TEXT)
        async with asyncio.timeout(SOON):
            while not await client.complete(URI, *END):  # until the rules of its folder are known
                pass
        text = Path(argparse.__file__).read_text(encoding="utf-8")  # noqa: ASYNC240
        client.open(URI, text)
        for line in range(100, 1_600, 300):
            await client.complete(URI, line, 0)
        loaded, threads = memory(server), psutil.Process(server.process.pid).num_threads()
        if how == "idle":
            configure(client, unloadAfter=0.001)
            status = await client.state("unloaded")
            assert "the next request brings it back" in status["message"]
        else:
            configure(client, enabled=False)
            await client.state("disabled")
        assert (await client.request("mellum/status"))["model"] is None
        async with asyncio.timeout(SOON):
            while memory(server) > loaded / 2:  # what is left lies in libraries
                await client.request("mellum/status")
            while psutil.Process(server.process.pid).num_threads() >= threads:
                await client.request("mellum/status")
        if how == "off":
            assert await client.complete(URI, 100, 0) == []
            assert await reason(client) == "off"
            configure(client, enabled=True, unloadAfter=30)
        else:
            configure(client, unloadAfter=30)  # first: else it may be let go again before this is heard
            assert await client.complete(URI, 100, 0) == []
            assert await reason(client) == "loading"
        await client.until(lambda: client.notifications("mellum/status")[-1]["state"] == "ready")
        client.open(URI, TEXT)
        assert await client.complete(URI, *END)


async def test_a_tokenizer_that_panics_costs_one_answer_and_no_thread(model_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / DEFAULT_MODEL
    folder.mkdir(parents=True)
    for file in (model_cache / "models" / DEFAULT_MODEL).iterdir():
        (folder / file.name).hardlink_to(file)
    tokenizer = folder / "tokenizer.json"
    fields = json.loads(tokenizer.read_text(encoding="utf-8"))
    rule = {"type": "Split", "pattern": {"Regex": "(?:x+x+)+y"}, "behavior": "Isolated", "invert": False}
    fields["pre_tokenizer"]["pretokenizers"].insert(0, rule)
    tokenizer.unlink()
    tokenizer.write_text(json.dumps(fields), encoding="utf-8")
    manifest = folder / "manifest.json"
    known = json.loads(manifest.read_text(encoding="utf-8"))
    digest = hashlib.sha256(tokenizer.read_bytes()).hexdigest()
    known["files"]["tokenizer.json"] = digest
    manifest.unlink()
    manifest.write_text(json.dumps(known), encoding="utf-8")
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize(initializationOptions={"deadline": 0})
        await client.state("ready")
        for _ in range(3):
            client.open(URI, "value = " + "x" * 60)
            assert await client.complete(URI, 0, 68) == []
            assert await reason(client) == "failed"
            client.open(URI, TEXT)
            assert await client.complete(URI, *END)
        assert (await client.request("mellum/status"))["state"] == "ready"
        await client.shut_down()
        assert await server.wait() == 0


async def test_without_an_index_no_file_is_said_to_be_kept_from_the_model(model_cache: Path) -> None:
    """The rules of its folder are not known, so it gets nothing; but no rule says that."""
    code = "import sys; sys.modules['lsp_server.workspace.project_context'] = None; "
    code += "from lsp_server.server import serve_stdio; sys.exit(serve_stdio())"
    async with serving(model_cache, "-c", code) as server:
        client = server.client
        await client.initialize()
        await client.state("ready")
        await client.until(
            lambda: any("no index" in one["message"] for one in client.notifications("window/logMessage"))
        )
        client.open(URI, TEXT)
        assert await client.complete(URI, *END) == []
        assert (await client.request("mellum/status"))["silence"]["reason"] == "failed"
        await client.shut_down()
        assert await server.wait() == 0
    assert b"Traceback" not in server.stderr
