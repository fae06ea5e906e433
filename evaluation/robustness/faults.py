"""Everything that may be wrong about a workspace, a cache folder, a model or a machine, once each, with a real server.

Whatever it is: the server answers, what is whole is indexed, and each trouble is told in a sentence or two.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from engine.model_folders.locations import DEFAULT_MODEL, find_model
from evaluation.harness.client import Client, Server, completion, items_of, serving
from evaluation.robustness.campaign import Campaign
from evaluation.robustness.surroundings import SOON, cache_with_model, database, family, left_of, places
from indexer import index_now

_MOST_SENTENCES = 4
_SERVE = [sys.executable, "-P", "-m", "lsp_server"]
_DROPPED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
_TEXT = "def add(a, b):\n    return a + "


class Wrong(Exception):
    """What must not be."""


class Skipped(Exception):
    """The machine lacks what the fault is made with."""


def run(campaign: Campaign) -> None:
    """Try each fault; the seed is its number."""
    names = list(FAULTS)
    for one in campaign.rounds():
        if (number := one.seed - 1) >= len(names):
            return
        if names[number] not in campaign.kinds(names):
            continue
        campaign.say(names[number])
        with places() as place:
            place.chmod(0o755)
            try:
                asyncio.run(FAULTS[names[number]](place))
            except Skipped as why:
                campaign.notes[names[number]] = f"skipped: {why}"
                continue
            except (Wrong, TimeoutError, ConnectionError, AssertionError, psutil.Error) as error:
                campaign.found(names[number], f"{type(error).__name__}: {error}"[:1_200], one.seed)
            finally:
                _give_back(place)
        campaign.tried[names[number]] += 1


@asynccontextmanager
async def _session(
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
            initializationOptions={"confidence": 0, "deadline": 0},
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
    if len(said := _sentences(client)) > _MOST_SENTENCES:
        raise Wrong(f"{len(said)} sentences: {said}")


def _sentences(client: Client) -> list[str]:
    return [one["message"] for one in client.notifications("window/logMessage") if one["type"] <= 2]


async def _indexed(client: Client, files: int) -> None:
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
        raise Wrong(f"the index is {index}, not of {files} files; said: {_sentences(client)}") from None


async def _answers(client: Client, root: Path) -> list[dict[str, object]]:
    """A request for a suggestion is answered."""
    uri = (root / "main.py").as_uri()
    client.open(uri, _TEXT)
    return items_of(await client.request(*completion(uri, 1, 15), within=SOON))


async def _said(client: Client) -> str:
    """Wait for a sentence that tells of a trouble."""
    await client.until(lambda: _sentences(client), within=SOON)
    return _sentences(client)[0]


async def _odd_entries(make: Callable[[Path], int], place: Path) -> None:
    """Entries that are there at the start, and the same made while it runs; `make` returns how many are files."""
    root = place / "project"
    root.mkdir()
    files = make(root)
    async with _session(place) as (_, client, root):
        await _indexed(client, 1 + files)
        (root / "later").mkdir()
        files += make(root / "later")
        (root / "late.py").write_text("late = 1\n")
        await _indexed(client, 2 + files)
        await _answers(client, root)


def _pipes(root: Path) -> int:
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / ".ignore")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(root):
        listening.bind("socket.py")
    return 0


def _links(root: Path) -> int:
    for name, target in (("self.py", "self.py"), ("one", "two"), ("two", "one"), ("up", ".."), (".gitignore",) * 2):
        (root / name).symlink_to(target)
    return 0


def _names(root: Path) -> int:
    (root / os.fsdecode(b"caf\xe9.py")).write_text("x = 1\n")
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    good = ("line\nbreak.py", "tab\t.py", '"quoted".py', "[bold]red.py", "back\\slash.py", "-rf.py", "\U0001f600.py")
    for name in good:
        (root / name).write_text("x = 1\n")
    return len(good)


def _codecs(root: Path) -> int:
    codecs = (b"undefined", b"idna", b"hex", b"utf-7", b"no-such-thing", b"..", b"x" * 150)
    for number, codec in enumerate(codecs):
        (root / f"codec{number}.py").write_bytes(b"# -*- coding: " + codec + b" -*-\nx = 'caf\xe9'\n")
    return len(codecs)


def _ignore_files(root: Path) -> int:
    (root / ".gitignore").write_bytes(b"\xef\xbb\xbf[z-a]\n[[:alpha:\n\xff\xfe\n" + b"*/" * 5_000 + b"\n!\n\\\n")
    (root / "kept.py").write_text("kept = 1\n")
    return 1


def _crashing_texts(root: Path) -> int:
    (root / "deep.py").write_text("[\n" * 20_000)
    (root / "deep.c").write_text("{ a(\n" * 20_000)
    return 2


async def _crashes_grammar(place: Path) -> None:
    """A document that ends the process of its grammar, again and again, and the next ones."""
    async with _session(place, cache=cache_with_model(place / "cache")) as (_, client, root):
        await client.state("ready")
        for number in range(6):
            uri = f"file:///crash{number}.yaml"
            client.open(uri, f"-{' ' * (number + 1)}" * 254, "yaml")
            items_of(await client.request(*completion(uri, 0, 508), within=SOON))
        if not await _answers(client, root):
            raise Wrong("no suggestion afterwards")


async def _permissions(place: Path) -> None:
    root = place / "project"
    for name, mode in (("listed", 0o444), ("closed", 0o000), ("entered", 0o111)):
        (root / name).mkdir(parents=True)
        (root / name / "inside.py").write_text("x = 1\n")
        (root / name).chmod(mode)
    (root / "closed.py").write_text("x = 1\n")
    (root / "closed.py").chmod(0)
    async with _session(place, wrapped=_without_privileges()) as (_, client, root):
        await _indexed(client, 1)
        await _answers(client, root)


async def _full_disk(place: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
    async with _session(place, code=code) as (_, client, root):
        if "free some space" not in (said := await _said(client)):
            raise Wrong(f"said: {said}")
        await _answers(client, root)


async def _small_disk(place: Path) -> None:
    """A file system of its own with 96 kB, which becomes large again."""
    cache = place / "cache"
    cache.mkdir()
    if not _system("mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(cache)):
        raise Skipped("nothing may be mounted")
    try:
        async with _session(place) as (_, client, root):
            if "free some space" not in (said := await _said(client)):
                raise Wrong(f"said: {said}")
            await _answers(client, root)
            _system("mount", "-o", "remount,size=50m", str(cache))
            (root / "late.py").write_text("late = 1\n")
            await _indexed(client, 2)
    finally:
        _system("umount", "-l", str(cache))


async def _read_only_cache(place: Path) -> None:
    cache = cache_with_model(place / "cache")
    for path in [*cache.rglob("*"), cache]:
        if path.is_dir():
            path.chmod(0o555)
    async with _session(place, wrapped=_without_privileges()) as (_, client, root):
        await client.state("ready")
        if "cannot be written" not in (said := await _said(client)):
            raise Wrong(f"said: {said}")
        if not await _answers(client, root):
            raise Wrong("nothing is suggested")


async def _damaged_at_start(damage: Callable[[Path], object], place: Path) -> None:
    root = place / "project"
    root.mkdir()
    (root / "ok.py").write_text("def ok():\n    return 1\n")
    index = database(root, place / "cache")
    index_now(root, index, lambda message: None)
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(index)
    async with _session(place) as (_, client, root):
        await _indexed(client, 1)
        (root / "late.py").write_text("def late():\n    return 1\n")
        await _indexed(client, 2)


async def _damaged_while_running(damage: Callable[[Path], object], place: Path) -> None:
    async with _session(place) as (_, client, root):
        await _indexed(client, 1)
        damage(database(root, place / "cache"))
        await _answers(client, root)
        (root / "late.py").write_text("def late():\n    return 1\n")
        await _indexed(client, 2)


def _remove_cache(index: Path) -> None:
    shutil.rmtree(index.parents[2])


def _overwrite(start: int, data: bytes, index: Path) -> None:
    with index.open("r+b") as file:
        file.seek(start)
        file.write(data)


def _execute(statement: str, index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(statement)


def _replaced(make: Callable[[Path], object], index: Path) -> None:
    index.unlink()
    make(index)


async def _watches_run_out(place: Path) -> None:
    unshare = ["unshare", "-r"]
    if not _system(*unshare, "true"):
        raise Skipped("no user may have limits of their own here")
    root = place / "project"
    for number in range(60):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}" / "a.py").write_text("a = 1\n")
    limit = 'echo 30 > /proc/sys/user/max_inotify_watches; exec "$@"'
    async with _session(place, wrapped=[*unshare, "sh", "-c", limit, "sh"]) as (_, client, root):
        await _indexed(client, 61)
        if "watches no more" not in (said := await _said(client)):
            raise Wrong(f"said: {said}")
        for number in range(60):
            (root / f"d{number}" / "new.py").write_text("new = 1\n")
        await _indexed(client, 121)


async def _stopped_children(place: Path) -> None:
    async with _session(place, cache=cache_with_model(place / "cache")) as (server, client, root):
        await client.state("ready")
        await _indexed(client, 1)
        for child in family(server.process.pid)[1:]:
            child.suspend()
        for number in range(500):
            uri = f"{root.as_uri()}/{'x' * 200}{number}.py"
            client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": uri, "type": 1}]})
        if not await _answers(client, root):
            raise Wrong("nothing is suggested")


async def _shrunken_model(place: Path) -> None:
    folder = place / "cache" / "models" / DEFAULT_MODEL
    shutil.copytree(find_model(DEFAULT_MODEL), folder)
    async with _session(place, may_fail=True) as (_, client, root):
        await client.state("ready")
        if not await _answers(client, root):
            raise Wrong("nothing is suggested")
        os.truncate(folder / "model.onnx.data", 0)
        uri = (root / "other.py").as_uri()
        async with asyncio.timeout(SOON):
            for version in range(1, 10_000):
                client.open(uri, f"def subtract{version}(a, b):\n    return a - ")
                if not items_of(await client.request(*completion(uri, 1, 15), within=SOON)):
                    break
        await client.state("failed")


async def _no_home(place: Path) -> None:
    code = "[os.environ.pop(name, None) for name in ('HOME', 'USER', 'LOGNAME', 'XDG_CACHE_HOME')]"
    wrapped = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    if os.getuid() != 0:
        raise Skipped("only the superuser can become another user")
    wrapped += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    async with _session(place, wrapped=wrapped, code=code) as (_, client, root):
        await _indexed(client, 1)
        await _answers(client, root)


async def _root_removed(place: Path) -> None:
    async with _session(place) as (_, client, root):
        await _indexed(client, 1)
        shutil.rmtree(root)
        await _indexed(client, 0)
        root.mkdir()
        (root / "again.py").write_text("again = 1\n")
        await _indexed(client, 1)


def _system(*command: str) -> bool:
    """Run a command of the system, which takes no time; returns whether it has succeeded."""
    return (
        shutil.which(command[0]) is not None
        and not subprocess.run(command, check=False, capture_output=True).returncode
    )


def _without_privileges() -> list[str]:
    if os.getuid() != 0:
        return ["env"]
    if shutil.which("setpriv") is None:
        raise Skipped("there is no setpriv")
    return _DROPPED


def _give_back(place: Path) -> None:
    """Let what was closed be removed."""
    for path in [place, *place.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.chmod(0o755)


_DAMAGE: dict[str, Callable[[Path], object]] = {
    "no database": lambda index: index.write_bytes(b"something else" * 1000),
    "a folder": partial(_replaced, lambda path: (path / "x").mkdir(parents=True)),
    "a pipe": partial(_replaced, os.mkfifo),
    "no bytes": lambda index: index.write_bytes(b""),
    "half of it": lambda index: os.truncate(index, index.stat().st_size // 2),
    "one page": lambda index: os.truncate(index, 4096),
    "noise in its pages": lambda index: _overwrite(4096, os.urandom(max(index.stat().st_size - 8192, 4096)), index),
    "a table too few": partial(_execute, "DROP TABLE frequencies"),
    "another version": partial(_execute, "PRAGMA user_version = 7"),
}
_UNSEEN: dict[str, Callable[[Path], object]] = {
    "removed": lambda index: index.unlink(),
    "cache folder removed": _remove_cache,
    "half of it": lambda index: os.truncate(index, index.stat().st_size // 2),
    "noise in its pages": _DAMAGE["noise in its pages"],
}

FAULTS: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
    "pipes and sockets": partial(_odd_entries, _pipes),
    "links": partial(_odd_entries, _links),
    "names": partial(_odd_entries, _names),
    "codecs": partial(_odd_entries, _codecs),
    "ignore files": partial(_odd_entries, _ignore_files),
    "deep texts": partial(_odd_entries, _crashing_texts),
    "texts that crash a grammar": _crashes_grammar,
    "permissions": _permissions,
    "full disk": _full_disk,
    "small disk": _small_disk,
    "read-only cache": _read_only_cache,
    "watches run out": _watches_run_out,
    "stopped children": _stopped_children,
    "shrunken model": _shrunken_model,
    "no home": _no_home,
    "root removed": _root_removed,
    **{f"index at the start: {name}": partial(_damaged_at_start, damage) for name, damage in _DAMAGE.items()},
    **{f"index while running: {name}": partial(_damaged_while_running, damage) for name, damage in _UNSEEN.items()},
}
"""By name; `--seed` is the number."""
