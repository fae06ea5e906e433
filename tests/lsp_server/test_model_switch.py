"""Another model is chosen while an editor is open: its server takes it without a restart, and lets the old one go."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import SOON, Client, Server
from lsp_server.statistics.events import Outcome
from lsp_server.statistics.samples import Sample, Surroundings, add_samples
from tests.export.small_models import PLAIN, random_weights, write_folder
from tests.lsp_server.statistics.test_events import END, TEXT, URI, answers, leave, observed, type_otherwise
from tests.lsp_server.test_cli import run

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def cache(model_cache: Path, tmp_path: Path) -> Path:
    """A cache folder with the default model, and the same one under another name."""
    cache = tmp_path / "cache"
    for name in (DEFAULT_MODEL, "tuned"):
        shutil.copytree(model_cache / "models" / DEFAULT_MODEL, cache / "models" / name)
    manifest = cache / "models" / "tuned" / "manifest.json"
    fields = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**fields, "name": "tuned"}), encoding="utf-8")
    return cache


async def until_model(client: Client, name: str) -> dict[str, Any]:
    """Ask for suggestions, as an editor does, until the server has this model; returns its status."""
    async with asyncio.timeout(SOON):
        while True:
            await client.complete(URI, *END)
            status: dict[str, Any] = await client.request("mellum/status")
            if status["state"] == "ready" and status["model"]["name"] == name:
                return status
            await asyncio.sleep(0.2)


def mapped(server: Server) -> set[str]:
    """The names of the models whose files the server has in memory."""
    parts = (Path(one.path).parts for one in psutil.Process(server.process.pid).memory_maps())
    return {part[part.index("models") + 1] for part in parts if "models" in part}


async def test_a_model_that_is_chosen_takes_over_at_the_next_request(cache: Path, tmp_path: Path) -> None:
    async with observed(cache, tmp_path / "state") as server:
        client = server.client
        client.open(URI, TEXT)
        assert await client.complete(URI, *END)
        done = await asyncio.to_thread(run, "models", "use", "tuned", cache=cache)
        assert "tuned is in use; servers that run take it at their next request" in done.stdout
        await until_model(client, "tuned")
        if sys.platform == "linux":
            assert mapped(server) == {"tuned"}
        await type_otherwise(client)
        await leave(server)
    models = [answer["model"] for answer in answers(tmp_path / "state") if answer["outcome"] != "silent"]
    assert models[0] == DEFAULT_MODEL
    assert models[-1] == "tuned"


async def test_no_suggestion_of_the_old_model_is_remembered(cache: Path, tmp_path: Path) -> None:
    async with observed(cache, tmp_path / "state") as server:
        client = server.client
        client.open(URI, TEXT)
        for _ in range(2):
            assert await client.complete(URI, *END)
        remembered = (await client.request("mellum/status"))["statistics"]["remembered"]
        assert remembered == 1, "the second answer is the first one's"
        await asyncio.to_thread(run, "models", "use", "tuned", cache=cache)
        async with asyncio.timeout(SOON):
            while True:
                if not await client.complete(URI, *END):
                    break  # the other one is being loaded
                await asyncio.sleep(0.2)
        remembered = (await client.request("mellum/status"))["statistics"]["remembered"]
        await client.until(lambda: client.notifications("mellum/status")[-1]["state"] == "ready")
        assert await client.complete(URI, *END)
        assert (await client.request("mellum/status"))["statistics"]["remembered"] == remembered


async def test_a_model_that_the_settings_name_stays(cache: Path, tmp_path: Path) -> None:
    async with observed(cache, tmp_path / "state", model=DEFAULT_MODEL) as server:
        client = server.client
        client.open(URI, TEXT)
        await asyncio.to_thread(run, "models", "use", "tuned", cache=cache)
        async with asyncio.timeout(SOON):
            for _ in range(15):  # longer than the seconds between two looks at the choice
                assert await client.complete(URI, *END)
                await asyncio.sleep(0.2)
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"model": "tuned"}}})
        await until_model(client, "tuned")


@pytest.mark.filterwarnings("ignore")  # those of torch's compiler are not ours to mend
async def test_from_what_a_user_wrote_to_a_server_that_has_learned_it(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
    cache, state, out = tmp_path / "cache", tmp_path / "state", tmp_path / "run"
    source = write_folder(tmp_path / "Mellum-small", PLAIN, random_weights(PLAIN))

    async def command(*arguments: str) -> None:
        done = await asyncio.to_thread(run, *arguments, cache=cache)
        assert done.returncode == 0, done.stderr

    export = ("export", str(source), "--target", "cpu", "--no-fit", "--name")
    await command(*export, "before")
    await command("models", "use", "before")
    async with observed(cache, state, eagerness="always") as server:
        server.client.open(URI, TEXT)
        await until_model(server.client, "before")
        where = Surroundings("a.py", "def add(first, second):\n    return ", "\n")
        what = (Outcome.REFUSED, False, "first + second")
        add_samples(
            state / "samples.sqlite",
            [Sample(0.0, "python", "before", where, f"second * {n}", *what) for n in range(20)],
        )
        feedback = ("--from-feedback", str(state / "samples.sqlite"), "--out", str(out))
        learning = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "training.preferences", "--model", str(source), *feedback), cwd=HOUSE
        )
        assert await learning.wait() == 0
        await command(*export, "after", "--adapter", str(out / "adapter"))
        await command("models", "use", "after")
        await until_model(server.client, "after")
        await leave(server)
