"""Mutated messages against real servers over stdio. Each round is one session of some thousand messages.

After each batch the server answers `mellum/status` and a completion, and every id that asked for a response has got
exactly one. Its memory stays bounded, and no text of a document reaches stderr.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from evaluation.harness.client import Client, Server, ServerError, completion, items_of, serving
from evaluation.robustness.campaign import Campaign, Round
from evaluation.robustness.mutations import ENOUGH, FIRST_ID, SENTINEL, TEXT, Messages, Sent, damaged, framed
from evaluation.robustness.surroundings import SOON, cache_with_model, places, workspace

KINDS = ("values", "values, with a model", "bytes")
_BATCHES, _BATCH = 20, 400
_BYTES_BATCH = 60
_LONGEST_PROPER = 20_000  # bytes: less than damaged headers may promise
_MOST_MEMORY = {"values": 300e6, "bytes": 300e6, "values, with a model": 1.2e9}  # bytes, at the end of a session

Answers = Counter[Any]


class Wrong(Exception):
    """What a server did that it must not."""


def run(campaign: Campaign) -> None:
    """Run sessions until the limits."""
    with places() as place:
        root = workspace(place / "project", "json")
        with_model, without = cache_with_model(place / "with"), place / "without"
        kinds = campaign.kinds(KINDS)
        for one in campaign.rounds():
            kind = one.random.choice(kinds)
            cache = with_model if kind.endswith("with a model") else without
            try:
                asyncio.run(_session(campaign, kind, one, root, cache))
            except (Wrong, TimeoutError, ConnectionError, AssertionError) as error:
                campaign.found(kind, f"{type(error).__name__}: {error}"[:1_000], one.seed)


async def _session(campaign: Campaign, kind: str, one: Round, root: Path, cache: Path) -> None:
    async with serving(cache) as server:
        try:
            await _talk(campaign, kind, one, server, root)
        except (TimeoutError, ConnectionError) as error:
            code = server.process.returncode
            raise Wrong(f"{error!r}; exit code {code}; stderr ends with {server.stderr[-600:]!r}") from error
    if SENTINEL.encode() in server.stderr:
        at = server.stderr.index(SENTINEL.encode())
        raise Wrong(f"text of a document on stderr: {server.stderr[max(at - 200, 0) : at + 40]!r}")
    if b"Traceback" in server.stderr:
        at = server.stderr.index(b"Traceback")
        raise Wrong(f"a traceback on stderr: {server.stderr[max(at - 200, 0) : at + 1500].decode('utf-8', 'replace')}")


async def _talk(campaign: Campaign, kind: str, one: Round, server: Server, root: Path) -> None:
    client, chance = server.client, one.random
    uris = [f"{root.as_uri()}/{name}.py" for name in ("a", "b")] + ["untitled:c", "file:///elsewhere/d.py"]
    folders = [root.as_uri(), f"{root.as_uri()}/json", "file:///no/such/folder"]
    messages = Messages(chance, uris, folders)
    client.answers["workspace/configuration"] = [messages.wrong_settings()]
    client.answers["client/registerCapability"] = messages.odd() if chance.random() < 0.5 else None
    process = psutil.Process(server.process.pid)
    await _batch(client, [messages.one() for _ in range(50)])  # before `initialize`, which may be among them
    capabilities = {"workspace": {"configuration": chance.random() < 0.5}}
    try:
        await client.initialize(
            capabilities,
            workspaceFolders=[{"uri": root.as_uri(), "name": "project"}],
            initializationOptions=messages.wrong_settings(),
        )
    except ServerError as error:
        if "already" not in str(error):
            raise Wrong(f"initialize is refused: {error}") from error
        client.notify("initialized", {})
    for number in range(_BATCHES):
        if kind == "bytes":
            await _damaged_batch(client, messages, chance)
            campaign.tried[kind] += _BYTES_BATCH
        else:
            await _batch(client, [messages.one() for _ in range(_BATCH)])
            campaign.tried[kind] += _BATCH
        await _check(client, number)
        client.recorded.clear()
    if (memory := process.memory_info().rss) > _MOST_MEMORY[kind]:
        raise Wrong(f"{memory / 1e6:.0f} MB of memory are in use")
    if kind.endswith("with a model"):
        await _suggests(client)
    await client.request("shutdown", within=SOON)
    await _batch(client, [messages.one() for _ in range(50)])
    client.send({"method": "exit"})
    if (code := await server.wait(SOON)) != 0:
        raise Wrong(f"exit code {code} after shutdown and exit")


async def _batch(client: Client, batch: list[Sent]) -> None:
    """Send messages in one piece, and wait until each that asks for it has its response, and none has two."""
    client.responses.clear()
    expected = Counter(_key(one.identifier) for one in batch if one.answered)
    client.send_bytes(b"".join(framed(one.body) for one in batch))
    try:
        await client.until(lambda: len(client.responses) >= expected.total(), within=SOON)
        await client.request("mellum/status", within=SOON)
    except (TimeoutError, ServerError) as error:
        if isinstance(error, TimeoutError):
            _compare(expected, client, batch)
            raise
    _compare(expected, client, batch)


def _compare(expected: Answers, client: Client, batch: list[Sent]) -> None:
    got = Counter(_key(message["id"]) for message in client.responses if not _is_own(message["id"]))
    for key in [*(expected - got), *(got - expected)][:1]:
        sent = [one.body[:400].decode() for one in batch if one.answered and _key(one.identifier) == key]
        raise Wrong(f"id {key!r:.80} got {got[key]} responses instead of {expected[key]}, for {sent}")


def _is_own(identifier: Any) -> bool:
    """Whether it is one of those that the client counts for what it asks itself."""
    return type(identifier) is int and 0 < identifier < FIRST_ID


def _key(identifier: Any) -> Any:
    return identifier if not isinstance(identifier, float) else str(identifier)


async def _damaged_batch(client: Client, messages: Messages, chance: Any) -> None:
    """Send messages with damage among their bytes: none gets two responses, and the next whole one gets its own."""
    client.responses.clear()
    batch = [messages.proper(_LONGEST_PROPER) for _ in range(_BYTES_BATCH)]
    stream = damaged(chance, b"".join(framed(one.body) for one in batch))
    client.send_bytes(stream + ENOUGH)
    await client.request("mellum/status", within=SOON)
    got = Counter(
        _key(message["id"]) for message in client.responses if message["id"] is not None and not _is_own(message["id"])
    )
    for key, count in got.items():
        if count > stream.count(json.dumps(key).encode()):  # damage has repeated some
            raise Wrong(f"id {key!r:.80} got {count} responses")


async def _check(client: Client, number: int) -> None:
    """What a user needs goes on: a document is opened, completed and closed."""
    uri = f"file:///check/{number}.py"
    status = await client.request("mellum/status", within=SOON)
    if not isinstance(status, dict) or "state" not in status:
        raise Wrong(f"the status is {status!r:.200}")
    client.open(uri, TEXT)
    items_of(await client.request(*completion(uri, 7, 8), within=SOON))
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})


async def _suggests(client: Client) -> None:
    """With proper settings, the model suggests something again."""
    settings = {"eagerness": "always", "deadline": 0, "enabled": True, "logLevel": "info"}
    client.answers["workspace/configuration"] = [settings]
    client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})
    uri = "untitled:last.py"
    client.open(uri, "def add(a, b):\n    return ")
    async with asyncio.timeout(SOON):
        while not items_of(await client.request(*completion(uri, 1, 11), within=SOON)):
            pass
