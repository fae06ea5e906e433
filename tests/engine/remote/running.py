"""Real servers as processes, for tests: started, told how to behave, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from engine.model_folders.locations import CACHE_VARIABLE, DEFAULT_MODEL
from evaluation.harness.client import SOON
from evaluation.harness.llama import LlamaServer, control_names, llama_server, weights
from export.default_model import ADAPTER
from syntax.children import child_environment, python_command
from tests.engine.remote.openai_server import MODEL

ELSEWHERE = "gpu.example"
"""A host that is not this machine, to which proxies may lead; a certificate of ours names it, too."""


@dataclass
class Running:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]
    authority: Path | None = None
    """The file of the authority that has signed its certificate."""
    model: str = MODEL

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://localhost:{self.port}"

    def behave(self, **behaviour: Any) -> None:
        """From now on; without arguments, well. What was seen is forgotten."""
        self._ask("/behave", behaviour)

    def seen(self) -> dict[str, Any]:
        said: dict[str, Any] = self._ask("/seen")
        return said

    def seen_tokens(self, prompt: str) -> list[int]:
        """The tokens that the server reads in a text."""
        tokens: list[int] = self._ask("/tokenize", {"prompt": prompt})["tokens"]
        return tokens

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def is_up(self) -> bool:
        try:
            self._ask("/v1/models")
        except OSError:
            return False
        return True

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        trust = ssl.create_default_context(cafile=str(self.authority)) if self.authority else None
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with direct.open(self.url + path, data, timeout=SOON) as response:
            return json.load(response)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def running(model_cache: Path, *, tls: Path | None = None, port: int | None = None) -> Iterator[Running]:
    """A server of ours; with TLS where there is a folder for its certificate."""
    port = port or free_port()
    folder = model_cache / "models" / DEFAULT_MODEL
    authority, files = certify(tls) if tls is not None else (None, [])
    command = python_command("tests.engine.remote.openai_server", str(folder), str(port), *map(str, files))
    house = str(Path(__file__).parents[3])
    environment = child_environment({"PYTHONPATH": os.pathsep.join([house, os.environ.get("PYTHONPATH", "")])})
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Running(port, process, authority)
    try:
        wait_for(server.is_up, lambda: process.poll() is None)
        yield server
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def llama_running(model_cache: Path) -> Iterator[LlamaServer]:
    """llama.cpp's own server with the default model's weights, on a thread with a loop of its own."""
    loop, found = asyncio.new_event_loop(), list[LlamaServer]()
    is_up, over = threading.Event(), threading.Event()

    async def serve(gguf: Path) -> None:
        async with llama_server(gguf, context=4096) as server:
            found.append(server)
            is_up.set()
            await asyncio.to_thread(over.wait)

    names = control_names(model_cache / "models" / DEFAULT_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(model_cache))
        with weights(["Q8_0"], None, ADAPTER, names) as made:
            thread = threading.Thread(target=lambda: loop.run_until_complete(serve(made["Q8_0"])))
            thread.start()
            wait_for(lambda: is_up.is_set() or not thread.is_alive())
            try:
                yield found[0]
            finally:
                over.set()
                thread.join()


def certify(folder: Path) -> tuple[Path, list[Path]]:
    """An authority's file, and a certificate of it for this machine with its key."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", ELSEWHERE)
    files = folder / "authority.pem", folder / "certificate.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(files[0]))
    issued.cert_chain_pems[0].write_to_path(str(files[1]))
    issued.private_key_pem.write_to_path(str(files[2]))
    return files[0], [files[1], files[2]]


def wait_for(
    condition: Callable[[], object], is_alive: Callable[[], bool] = lambda: True, within: float = SOON
) -> None:
    """Wait until something is true."""
    until = time.monotonic() + within
    while not condition():
        assert is_alive(), "the server has ended"
        assert time.monotonic() < until, f"not within {within} s"
        time.sleep(0.02)
