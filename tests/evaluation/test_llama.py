"""The peer is used as llama.vim uses it; here its server is a few lines of HTTP that answer with known text."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import PromptFormat
from engine.prompt.tokenizer import Tokenizer
from evaluation.harness.llama import LlamaServer, LlamaVim, prompt, tidied
from evaluation.harness.sides import Answer
from evaluation.harness.typist import Page

PLAIN = PromptFormat("plain", None, None, None, None, (0,), token_healing=True)
MELLUM = PromptFormat("mellum", None, 5, 6, 7, (0,), token_healing=False)


@pytest.fixture(scope="module")
def tokenizer(model_cache: Path) -> Tokenizer:
    return Tokenizer(model_cache / "models" / DEFAULT_MODEL / "tokenizer.json")


class Answering(ThreadingHTTPServer):
    """Answers every completion with the same text, and keeps what it was asked."""

    def __init__(self, text: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.text = text
        self.asked: list[dict[str, object]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        timings = {"prompt_n": 7, "prompt_ms": 1.0, "predicted_ms": 2.0, "predicted_n": 3}
        body = json.dumps({"content": self.server.text, "timings": timings}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Answering]:
    with Answering("a + b\n") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


async def ask(vim: LlamaVim, before: str, after: str = "\n") -> Answer:
    answer = await vim.ask(Page(before, after, ""))
    await vim.rest()
    return answer


async def test_a_suggestion_is_found_again_while_it_is_typed_and_the_next_is_there(
    answering: Answering, tokenizer: Tokenizer
) -> None:
    vim = LlamaVim("llama", LlamaServer(os.getpid(), answering.server_port), tokenizer, PLAIN, 256)
    answer = await ask(vim, "return ")
    assert (answer.text, answer.computed) == ("a + b", 7)
    assert len(answering.asked) == 2, "one for this place, one for what follows it"
    assert answering.asked[0]["prompt"] == tokenizer.encode("return ")
    assert answering.asked[1]["prompt"] == tokenizer.encode("return a + b")
    answer = await ask(vim, "return a")
    assert (answer.text, answer.computed) == (" + b", None)
    answer = await ask(vim, "return a + b")
    assert (answer.text, answer.computed) == ("a + b", None)
    assert (await ask(vim, "return x")).computed == 7


async def test_it_is_silent_with_much_text_after_the_cursor(answering: Answering, tokenizer: Tokenizer) -> None:
    vim = LlamaVim("llama", LlamaServer(os.getpid(), answering.server_port), tokenizer, PLAIN, 256)
    assert (await ask(vim, "f(", "first, second)\n")).text == ""
    assert not answering.asked


async def test_a_request_that_is_not_wanted_any_more_still_helps(answering: Answering, tokenizer: Tokenizer) -> None:
    vim = LlamaVim("llama", LlamaServer(os.getpid(), answering.server_port), tokenizer, PLAIN, 256)
    stale = vim.ask(Page("return ", "\n", ""))
    await asyncio.sleep(0)
    stale.cancel()
    answer = await ask(vim, "return a +")
    assert (answer.text, answer.computed) == (" b", None)
    assert answering.asked[0]["prompt"] == tokenizer.encode("return ")


def test_the_prompt_is_the_lines_before_the_cursor_within_the_budget(tokenizer: Tokenizer) -> None:
    before = "".join(f"line_{number} = {number}\n" for number in range(400)) + "last = "
    tokens = prompt(before, "\nmore\n", tokenizer, PLAIN, 300)
    assert 100 <= len(tokens) <= 300
    assert before.endswith(tokenizer.decode(tokens))
    assert prompt(before + "1\n", "", tokenizer, PLAIN, 300)[: len(tokens)] == tokens, "Enter moves nothing"
    assert len(tokenizer.decode(prompt(before, "", tokenizer, PLAIN, 10_000)).splitlines()) == 257
    laid_out = prompt("a = ", "\nb\n", tokenizer, MELLUM, 300)
    assert laid_out == [7, *tokenizer.encode("\nb\n"), 5, *tokenizer.encode("a = "), 6]


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("x + y\n\n", "\n", "x + y"),
        ("  \n ", "\n", ""),
        (")", ")\nmore\n", ""),
        ("\n    return y", "\n\n    return y\n", ""),
        ("\n    return x", "\n\n    return y\n", "\n    return x"),
    ],
)
def test_what_is_there_already_is_not_suggested(text: str, after: str, expected: str) -> None:
    assert tidied(text, after) == expected
