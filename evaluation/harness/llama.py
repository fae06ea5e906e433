"""llama.cpp as the peer: its server built from source, the default model's weights in its formats, and a user of it.

The user does what llama.vim does: 256 lines of prefix and 64 of suffix, one request at a time that is not cancelled,
250 suggestions remembered and found again up to 128 characters later, the next one asked for while one is shown,
silence with more than 8 characters after the cursor. Where llama.vim waits 100 ms to try again, it does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.model_folders.locations import find_model
from engine.model_folders.manifest import TOKENIZER_FILE, PromptFormat, read_manifest
from engine.prompt.layout import prefix_window
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.thread_count import chosen
from evaluation.harness.functions import Function
from evaluation.harness.gguf_weights import gguf_of, merged
from evaluation.harness.packages import fetched, folder
from evaluation.harness.sides import Answer, cpu_seconds
from evaluation.harness.typist import Page
from export.default_model import WHEEL, WHEEL_SHA256

Weights = Literal["Q8_0", "Q4_K_M"]

# The Python binding's source package carries llama.cpp whole, its server included.
_SOURCE = "llama-cpp-python==0.3.36"
_SOURCE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_STARTED_WITHIN = 60.0

_PREFIX_LINES, _SUFFIX_LINES = 256, 64
_REMEMBERED, _LOOKED_BACK = 250, 128
_MOST_RIGHT_OF_CURSOR = 8
_FIRST_MS, _NEXT_MS = 250, 1000  # for writing: of a request that the user waits for, and of the one after it


def built() -> Path:
    """The folder of llama.cpp's programs, built for this machine the first time (ten minutes on two cores).

    Without AMX, whose code crashes on some machines; everything else that the processor has is used.
    """
    target = folder() / _SOURCE.replace("==", "-")
    programs = target / "build" / "bin"
    suffix = ".exe" if sys.platform == "win32" else ""
    if all((programs / f"{name}{suffix}").is_file() for name in ("llama-server", "llama-quantize")):
        return programs
    with tarfile.open(fetched(_SOURCE, _SOURCE_SHA256, "source")) as archive:
        archive.extractall(target, filter="data")
    source = next(target.glob("*/vendor/llama.cpp"))
    switches = {
        "CMAKE_BUILD_TYPE": "Release",
        "BUILD_SHARED_LIBS": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_USE_PREBUILT_UI": "OFF",
        "LLAMA_OPENSSL": "OFF",
        "LLAMA_CURL": "OFF",
    }
    if platform.machine() == "x86_64" and sys.platform != "win32":
        native = "-march=native -mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
        switches |= {"GGML_NATIVE": "OFF", "CMAKE_C_FLAGS": native, "CMAKE_CXX_FLAGS": native}
    cmake, build = _tool("cmake"), str(target / "build")
    options = [f"-D{name}={value}" for name, value in switches.items()]
    options += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"]
    subprocess.run([cmake, "-S", str(source), "-B", build, *options], check=True)
    subprocess.run([cmake, "--build", build, "--target", "llama-server", "llama-quantize"], check=True)
    return programs


def _tool(name: str) -> str:
    """A program beside this interpreter, where the extra puts it, else on the path. Raises RuntimeError."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    if (found := shutil.which(name, path=places)) is None:
        raise RuntimeError(f"Building llama.cpp needs {name}; run: pip install -e '.[evaluation]'")
    return found


@contextmanager
def weights(
    formats: Sequence[Weights],
    source: Path | None,
    adapter: Path | None,
    names: Mapping[int, str] | None = None,
) -> Iterator[dict[Weights, Path]]:
    """The same weights as ours, in formats of llama.cpp's own making, in a temporary folder.

    `source` is a GGUF file, without which it is the default model's; `adapter` is merged into it, and tokens are called
    by `names`.
    """
    with tempfile.TemporaryDirectory() as temporary, gguf_of(source or fetched(WHEEL, WHEEL_SHA256)) as gguf:
        if adapter is not None:
            merged(gguf, adapter, Path(temporary) / "merged.gguf", names)
            gguf = Path(temporary) / "merged.gguf"
        made = {format: Path(temporary) / f"{format}.gguf" for format in formats}
        for format, target in made.items():
            command = [str(built() / "llama-quantize"), "--allow-requantize", str(gguf), str(target), format]
            subprocess.run(command, check=True, capture_output=True)
        yield made


