"""Typing at high speed for a long time: real files into a real server, several documents at once.

First, many places of many documents are visited, which fills what the server remembers sooner than typing would. Then
characters come one by one or in small pieces, with jumps, deletions, undo, closed documents and changed settings, and a
request for a suggestion after most of them. Memory, descriptors, threads and child processes must stay flat after the
first third of the typing, and the processor must rest once the typing ends. README.md says what memory holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from evaluation.harness.client import Client, Server, ServerError, completion, edit, items_of, serving
from evaluation.robustness.campaign import Campaign, Round
from evaluation.robustness.surroundings import SOON, cache_with_model, family, places, workspace

_SAMPLES = 60  # in a run
_MOST_GROWTH = 0.05  # of the memory
_IDLE_SECONDS, _MOST_IDLE = 20.0, 0.01  # the processor's time, as a share of one core
_DOCUMENTS = 4
_SETTINGS: dict[str, Any] = {"eagerness": "always", "deadline": 200, "stateMemory": 100}  # full after some ten places
_VISITS, _VISITING = 200, 0.25  # places, visited in a share of the time at most


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server and its children use at one moment."""

    memory: float
    """Of the server itself, in bytes, without the pages of mapped files, which the system takes back when it likes."""
    all_memory: float
    mapped: float
    """Bytes of mapped files that the server has read: the model's and the libraries'."""
    descriptors: int
    threads: int
    children: int


def run(campaign: Campaign) -> None:
    """Type for as long as the campaign may take, in one round."""
    for one in campaign.rounds():
        with places() as place:
            asyncio.run(_soak(campaign, one, place, campaign.seconds_left))


async def _soak(campaign: Campaign, one: Round, place: Path, seconds: float) -> None:
    root, cache = workspace(place / "project"), cache_with_model(place / "cache")
    async with serving(cache) as server:
        client = server.client
        await client.initialize(
            workspaceFolders=[{"uri": root.as_uri(), "name": "project"}], initializationOptions=_SETTINGS
        )
        await client.state("ready")
        samples = await _type(campaign, one, server, root, seconds)
        _judge(campaign, one, samples)
        await _rest(campaign, one, server)
        if b"Traceback" in server.stderr:
            at = server.stderr.index(b"Traceback")
            campaign.found("log", f"a traceback on stderr: {server.stderr[at : at + 800]!r}", one.seed)
        await client.shut_down()
        if (code := await server.wait()) != 0:
            campaign.found("exit", f"exit code {code}", one.seed)


async def _type(campaign: Campaign, one: Round, server: Server, root: Path, seconds: float) -> list[Sample]:
    client, chance = server.client, one.random
    typists = [_Typist(client, random.Random(chance.random()), root, number) for number in range(_DOCUMENTS)]
    await _visit(campaign, client, typists, seconds * _VISITING)
    seconds = campaign.seconds_left
    started, samples = time.monotonic(), list[Sample]()
    while (spent := time.monotonic() - started) < seconds:
        typist = chance.choice(typists)
        for _ in range(chance.randrange(5, 80)):
            await typist.step()
        if chance.random() < 0.01:
            await _toggle(client, chance)
            campaign.tried["settings changed"] += 1
        if spent > len(samples) * seconds / _SAMPLES:
            samples.append(_sample(server))
            campaign.say(f"{samples[-1]}, {sum(typist.keys for typist in typists)} keys")
        client.recorded.clear()
        client.responses.clear()
    for name in ("keys", "requests", "suggestions", "documents"):
        campaign.tried[name] = sum(getattr(typist, name) for typist in typists)
    for typist in typists:
        typist.close()
    return samples


async def _visit(campaign: Campaign, client: Client, typists: Sequence[_Typist], seconds: float) -> None:
    """Ask at many places of many documents, one after the other, and wait for each answer."""
    started = time.monotonic()
    for number in range(_VISITS):
        if time.monotonic() - started > seconds:
            break
        await typists[number % len(typists)].visit()
        campaign.tried["places visited"] += 1
        client.recorded.clear()
        client.responses.clear()


