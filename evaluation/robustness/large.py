"""Documents of ten megabytes: what they cost a server, beside the same text cut to 20,000 characters.

Seconds of the server's processor are measured, not those on the clock, so that other work on the machine counts little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from evaluation.harness.client import Client, Server, completion, edit, items_of, serving
from evaluation.robustness.campaign import Campaign
from evaluation.robustness.surroundings import SOON, cache_with_model, places

_LARGE, _SMALL = 10_000_000, 20_000  # code points
_DEADLINE = 0.4  # seconds: the server's own, by default
_OTHER = "file:///other.py"
_CHANGES = 4
_SETTLED = 0.02  # seconds of work in half a second


def _code(number: int) -> str:
    return (
        f"def function_{number}(first, second):\n    total = first + second * {number}\n    return [first, total]\n\n\n"
    )


def _minified(number: int) -> str:
    return f'function f{number}(a,b){{var c=a+b*{number};return c>10?[a,b,c].map(function(d){{return d+c}}):{{x:"s"}}}}'


def _record(number: int) -> str:
    return f'{{"name":"n{number}","values":[{number},{{"deep":[[{number}]]}}],"text":"lorem ipsum"}},'


def _filled(piece: Callable[[int], str], size: int) -> str:
    pieces, length, number = [], 0, 0
    while length < size:
        pieces.append(piece(number))
        length += len(pieces[-1])
        number += 1
    return "".join(pieces)[:size]


TEXTS: dict[str, tuple[str, Callable[[int], str]]] = {
    "Python": ("python", lambda size: _filled(_code, size)),
    "Python in one line": ("python", lambda size: "word = other + 1; " * (size // 18)),
    "one word": ("python", lambda size: "a" * size),
    "open brackets": ("javascript", lambda size: "[" * (size // 2)),
    "braces line by line": ("c", lambda size: "{\n" * (size // 2)),
    "closers": ("c", lambda size: ")]}" * (size // 3)),
    "nested HTML, 1 MB": ("html", lambda size: "<div>" * (size // 100) + "</div>" * (size // 120)),
    "nested JSON, 1 MB": ("json", lambda size: '{"a":[' * (size // 120) + "]}" * (size // 40)),
    "nested YAML, 1 MB": ("yaml", lambda size: "".join(" " * at + "a:\n" for at in range(int((size / 5) ** 0.5)))),
    "minified JavaScript": ("javascript", lambda size: _filled(_minified, size)),
    "JSON in one line": ("json", lambda size: "[" + _filled(_record, size)),
    "blank lines": ("python", lambda size: "\n" * size),
    "lone carriage returns": ("python", lambda size: "a = 1\r" * (size // 6)),
    "four bytes a character": ("python", lambda size: "x = '\U0001f600'\n" * (size // 8)),
    "half a surrogate pair": ("python", lambda size: "\ud83d" + "x = 1\n" * (size // 6)),
    "quotes": ("python", lambda size: '"' * size),
    "a long string": ("typescript", lambda size: "const a = '" + "QUJDRA" * (size // 6)),
}


@dataclass(frozen=True, slots=True)
class _Costs:
    """Seconds of the server's processor: to open a text, for the first answer, for one after a change, in another."""

    opened: float
    first: float
    keystroke: float
    other: float

    def __str__(self) -> str:
        return f"{self.opened:6.2f} {self.first:6.2f} {self.keystroke:6.2f} {self.other:6.2f}"


def run(campaign: Campaign) -> None:
    """Try each text once, at both sizes."""
    with places() as place:
        asyncio.run(_all(campaign, cache_with_model(place / "cache")))


async def _all(campaign: Campaign, cache: Path) -> None:
    campaign.notes["seconds of the processor"] = "opened, first answer, a keystroke, another document; at 20 KB | 10 MB"
    async with serving(cache) as server:
        await server.client.initialize(initializationOptions={"eagerness": "always"})
        await server.client.state("ready")
        server.client.open(_OTHER, "def add(a, b):\n    return a + ")
        await server.client.complete(_OTHER, 1, 15)
        kinds = campaign.kinds(list(TEXTS))
        for one, kind in zip(campaign.rounds(), kinds, strict=False):
            language, text = TEXTS[kind]
            small, large = [
                await _cost(server, f"file:///{one.seed}.{size}", language, text(size)) for size in (_SMALL, _LARGE)
            ]
            campaign.notes[kind] = f"{small} | {large}"
            campaign.tried[kind] += 1
            if large.keystroke - small.keystroke > _DEADLINE or large.other - small.other > _DEADLINE:
                campaign.found(kind, f"a keystroke costs {large}, and {small} in 20 KB", one.seed)
        await server.client.shut_down()
        if await server.wait(SOON) != 0 or b"Traceback" in server.stderr:
            campaign.found("server", server.stderr[-1_000:].decode("utf-8", "replace"), 1)


async def _cost(server: Server, uri: str, language: str, text: str) -> _Costs:
    client, process = server.client, psutil.Process(server.process.pid)
    middle = len(text) // 2
    before = text[:middle].replace("\r", "\n")
    line, character = before.count("\n"), len(before[before.rfind("\n") + 1 :].encode("utf-16-le", "replace")) // 2
    costs = [await _settled(process)]
    client.open(uri, text, language)
    await client.request("mellum/status", within=SOON)
    costs.append(_seconds(process))
    items_of(await client.request(*completion(uri, line, character), within=SOON))
    costs.append(_seconds(process))
    keystrokes, others = [], []
    for version in range(2, 2 + _CHANGES):
        at = await _settled(process)
        client.change(uri, version, edit((line, character), (line, character), "a"))
        items_of(await client.request(*completion(uri, line, character + 1), within=SOON))
        keystrokes.append(_seconds(process) - at)
        others.append(await _in_other(client, process, version))
        character += 1
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    return _Costs(costs[1] - costs[0], costs[2] - costs[1], min(keystrokes), min(others))


async def _in_other(client: Client, process: psutil.Process, version: int) -> float:
    at = await _settled(process)
    client.change(_OTHER, version, edit((1, 13), (1, 14), "+-*/"[version % 4]))
    items_of(await client.request(*completion(_OTHER, 1, 15), within=SOON))
    return _seconds(process) - at


async def _settled(process: psutil.Process) -> float:
    """Wait until the server works no more, for example ahead; returns its seconds so far."""
    before = _seconds(process)
    while True:
        await asyncio.sleep(0.5)
        if (now := _seconds(process)) - before < _SETTLED:
            return now
        before = now


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
