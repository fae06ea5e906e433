"""Mutated documents: through the grammars' processes, through the engine's rules, and through real servers.

Grammars and rules run in a process that is asked for one seed after the other, so that a hang or a death is seen from
outside, and the round that caused it is known. `--only guided` lets atheris choose the texts, where it is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import hashlib
import json
import queue
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evaluation.harness.client import Client, completion, edit, items_of, serving
from evaluation.robustness import texts
from evaluation.robustness.campaign import Campaign, Round
from evaluation.robustness.guided import run_guided
from evaluation.robustness.rules import SLOW, rules_hold, timed
from evaluation.robustness.surroundings import SOON, cache_with_model, places
from indexer.parsing import analysis
from indexer.parsing.analysis import analyse, parse
from syntax import Delimiters
from syntax.children import start_python
from syntax.parsing.grammar_process import forget

KINDS = ("grammars", "rules", "server", "guided")
_SHARES = (10, 10, 1, 0)
_HANGS_AFTER = 60.0  # seconds
_CHANGES = 25  # of a document in a server
_WITH_DIGESTS = """
import hashlib, sys, lsp_server.server as s
make = s.create_server
def created():
    server = make()
    @server.feature('test/digest')
    def digest(ls, params):
        text = ls.workspace.get_text_document(params.uri).source
        return hashlib.sha256(text.encode('utf-16-le', 'surrogatepass')).hexdigest()
    return server