class _Typist:
    """Types files into one document after the other."""

    def __init__(self, client: Client, chance: random.Random, root: Path, number: int) -> None:
        self._client, self._random, self._root, self._number = client, chance, root, number
        self._files = sorted((Path(sysconfig.get_paths()["stdlib"])).glob("*.py"))
        self._waiting: list[asyncio.Future[object]] = []
        self._undo: list[tuple[int, int, str]] = []
        self.keys = self.requests = self.suggestions = self.documents = 0
        self._begin()

    def _begin(self) -> None:
        """Open a new document with the first half of a file in it; the rest is to be typed."""
        source = self._random.choice(self._files).read_text(encoding="utf-8", errors="replace")[:20_000]
        half = self._random.randrange(len(source) // 2 + 1)
        self._text, self._ahead, self._version = source[:half], source[half:], 1
        self._at = len(self._text)
        self.documents += 1
        self._uri = f"{self._root.as_uri()}/typed{self._number}_{self.documents % 50}.py"
        self._undo.clear()
        self._client.open(self._uri, self._text)

    def close(self) -> None:
        """Close the document."""
        self._client.notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})

    async def visit(self) -> None:
        """Open another document, and wait for a suggestion in it."""
        self.close()
        self._begin()
        await self._ask(is_awaited=True)

    async def step(self) -> None:
        """One thing that a user does."""
        how = self._random.random()
        if not self._ahead or how < 0.0005:
            self.close()
            self._begin()
        elif how < 0.01:
            self._at = self._random.randrange(len(self._text) + 1)  # a jump
        elif how < 0.03 and self._undo:
            for at, length, text in reversed(self._undo[-5:]):
                self._replace(at, at + length, text, is_undo=True)
            del self._undo[-5:]
        elif how < 0.08:
            self._replace(max(self._at - self._random.choice((1, 1, 30)), 0), self._at, "")
        else:
            length = self._random.choice((1, 1, 1, 1, 4, 200))
            piece, self._ahead = self._ahead[:length], self._ahead[length:]
            self._replace(self._at, self._at, piece)
        if self._random.random() < 0.7:
            await self._ask()

    def _replace(self, start: int, end: int, text: str, *, is_undo: bool = False) -> None:
        if not is_undo:
            self._undo = [*self._undo[-50:], (start, len(text), self._text[start:end])]
        self._version += 1
        self.keys += 1
        change = edit(self._position(start), self._position(end), text)
        self._client.change(self._uri, self._version, change)
        self._text = self._text[:start] + text + self._text[end:]
        self._at = start + len(text)

    async def _ask(self, *, is_awaited: bool = False) -> None:
        """Ask for a suggestion; wait for one request in eight, or where many are under way."""
        self.requests += 1
        _, future = self._client.start_request(*completion(self._uri, *self._position(self._at), triggerKind=2))
        self._waiting.append(future)
        if is_awaited or len(self._waiting) > 8 or self._random.random() < 0.125:
            waiting, self._waiting = self._waiting, []
            async with asyncio.timeout(SOON):
                for one in waiting:
                    with contextlib.suppress(ServerError):  # cancelled
                        self.suggestions += bool(items_of(await one))

    def _position(self, offset: int) -> tuple[int, int]:
        before = self._text[:offset]
        line = before[before.rfind("\n") + 1 :]
        return before.count("\n"), len(line.encode("utf-16-le")) // 2


async def _toggle(client: Client, chance: random.Random) -> None:
    """Change settings, as a user who tries what they do; now and then the model is let go for a moment."""
    tried: list[dict[str, Any]] = [{"eagerness": "quiet"}, {"disabledLanguages": ["python"]}, {"maxTokens": 8}]
    tried += [{"logLevel": "debug"}, {"deadline": 50}, *[{"enabled": False}] * (chance.random() < 0.2)]
    changed = chance.choice(tried)
    for settings in ({**_SETTINGS, **changed}, _SETTINGS):
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})
        await client.request("mellum/status", within=SOON)


def _sample(server: Server) -> Sample:
    everyone = family(server.process.pid)
    memory = [_memory_of(process) for process in everyone]
    first = everyone[0]
    own, mapped = memory[0]
    return Sample(own, sum(one for one, _ in memory), mapped, first.num_fds(), first.num_threads(), len(everyone) - 1)


def _memory_of(process: psutil.Process) -> tuple[float, float]:
    """Bytes of its own, and of mapped files; where the system does not tell them apart, all are its own."""
    try:
        info = process.memory_info()
    except psutil.Error:
        return 0.0, 0.0
    mapped = getattr(info, "shared", 0)
    return float(info.rss - mapped), float(mapped)


def _judge(campaign: Campaign, one: Round, samples: Sequence[Sample]) -> None:
    """Compare the last third with the middle one."""
    third = len(samples) // 3
    if not third:
        return
    middle, last = samples[third : 2 * third], samples[2 * third :]
    for name in ("memory", "all_memory", "mapped", "descriptors", "threads", "children"):
        before, after = (statistics.median(getattr(sample, name) for sample in part) for part in (middle, last))
        unit = 1e6 if name in ("memory", "all_memory", "mapped") else 1
        figure = f"{before / unit:,.0f} in the middle third, {after / unit:,.0f} in the last"
        campaign.notes[name.replace("_", " ") + (", MB" if unit > 1 else "")] = figure
        allowed = before * (1 + _MOST_GROWTH) if unit > 1 else before + 2
        if after > allowed and name != "mapped":  # never more than the files
            campaign.found(name, f"not flat: {figure}", one.seed)


async def _rest(campaign: Campaign, one: Round, server: Server) -> None:
    """Wait until the work that is done ahead is done, then measure."""
    share = 1.0
    for _ in range(6):
        before = _seconds(server)
        await asyncio.sleep(_IDLE_SECONDS)
        share = (_seconds(server) - before) / _IDLE_SECONDS
        if share < _MOST_IDLE:
            break
    campaign.notes["processor when idle"] = f"{share:.2%} of a core"
    campaign.tried["rests"] += 1
    if share >= _MOST_IDLE:
        campaign.found("rest", f"the processor does not rest: {share:.1%} of a core", one.seed)


def _seconds(server: Server) -> float:
    """Of the processor, that the server and its children have used."""
    total = 0.0
    for process in family(server.process.pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total