def control_names(folder: Path) -> dict[int, str]:
    """What a model folder calls its control tokens, by id."""
    tokenizer = Tokenizer(folder / TOKENIZER_FILE)
    return {token: tokenizer.decode([token]) for token in read_manifest(folder).prompt.stop}


@dataclass(frozen=True, slots=True)
class Completion:
    """What llama.cpp's server answered."""

    text: str
    computed: int
    """Prompt tokens that were not in its cache."""
    prefill_seconds: float
    decode_seconds: float
    decoded: int


class LlamaServer:
    """A running server of llama.cpp."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port
        self.address = f"http://127.0.0.1:{port}"

    async def complete(self, tokens: list[int], count: int, **more: Any) -> Completion:
        """Let it write up to `count` tokens after a prompt, each the likeliest."""
        request = {"prompt": tokens, "n_predict": count, "temperature": 0.0, "cache_prompt": True, **more}
        answer = await asyncio.to_thread(self._post, "/completion", request)
        timings = answer["timings"]
        return Completion(
            answer["content"],
            timings["prompt_n"],
            timings["prompt_ms"] / 1e3,
            timings["predicted_ms"] / 1e3,
            timings["predicted_n"],
        )

    async def is_ready(self) -> bool:
        """Whether the model is loaded."""
        try:
            await asyncio.to_thread(self._post, "/health", None)
        except OSError:  # not listening yet, or 503 while it loads
            return False
        return True

    def _post(self, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)


@asynccontextmanager
async def llama_server(
    gguf: Path, *, context: int, parallel: int = 1, more: Sequence[str] = ()
) -> AsyncIterator[LlamaServer]:
    """Run a server with the options that llama.vim's authors recommend, and as many threads as ours has.

    `context`: tokens of all its `parallel` slots together. `more`: further options, which come last.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--ctx-size", str(context), "--batch-size", "1024", "--ubatch-size", "1024", "--cache-reuse", "256"]
    threads = chosen(read_manifest(find_model())).threads
    options += [
        "--threads",
        str(threads),
        "--parallel",
        str(parallel),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *more,
    ]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        str(built() / "llama-server"), "--model", str(gguf), *options, stdin=quiet, stdout=quiet, stderr=quiet,
        env={**os.environ, "LLAMA_ARG_OFFLINE": "1"},
    )  # fmt: skip
    try:
        server = LlamaServer(process.pid, port)
        async with asyncio.timeout(_STARTED_WITHIN):
            while not await server.is_ready():
                if process.returncode is not None:
                    raise RuntimeError(f"llama-server cannot serve {gguf}; start it by hand to see why")
                await asyncio.sleep(0.05)
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class LlamaVim:
    """A user of that server in llama.vim, whose prompts have `budget` tokens at most."""

    def __init__(self, name: str, server: LlamaServer, tokenizer: Tokenizer, style: PromptFormat, budget: int) -> None:
        self.name = name
        self._server, self._tokenizer, self._style, self._budget = server, tokenizer, style, budget
        self._remembered: OrderedDict[tuple[int, int], tuple[str, str]] = OrderedDict()
        """By the lengths of what stands before and after a place: what stands before it, and the suggestion."""
        self._job: asyncio.Task[int] | None = None

    async def open(self, function: Function, page: Page) -> None:
        """Begin a document: what was suggested in others is forgotten, as it is at our server."""
        self._remembered.clear()

    def ask(self, page: Page) -> asyncio.Task[Answer]:
        """Look for a suggestion, and for the one after it."""
        return asyncio.create_task(self._answer(page))

    def taken(self) -> None:
        """Nothing: the next suggestion was asked for when this one was shown."""

    async def rest(self) -> None:
        """Wait for the request that is under way."""
        if self._job is not None:
            await self._job

    def cpu_seconds(self) -> float:
        """The server; this process, which would be the editor, is not counted."""
        return cpu_seconds(self._server.pid)

    async def _answer(self, page: Page) -> Answer:
        asked = time.perf_counter()
        computed: int | None = None
        if len(page.after.split("\n", 1)[0]) > _MOST_RIGHT_OF_CURSOR:
            return Answer("", 0, time.perf_counter() - asked, computed)
        while (text := self._recall(page)) is None:
            if self._job is not None and not self._job.done():
                await asyncio.shield(self._job)  # of an earlier place; what it brings may do for this one
                continue
            self._job = asyncio.create_task(self._fetch(page.before, page.after, _FIRST_MS))
            computed = await asyncio.shield(self._job)
        seconds = time.perf_counter() - asked
        is_free = self._job is None or self._job.done()
        if text and is_free and (len(page.before) + len(text), len(page.after)) not in self._remembered:
            self._job = asyncio.create_task(self._fetch(page.before + text, page.after, _NEXT_MS))
        return Answer(text, 0, seconds, computed)

    def _recall(self, page: Page) -> str | None:
        """What is left of a suggestion that was made here or shortly before; the longest rest counts."""
        found: str | None = None
        for back in range(_LOOKED_BACK + 1):
            before, text = self._remembered.get((len(page.before) - back, len(page.after)), ("", ""))
            if not before or not page.before.startswith(before) or not text.startswith(page.before[len(before) :]):
                continue
            if found is None and not back:
                found = text
            elif len(text) - back > len(found or ""):
                found = text[back:]
        return found

    async def _fetch(self, before: str, after: str, milliseconds: int) -> int:
        """Ask the server and remember its answer; returns how many tokens of the prompt it computed."""
        line = before[before.rfind("\n") + 1 :]
        completion = await self._server.complete(
            prompt(before, after, self._tokenizer, self._style, self._budget),
            128,
            t_max_predict_ms=milliseconds,
            n_indent=len(line) - len(line.lstrip()) if line.strip() else 0,
        )
        self._remembered[len(before), len(after)] = before, tidied(completion.text, after)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return completion.computed