s.create_server = created
sys.exit(s.serve_stdio())
"""


def run(campaign: Campaign) -> None:
    """Try documents until the limits."""
    kinds = campaign.kinds(KINDS)
    if campaign.only == ("guided",):
        _guided(campaign)
        return
    shares = [_SHARES[KINDS.index(kind)] for kind in kinds]
    with places() as place, contextlib.closing(_Asker()) as asker:
        cache = cache_with_model(place / "cache") if "server" in kinds else place
        for one in campaign.rounds():
            kind = one.random.choices(kinds, shares)[0]
            if kind == "server":
                for what in asyncio.run(_in_server(one, cache)):
                    campaign.found(kind, what, one.seed)
                campaign.tried["server, changes"] += _CHANGES
            else:
                for what in asker.ask(kind, one.seed):
                    campaign.found(kind, what, one.seed)
            campaign.tried[kind] += 1


class _Asker:
    """The process that tries documents; replaced where it dies or hangs."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        pipe, self._answers = subprocess.PIPE, queue.SimpleQueue[bytes]()
        self._process = start_python("evaluation.robustness.documents", stdin=pipe, stdout=pipe, stderr=pipe)
        self._complaints = b""
        threading.Thread(target=self._listen, args=(self._process, self._answers), daemon=True).start()
        threading.Thread(target=self._drain, args=(self._process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes], answers: queue.SimpleQueue[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                answers.put(line)
        answers.put(b"")

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._complaints = (self._complaints + line)[-2_000:]

    def ask(self, kind: str, seed: int) -> list[str]:
        """What is wrong about the document of a seed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([kind, seed]).encode() + b"\n")
        self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=2 * _HANGS_AFTER)
        except queue.Empty:
            answer = b""
        if answer:
            return json.loads(answer)  # type: ignore[no-any-return]
        code = self._process.poll()
        self.close()
        what = "hangs" if code is None else f"ends the process with exit code {code}"
        found = [f"it {what}: {self._complaints.decode('utf-8', 'replace')[-1_000:]}"]
        self._start()
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()


def _serve() -> None:
    """Be that process."""
    for line in sys.stdin:
        kind, seed = json.loads(line)
        faulthandler.dump_traceback_later(_HANGS_AFTER)
        print(json.dumps(list(_TRIES[kind](random.Random(seed)))), flush=True)
        faulthandler.cancel_dump_traceback_later()
        forget()


def in_grammars(chance: random.Random) -> Iterator[str]:
    """What is wrong about reading a document with its grammar, as for a keystroke and as for the index."""
    chance.random()  # which chose the kind
    language = chance.choice(texts.LANGUAGES)
    text = texts.document(chance, language)
    at = chance.randrange(len(text) + 1)
    before, after = text[:at], text[at : at + 4_000]
    with timed() as seconds:
        try:
            delimiters = Delimiters(before, language)
            reading = delimiters.read(after)
            analysed = analyse(parse(text, "a", language), "a")
        except Exception as error:
            yield f"{language}: {error!r}"
            return
    if seconds[0] > SLOW:
        yield f"{language}: it takes {seconds[0]:.1f} s"
    if len(delimiters.columns) != len(delimiters.at_cursor):
        yield f"{language}: {len(delimiters.columns)} columns of {len(delimiters.at_cursor)} delimiters"
    offsets = [delimiter.offset for delimiter in reading.delimiters]
    if offsets != sorted(offsets) or any(not 0 <= offset < max(len(after), 1) for offset in offsets):
        yield f"{language}: delimiters at {offsets[:20]} of {len(after)} code points"
    lines = analysed.text.count("\n") + 1
    for name, first, last in [
        *(("chunk", chunk.first, chunk.last) for chunk in analysed.chunks),
        *(("symbol", symbol.first, symbol.last) for symbol in analysed.outline.symbols),
    ]:
        if not 0 <= first <= last < max(lines, 1):
            yield f"{language}: a {name} from line {first} to {last} of {lines}"
            return


def in_rules(chance: random.Random) -> Iterator[str]:
    """What is wrong about ending and trimming a text that a model might write into a document."""
    chance.random()
    language = chance.choice((*texts.LANGUAGES, *texts.WITHOUT_GRAMMAR, "plaintext", ""))
    text = texts.document(chance, chance.choice(texts.LANGUAGES) if language not in texts.LANGUAGES else language)
    at = chance.randrange(len(text) + 1)
    prefix, suffix = text[:at], text[at + chance.choice((0, 0, 50)) :]
    more = texts.document(chance, chance.choice(texts.LANGUAGES))
    generated = (suffix if chance.random() < 0.5 else more)[: chance.choice((5, 40, 300))]
    yield from rules_hold(prefix, suffix, language, generated, chance)


async def _in_server(one: Round, cache: Path) -> list[str]:
    """What is wrong about a document that changes again and again in a server: its text is the client's after each."""
    found: list[str] = []
    chance = one.random
    language = chance.choice(texts.LANGUAGES)
    text = texts.document(chance, language)
    encoding = chance.choice(("utf-8", "utf-16", "utf-32"))
    async with serving(cache, "-c", _WITH_DIGESTS) as server:
        client = server.client
        await client.initialize({"general": {"positionEncodings": [encoding]}}, initializationOptions={"deadline": 200})
        uri = f"file:///documents/{one.seed}"
        client.open(uri, text, language)
        for version in range(2, 2 + _CHANGES):
            start, end = sorted(_boundary(text, chance.randrange(len(text) + 1)) for _ in range(2))
            if chance.random() < 0.7:
                end = _boundary(text, min(start + chance.randrange(40), len(text)))
            new = texts.document(chance, language)[: chance.choice((0, 1, 5, 400))]
            client.change(uri, version, edit(_position(text, start, encoding), _position(text, end, encoding), new))
            text = text[:start] + new + text[end:]
            if await client.request("test/digest", {"uri": uri}, within=SOON) != _digest(text):
                found.append(f"{language}, {encoding}: change {version} of {start} to {end} leaves another text")
                break
            if chance.random() < 0.2:
                await _asked(client, uri, _position(text, start + len(new), encoding))
        if b"Traceback" in server.stderr:
            at = server.stderr.index(b"Traceback")
            found.append(f"a traceback on stderr: {server.stderr[at : at + 900].decode('utf-8', 'replace')}")
    return found


async def _asked(client: Client, uri: str, position: tuple[int, int]) -> None:
    items_of(await client.request(*completion(uri, *position), within=SOON))


def _boundary(text: str, offset: int) -> int:
    r"""The same offset, or the one before: none lies inside a \r\n."""
    return offset - (text[offset - 1 : offset + 1] == "\r\n")


def _position(text: str, offset: int, encoding: str) -> tuple[int, int]:
    """Line and character of an offset, told apart from the server's way: by splitting the text before it."""
    lines = text[:offset].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    units = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
    codec, size = units[encoding]
    return len(lines) - 1, len(lines[-1].encode(codec, "surrogatepass")) // size


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-16-le", "surrogatepass")).hexdigest()


def _guided(campaign: Campaign) -> None:
    """Let atheris choose the bytes that texts are made of, guided by the lines that they reach."""
    if find_spec("atheris") is None:
        campaign.say("guided: atheris is not installed (pip install atheris)")
        return
    run_guided(campaign)


_TRIES: dict[str, Any] = {"grammars": in_grammars, "rules": in_rules}

if __name__ == "__main__":
    try:
        _serve()
    finally:
        analysis.grammars.close()
