"""An engine whose model runs on another machine. Prompt, block policy, gate and trim are the local engine's own.

It keeps in touch by itself: a server that fails is greeted again after 1 s, 2 s, 4 s, up to a minute, until it answers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from engine.composing import MAX_TOKENS, NOT_WANTED, Clock, compose, is_wanted, read_ahead, trimmed
from engine.model_folders.manifest import PromptFormat
from engine.prompt.layout import Budget
from engine.prompt.tokenizer import Tokenizer
from engine.remote.address import RemoteError, parse_address, printable
from engine.remote.connection import Connection, on_thread
from engine.remote.events import Event
from engine.remote.failures import late, not_openai
from engine.remote.greeting import Welcome, greet
from engine.remote.marks import AsText, mended
from engine.request import Cancelled, CompletionRequest, IsCancelled, Suggestion
from syntax import grammars

_PROMPT = 2048  # tokens, where no setting says it: a card reads them in a tenth of a second
_SHORTEST_PROMPT = 256
_LOOK_EVERY = 0.02  # seconds, at the caller's `is_cancelled`; an interrupt is seen at once
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a server that fails is greeted again
_TOKEN_WITHIN, _GREETED_WITHIN = 5.0, 20.0  # seconds
_BEGUN_WITHIN, _WHOLE_WITHIN = 10.0, 60.0  # seconds of a request until its answer begins, and ends
_ENDED_WITHIN = 1.0  # seconds after its end until its stream is given up
_MEASURED = 50  # answers
_END = -1  # what a control token becomes in a composition

State = Literal["connecting", "ready", "down"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """A remote engine, for the status."""

    url: str
    model: str
    state: State
    message: str
    """One sentence: the state, and the mend if something is wrong."""
    seconds: float | None
    """Median time of its last answers; None before the first."""


class RemoteEngine:
    """A model on another machine, with the face of `engine.engine.Engine` that the inference thread knows."""

    def __init__(
        self,
        url: str,
        model: str | None,
        *,
        credentials: Callable[[], str | None] = lambda: None,
        local: tuple[Tokenizer, PromptFormat] | None = None,
        prompt_tokens: int | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to connect, and do not wait for it. Raises RemoteError where it is of no use to try.

        `credentials`: asked on a thread of its own before each greeting; gives the token, or raises RemoteError.
        `local`: tokenizer and prompt of the model in memory, in case the server has the same vocabulary.
        `prompt_tokens`: the longest prompt. `on_change`: called on a thread of its own when the state changes.
        """
        grammars.start()
        self._connection, self._credentials = Connection(parse_address(url)), credentials
        self._model, self._local, self._on_change = model, local, on_change
        self._prompt_tokens = prompt_tokens
        self._welcome: Welcome | None = None
        self._problem: RemoteError | None = None
        self._wants_probabilities = True
        self._has_probabilities: bool | None = None
        self._another = ""
        self._refusal = ""
        self._pause = _FIRST_PAUSE
        self._interrupted = threading.Event()
        self._inbox: queue.SimpleQueue[Event | RemoteError | None] = queue.SimpleQueue()
        self._seconds: deque[float] = deque(maxlen=_MEASURED)
        self._lost = asyncio.Event()
        self.budget = self._budget(None)
        self._connection.start(self._keep_in_touch())

    @property
    def is_ready(self) -> bool:
        """Whether the server has greeted, and has not failed since."""
        return self._welcome is not None and self._problem is None

    @property
    def median_seconds(self) -> float | None:
        """The median time of its last answers; None before the first."""
        return statistics.median(list(self._seconds)) if self._seconds else None

    @property
    def model(self) -> str:
        """The model's name."""
        return self._welcome.model if self._welcome is not None else self._model or ""

    @property
    def connection(self) -> Connection:
        """The connection, whose thread may be used for short work."""
        return self._connection

    def facts(self) -> RemoteFacts:
        """The state of now."""
        state: State = "down" if self._problem is not None else "connecting" if self._welcome is None else "ready"
        base = self._connection.address.base
        if self._problem is not None:
            message = str(self._problem)
        elif self._welcome is None:
            message = f"Connecting to {base}"
        else:
            message = f"{self.model} at {base} is ready" + "".join(f"; {note}" for note in self._notes(self._welcome))
        return RemoteFacts(base, printable(self.model), state, printable(message), self.median_seconds)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, or estimate them. Thread-safe."""
        welcome = self._welcome
        return (welcome.prompts if welcome is not None else AsText(None, "plain")).count(text)

    def is_wanted(self, request: CompletionRequest) -> bool:
        """See `engine.composing.is_wanted`."""
        return is_wanted(request)

    def warm_up(self, request: CompletionRequest, is_cancelled: IsCancelled = lambda: False) -> None:
        """Nothing: a card that others use as well reads a prompt in less time than it would take from them."""

    def interrupt(self) -> None:
        """Let what runs raise Cancelled at once. Any thread may call it."""
        self._interrupted.set()
        self._inbox.put(None)  # wakes it

    def complete(
        self,
        request: CompletionRequest,
        is_cancelled: IsCancelled = lambda: False,
        *,
        expected: str = "",
        until: float = math.inf,
        quick: bool = False,
    ) -> Suggestion:
        """Answer a request: see `engine.engine.Engine.complete`. Raises Cancelled; RemoteError in one sentence.

        `expected` and `quick` change nothing: drafts and states are the server's own matter.
        """
        self._interrupted.clear()
        clock, begun = Clock(), time.perf_counter()
        read_ahead(request)
        if not is_wanted(request):
            return NOT_WANTED
        if (welcome := self._welcome) is None or self._problem is not None:
            raise RemoteError(self.facts().message)
        laid = welcome.prompts.lay_out(request, self.budget)
        clock.lap("tokenize")
        answer = _Answer(request, welcome.prompts.ends)
        try:
            self._read(self._body(welcome, request, laid.prompt), answer, clock, is_cancelled, until)
        except Cancelled:
            taken = time.perf_counter() - begun
            if (median := self.median_seconds) is not None and taken > median:
                self._seconds.append(taken)  # it would have taken longer still
            raise
        except RemoteError as error:
            if not error.is_about_one:
                self._lose(error)
            elif not self._refusal:
                self._refusal = str(error)
                self._tell()
            raise
        self._refusal = ""
        self._seconds.append(time.perf_counter() - begun)
        self._pause = _FIRST_PAUSE
        self._note(answer, welcome)
        composition = answer.composition
        clock.lap("decode")
        shown = trimmed(request, composition)
        clock.lap("trim")
        return Suggestion(
            text=shown.text,
            replaces=shown.replaces,
            tokens=tuple(composition.tokens),
            log_probabilities=tuple(composition.log_probabilities),
            stop=composition.stop,
            prompt_tokens=laid.tokens,
            reused_tokens=0,
            probability=composition.probability,
            dropped=composition.dropped,
            place=composition.place,
            model=welcome.model,
            timings=clock.laps,
        )

    def close(self) -> None:
        """Close the connection; what runs raises an error."""
        self.interrupt()
        self._on_change = lambda: None
        self._connection.close()

    def _body(self, welcome: Welcome, request: CompletionRequest, prompt: str | list[int]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": welcome.model,
            "prompt": prompt,
            "max_tokens": min(request.max_tokens, MAX_TOKENS),
            "temperature": 0,
            "stream": True,
        }
        if self._wants_probabilities:
            body["logprobs"] = 1
        if stop := welcome.prompts.stop:
            body["stop"] = list(stop)[:4]  # OpenAI's limit
        if welcome.is_extended:
            body |= {"add_special_tokens": False, "stop_token_ids": sorted(welcome.prompts.ends)}
        return body

    def _read(
        self, body: dict[str, Any], answer: _Answer, clock: Clock, is_cancelled: IsCancelled, until: float
    ) -> None:
        """Read an answer until the suggestion is complete, then end its stream."""
        inbox = self._inbox = queue.SimpleQueue()
        stream = self._connection.stream("/v1/completions", body, inbox.put, model=body["model"])
        begun = time.perf_counter()
        try:
            while True:
                if time.perf_counter() - begun > (_WHOLE_WITHIN if answer.composition.tokens else _BEGUN_WITHIN):
                    raise late(self._connection.address)
                if self._interrupted.is_set() or is_cancelled():
                    raise Cancelled
                if time.perf_counter() > until and answer.composition.cut_short():
                    break
                try:
                    event = inbox.get(timeout=_LOOK_EVERY)
                except queue.Empty:
                    continue
                if isinstance(event, RemoteError):
                    raise self._refused(event, body)
                if event is None:
                    continue
                if not answer.composition.tokens:
                    clock.lap("prefill")
                if answer.take(event):
                    break
        finally:
            if answer.is_finished:  # the stream ends by itself, and the connection stays
                self._connection.later(_ENDED_WITHIN, stream.cancel)
            else:
                stream.cancel()

    def _note(self, answer: _Answer, welcome: Welcome) -> None:
        """Tell what is new of the server: whether it says probabilities, and which model it says it is."""
        before = self._has_probabilities, self._another
        if answer.composition.tokens:
            self._has_probabilities = answer.has_probabilities
        self._another = answer.model if answer.model != welcome.model else ""
        if (self._has_probabilities, self._another) != before and (self._another or not self._has_probabilities):
            self._tell()

    def _refused(self, error: RemoteError, body: dict[str, Any]) -> RemoteError:
        """Ask without log probabilities from now on, where it is they that a server does not take."""
        if error.is_about_one and "logprobs" in body and "logprob" in str(error).lower():
            self._wants_probabilities = False
        return error

    def _notes(self, welcome: Welcome) -> list[str]:
        notes = [welcome.note] if welcome.note else []
        if self._has_probabilities is False:
            notes.append(
                "it sends no log probabilities, so suggestions end by their block alone, and none is held back"
            )
        if self._another:
            notes.append(f"it says that it answers with the model {self._another:.60}")
        if self._refusal:
            notes.append(f"but it refused the last request: {self._refusal}")
        if (proxy := self._connection.proxy) is not None:
            notes.append(f"it is reached through the {proxy}")
        address = self._connection.address
        if not address.is_encrypted and not address.is_loopback:
            notes.append("code crosses the network unencrypted; https is safe")
        return notes

    def _budget(self, context: int | None) -> Budget:
        most = math.inf if context is None else context - MAX_TOKENS
        return Budget(int(max(min(self._prompt_tokens or _PROMPT, most), _SHORTEST_PROMPT)))

    def _lose(self, problem: RemoteError) -> None:
        if self._problem is None:
            self._problem = _untraced(problem)
            self._connection.start(self._note_loss())
            self._tell()

    async def _note_loss(self) -> None:
        self._lost.set()

    async def _keep_in_touch(self) -> None:
        """Greet the server until it answers, and again after each failure."""
        while True:
            try:
                self._connection.use(await self._token())
                welcome = await self._greet()
            except RemoteError as problem:
                is_news = self._problem is None or str(problem) != str(self._problem)
                self._problem = _untraced(problem)
                if is_news:
                    self._tell()
                await self._rest(problem.again_in or 0.0)
                continue
            self._lost.clear()
            self._welcome, self.budget, self._problem = welcome, self._budget(welcome.context), None
            self._tell()
            await self._lost.wait()
            await self._rest(self._problem.again_in or 0.0 if self._problem is not None else 0.0)

    async def _greet(self) -> Welcome:
        try:
            async with asyncio.timeout(_GREETED_WITHIN):
                return await greet(self._connection, self._model, self._local)
        except TimeoutError as error:
            raise late(self._connection.address) from error
        except RemoteError:
            raise
        except Exception as error:
            log.exception("The greeting of the remote engine cannot be read")
            raise not_openai(self._connection.address, "its greeting cannot be read") from error

    async def _token(self) -> str | None:
        """The token; a keyring that asks its user first must not stop the rest, nor the end of the process."""
        try:
            async with asyncio.timeout(_TOKEN_WITHIN):
                return await on_thread(self._credentials)
        except TimeoutError as error:
            raise RemoteError(f"The keyring does not give the token within {_TOKEN_WITHIN:g} s. Unlock it") from error

    async def _rest(self, least: float) -> None:
        """Wait before the next greeting: twice as long each time, until a request is answered."""
        await asyncio.sleep(max(self._pause * random.uniform(0.8, 1.2), min(least, _LONGEST_PAUSE)))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _tell(self) -> None:
        log.info("%s", self.facts().message)
        try:
            self._on_change()
        except Exception:
            log.exception("The state of the remote engine is told to none")


def _untraced(problem: RemoteError) -> RemoteError:
    """The same to be kept: the traceback of what was raised holds the request, and the thread that has made it."""
    return RemoteError(str(problem), again_in=problem.again_in)


class _Answer:
    """One answer while it is read: from the server's pieces to the text of a suggestion."""

    def __init__(self, request: CompletionRequest, ends: Collection[int]) -> None:
        """`ends`: ids of the tokens that end it, where the server says ids."""
        self._texts: list[str] = []
        self._known: dict[str, int] = {}
        self.composition = compose(request, self._texts.__getitem__, ends=(_END,))
        self.has_probabilities, self.model, self.is_finished = False, "", False
        self._ends, self._certainty = ends, 0.0

    def take(self, event: Event) -> bool:
        """Take what an event brings; True once the suggestion is complete."""
        self.model, self.is_finished = event.model or self.model, bool(event.finish)
        for piece in event.pieces:
            self.has_probabilities = self.has_probabilities or piece.log_probability is not None
            self._certainty += piece.log_probability or 0.0  # without any, the block policy alone decides
            if any(token in self._ends for token in piece.tokens):
                return self.composition.add(_END, self._certainty)
            if piece.text:
                certainty, self._certainty = self._certainty, 0.0
                if self.composition.add(self._number(mended(piece.text)), certainty):
                    return True
        if not event.finish:
            return False
        return self.composition.reach_length() if event.finish == "length" else self.composition.add(_END, 0.0)

    def _number(self, text: str) -> int:
        """The same number for the same text, as a vocabulary has it."""
        if text not in self._known:
            self._known[text] = len(self._texts)
            self._texts.append(text)
        return self._known[text]