def prompt(before: str, after: str, tokenizer: Tokenizer, style: PromptFormat, budget: int) -> list[int]:
    """llama.vim's window, in the model's own layout; a model that knows no suffix gets the prefix alone.

    Where it has more tokens than `budget`, it is our window, which moves in big steps: were it cut line by line, every
    Enter would cost llama.cpp its cached state.
    """
    suffix: list[int] = []
    if style.style != "plain":
        suffix = tokenizer.encode("".join(after.splitlines(keepends=True)[: _SUFFIX_LINES + 1]))[: budget // 8]
    budget -= len(suffix)
    lines = prefix_window(before, len(before), budget).splitlines(keepends=True)[-_PREFIX_LINES - 1 :]
    prefix = tokenizer.encode("".join(lines))
    if len(prefix) > budget:
        step = budget // 2
        prefix = prefix[-(-(len(prefix) - budget) // step) * step :]
    if style.style == "mellum":
        laid_out = [style.fim_suffix, *suffix, style.fim_prefix, *prefix, style.fim_middle]
    elif style.style == "psm":
        laid_out = [style.fim_prefix, *prefix, style.fim_suffix, *suffix, style.fim_middle]
    else:
        laid_out = list(prefix)
    return [token for token in laid_out if token is not None]


def tidied(text: str, after: str) -> str:
    """What llama.vim shows of an answer: nothing blank, and nothing that only repeats what stands there already."""
    text = text.rstrip()
    below = [line for line in after.split("\n")[1:] if line.strip()]
    rest_of_line = after.split("\n", 1)[0]
    said = [line for line in text.split("\n") if line.strip()]
    if not said or (rest_of_line and text == rest_of_line) or (not rest_of_line and below[:1] == said):
        return ""
    return text
