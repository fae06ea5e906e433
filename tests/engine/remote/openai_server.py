"""A server of OpenAI's completions over real HTTP/1.1 and HTTP/2: the default model, decoded by our own loop.

    python -m tests.engine.remote.openai_server MODEL_FOLDER PORT [CERTIFICATE KEY]

It reads control tokens in a prompt's text, as other servers do. `POST /behave` makes it slow, wrong or lying;
`GET /seen` returns the prompts that came, and the number of tokens that it has decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import tokenizers
from hypercorn.asyncio import serve
from hypercorn.config import Config

from engine.decoding.decode import decode, prefill
from engine.decoding.draft import Drafts, Speculation
from engine.decoding.pickers import Plain
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.tokenizer import Tokenizer
from engine.request import Cancelled
from engine.runtime.kv_slots import Slots
from engine.runtime.session import Model

MODEL = "the-default-model"

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Broken(Exception):
    """The server was told to break off its answer."""


class Served:
    """The model, one request at a time."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        self.stop = frozenset(manifest.prompt.stop)
        self._model = Model(folder, manifest, threads=1)
        self._tokenizer = Tokenizer(folder / TOKENIZER_FILE)
        self._with_control = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self._slots = Slots(self._model, capacity=3000, memory=20_000 * manifest.kv_bytes_per_token)
        self._lock = threading.Lock()

    def tokens_of(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, list):
            return prompt
        ids: list[int] = self._with_control.encode(prompt, add_special_tokens=False).ids
        return ids

    def answer(self, tokens: list[int], is_cancelled: Callable[[], bool]) -> Generator[tuple[int, str, float]]:
        with self._lock:
            self._model.begin()
            slot = self._slots.take(tokens, most_shifts=0)
            pending = prefill(self._model, slot, tokens, chunk=128, is_cancelled=is_cancelled)
            drafts = Drafts(Speculation([1.0]), tokens, prefix_end=len(tokens))
            characters_of = self._tokenizer.stream()
            steps = decode(self._model, slot, pending, picker=Plain(), drafts=drafts, is_cancelled=is_cancelled)
            for token, log_probability in steps:
                yield token, "" if token in self.stop else characters_of(token), log_probability


class Application:
    """The routes, as ASGI."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._behaviour: dict[str, Any] = {}
        self._seen: dict[str, Any] = {"prompts": [], "decoded": 0, "cancelled": 0, "http": [], "clients": []}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, is_whole = b"", False
        while not is_whole:
            message = await receive()
            if message["type"] != "http.request":
                return  # cancelled before it was sent to its end
            body += message.get("body", b"")
            is_whole = not message.get("more_body")
        asked = json.loads(body) if body else {}
        path = scope["path"]
        if path == "/behave":
            self._behaviour = asked
            self._seen |= {"prompts": [], "decoded": 0, "cancelled": 0, "http": [], "clients": []}
            await reply(send, 200, {})
        elif path == "/seen":
            await reply(send, 200, self._seen)
        elif (status := self._behaviour.get("status")) is not None and path in self._behaviour.get("at", [path]):
            headers = {"retry-after": "1"} if status == 503 else {}
            await reply(send, status, {"error": {"message": self._behaviour.get("message", "told to")}}, headers)
        elif (token := self._behaviour.get("token")) and dict(scope["headers"]).get(b"authorization") != (
            f"Bearer {token}".encode()
        ):
            await reply(send, 401, {"error": {"message": "no"}})
        elif path == "/v1/models":
            models = self._behaviour.get("models", [MODEL])
            await reply(send, 200, {"data": [{"id": name, "max_model_len": 3000} for name in models]})
        elif path == "/tokenize" and ("content" not in asked or self._behaviour.get("tokenize", True)):
            always = self._behaviour.get("always", [])
            await reply(send, 200, {"tokens": [*always, *self._served.tokens_of(asked["prompt"])]})
        elif path == "/v1/completions":
            self._seen["prompts"].append(asked["prompt"])
            self._seen["http"].append(scope["http_version"])
            self._seen["clients"].append(scope["client"][1])
            with contextlib.suppress(Broken):
                await self._complete(asked, receive, send)
        else:
            await reply(send, 404, {"error": {"message": "Not Found"}})

    async def _complete(self, asked: dict[str, Any], receive: Receive, send: Send) -> None:
        behaviour, loop = self._behaviour, asyncio.get_running_loop()
        if behaviour.get("logprobs") == "refused" and "logprobs" in asked:
            await reply(send, 400, {"error": {"message": "logprobs are not supported"}})
            return
        is_gone = threading.Event()
        watching = asyncio.create_task(self._watch(receive, is_gone))
        steps = self._served.answer(self._served.tokens_of(asked["prompt"]), is_gone.is_set)
        try:
            if (delay := behaviour.get("delay")) is not None:
                await asyncio.wait([watching], timeout=delay)
            if is_gone.is_set():
                raise Cancelled
            kind = behaviour.get("kind", "text/event-stream").encode()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
            count, finish = 0, None
            while finish is None:
                token, text, log_probability = await loop.run_in_executor(None, lambda: next(steps))
                count += 1
                self._seen["decoded"] += 1
                ended = token in self._served.stop
                finish = "stop" if ended else "length" if count >= asked["max_tokens"] else None
                choice = {"index": 0, "text": text, "finish_reason": finish}
                choice["logprobs"] = self._logprobs(asked, token, text, log_probability)
                event = {"model": behaviour.get("says", asked["model"]), "choices": [choice]}
                await send({"type": "http.response.body", "body": line(event), "more_body": True})
                if count == behaviour.get("break_after"):
                    raise RuntimeError("told to break off")
                await asyncio.sleep(behaviour.get("pause", 0.0))
            end(steps)  # the next request need not wait until this one's last bytes are taken
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        except Cancelled:
            self._seen["cancelled"] += 1
        finally:
            watching.cancel()
            is_gone.set()
            threading.Thread(target=end, args=[steps], daemon=True).start()

    def _logprobs(self, asked: dict[str, Any], token: int, text: str, log_probability: float) -> Any:
        kind = self._behaviour.get("logprobs", "chat")
        if "logprobs" not in asked or kind in ("none", "refused"):
            return None
        if kind == "openai":
            return {"tokens": [text], "token_logprobs": [log_probability]}
        return {"content": [{"id": token, "token": text, "logprob": log_probability}]}

    async def _watch(self, receive: Receive, is_gone: threading.Event) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone.set()


def end(steps: Generator[Any]) -> None:
    """Close what decodes, which another thread may still be in: it has the lock until then."""
    while True:
        try:
            steps.close()
        except ValueError:
            time.sleep(0.01)
        else:
            return


def line(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


async def reply(send: Send, status: int, said: Any, headers: dict[str, str] | None = None) -> None:
    every = [(b"content-type", b"application/json")]
    every += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})


def main() -> None:
    folder, port, *certificate = sys.argv[1:]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 0.1
    if certificate:
        config.certfile, config.keyfile = certificate
    asyncio.run(serve(Application(Served(Path(folder))), config))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
