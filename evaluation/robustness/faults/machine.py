"""Disks, limits, privileges and processes that fail a server, and a model or a workspace that goes away."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from engine.model_folders.locations import DEFAULT_MODEL, find_model
from evaluation.harness.client import completion, items_of
from evaluation.robustness.faults.session import (
    Skipped,
    Wrong,
    answers,
    indexed,
    said_sentence,
    session,
    succeeds,
    without_privileges,
)
from evaluation.robustness.surroundings import SOON, cache_with_model, family


async def full_disk(place: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
    async with session(place, code=code) as (_, client, root):
        if "works and has room" not in (said := await said_sentence(client)):
            raise Wrong(f"said: {said}")
        await answers(client, root)


async def small_disk(place: Path) -> None:
    """A file system of its own with 96 kB, which becomes large again."""
    cache = place / "cache"
    cache.mkdir()
    if not succeeds("mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(cache)):
        raise Skipped("nothing may be mounted")
    try:
        async with session(place) as (_, client, root):
            if "works and has room" not in (said := await said_sentence(client)):
                raise Wrong(f"said: {said}")
            await answers(client, root)
            succeeds("mount", "-o", "remount,size=50m", str(cache))
            (root / "late.py").write_text("late = 1\n")
            await indexed(client, 2)
    finally:
        succeeds("umount", "-l", str(cache))


async def read_only_cache(place: Path) -> None:
    cache = cache_with_model(place / "cache")
    for path in [*cache.rglob("*"), cache]:
        if path.is_dir():
            path.chmod(0o555)
    async with session(place, wrapped=without_privileges()) as (_, client, root):
        await client.state("ready")
        if "cannot be written" not in (said := await said_sentence(client)):
            raise Wrong(f"said: {said}")
        if not await answers(client, root):
            raise Wrong("nothing is suggested")


async def watches_run_out(place: Path) -> None:
    unshare = ["unshare", "-r"]
    if not succeeds(*unshare, "true"):
        raise Skipped("no user may have limits of their own here")
    root = place / "project"
    for number in range(60):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}" / "a.py").write_text("a = 1\n")
    limit = 'echo 30 > /proc/sys/user/max_inotify_watches; exec "$@"'
    async with session(place, wrapped=[*unshare, "sh", "-c", limit, "sh"]) as (_, client, root):
        await indexed(client, 61)
        if "watches no more" not in (said := await said_sentence(client)):
            raise Wrong(f"said: {said}")
        for number in range(60):
            (root / f"d{number}" / "new.py").write_text("new = 1\n")
        await indexed(client, 121)


async def stopped_children(place: Path) -> None:
    async with session(place, cache=cache_with_model(place / "cache")) as (server, client, root):
        await client.state("ready")
        await indexed(client, 1)
        for child in family(server.process.pid)[1:]:
            child.suspend()
        for number in range(500):
            uri = f"{root.as_uri()}/{'x' * 200}{number}.py"
            client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": uri, "type": 1}]})
        if not await answers(client, root):
            raise Wrong("nothing is suggested")


async def shrunken_model(place: Path) -> None:
    folder = place / "cache" / "models" / DEFAULT_MODEL
    shutil.copytree(find_model(DEFAULT_MODEL), folder)
    async with session(place, may_fail=True) as (_, client, root):
        await client.state("ready")
        if not await answers(client, root):
            raise Wrong("nothing is suggested")
        os.truncate(folder / "model.onnx.data", 0)
        uri = (root / "other.py").as_uri()
        async with asyncio.timeout(SOON):
            for version in range(1, 10_000):
                client.open(uri, f"def subtract{version}(a, b):\n    return a - ")
                if not items_of(await client.request(*completion(uri, 1, 15), within=SOON)):
                    break
        await client.state("failed")


async def no_home(place: Path) -> None:
    code = "[os.environ.pop(name, None) for name in ('HOME', 'USER', 'LOGNAME', 'XDG_CACHE_HOME')]"
    wrapped = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    if os.getuid() != 0:
        raise Skipped("only the superuser can become another user")
    wrapped += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    async with session(place, wrapped=wrapped, code=code) as (_, client, root):
        await indexed(client, 1)
        await answers(client, root)


async def root_removed(place: Path) -> None:
    async with session(place) as (_, client, root):
        await indexed(client, 1)
        shutil.rmtree(root)
        await indexed(client, 0)
        root.mkdir()
        (root / "again.py").write_text("again = 1\n")
        await indexed(client, 1)
