"""The engine's face: a loaded model that turns a completion request into a suggestion. Blocks; one caller at a time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine.composing import MAX_TOKENS, NOT_WANTED, Clock, around, compose, is_wanted, read_ahead, trimmed
from engine.decoding.decode import decode, prefill
from engine.decoding.draft import Drafts, Speculation
from engine.decoding.passages import Lookup
from engine.decoding.pickers import Mixed, Picker, Required, likeliest
from engine.devices import cuda
from engine.devices.integer_sums import int8_sums_saturate
from engine.devices.providers import Provider
from engine.ending.assembly import Composition
from engine.ending.closers import look_around
from engine.model_folders.manifest import GRAPH_FILE, TOKENIZER_FILE, Manifest, check_files, read_manifest
from engine.prompt.layout import Budget, Prompt, lay_out, with_line_feeds
from engine.prompt.tokenizer import Tokenizer
from engine.request import Alternative, CompletionRequest, IsCancelled, Suggestion
from engine.runtime.benchmark import gives_same_bits, rates_of
from engine.runtime.kv_slots import FEW_SHIFTS, MOST_SHIFTS, Slots
from engine.runtime.memory import allowed
from engine.runtime.session import Model, Slot
from engine.runtime.thread_count import chosen
from syntax import grammars


@dataclass(frozen=True, slots=True)
class _Limits:
    """What prompts and their parts may cost, and how many tokens they have at least and at most."""

    prompt_seconds: float
    """What the first prompt at a new place may cost: it has as many tokens as this machine reads in this time."""
    prompt: tuple[int, int]
    idle_seconds: float
    """What a prompt may cost that is computed ahead, in idle time: a keystroke then costs what it always does."""
    idle_prompt: int
    """Tokens that such a prompt has at most, unless more are read in `prompt_seconds`."""
    chunk_seconds: float
    chunk: tuple[int, int]


# A model's own runs end within milliseconds of an interruption; a caller's `is_cancelled` waits for one chunk. Smaller
# ones cost more: 128 tokens 9%, 64 tokens 27% against 256.
_ON_CPU = _Limits(0.4, (256, 4096), idle_seconds=4.0, idle_prompt=768, chunk_seconds=0.08, chunk=(32, 512))
# Against 256 tokens, 512 gain 0.197 (0.044) nats a token of held-out code, 640 gain 0.264, 768 0.252 (0.051), and 1,024
# 0.245 (`python -m evaluation.worth smollm2-135m --sources FOLDER --seed 3 --places 120 --sizes 256 512 640 768 1024`).
# A step costs 1.11 times as much after 512, 1.26 behind 768, 1.39 behind 1,024 (`python -m evaluation.engine`).
# A card is given a chunk's work at once and does not stop before it is done; it is faster at more tokens.
_ON_CARD = _Limits(0.3, (256, 8192), idle_seconds=1.0, idle_prompt=8192, chunk_seconds=0.02, chunk=(32, 4096))
_LEAST_CHANCE = math.log(0.05)  # of the first token of an alternative
_SHARE_OF_MEMORY = 0.25
_SHARE_OF_CARD = 0.5  # of what is free there once the model is loaded: others draw on it, too

log = logging.getLogger(__name__)


class Engine:
    """A model, its tokenizer, and the cached KV states of earlier prompts."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, prompt_tokens: int | None = None, state_memory: int | None = None
    ) -> None:
        self.manifest: Manifest = model.manifest
        self.providers = model.providers
        self.opened = model.opened
        self.threads = model.threads
        self.caution = "" if model.on_card else _caution(model.manifest)
        """What makes its answers worse on this machine, and the mend, as a sentence; empty where nothing does."""
        self._model, self.tokenizer = model, tokenizer
        self.rates = rates_of(model)
        memory = state_memory or _state_memory(model)
        limits = _ON_CARD if model.on_card else _ON_CPU
        least, most = limits.prompt
        longest = min(most, self.manifest.context - MAX_TOKENS)
        if model.on_card:
            longest = _fitting(longest, memory, self.manifest, least)
        affordable = int(self.rates.prefill * limits.prompt_seconds) // 128 * 128
        ahead = min(int(self.rates.prefill * limits.idle_seconds) // 128 * 128, limits.idle_prompt)
        self.budget = Budget(min(max(prompt_tokens or max(affordable, ahead), least), longest))
        """Of a prompt whose state is mostly there; `first_budget` is that of the first one at a new place."""
        self.first_budget = Budget(min(max(affordable, least), self.budget.prompt))
        least, most = limits.chunk
        self._chunk = min(max(int(self.rates.prefill * limits.chunk_seconds) // 32 * 32, least), most)
        self._speculation = Speculation(self.rates.verify)
        self._lookup = Lookup(tokenizer)
        self._slots = Slots(
            model,
            capacity=min(self.budget.prompt * 2, self.manifest.context - MAX_TOKENS) + MAX_TOKENS,
            memory=memory,
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        provider: Provider = "auto",
        threads: int | None = None,
        prompt_tokens: int | None = None,
        state_memory: int | None = None,
        progress: Callable[[str, float], None] = lambda what, share: None,
    ) -> Engine:
        """Load a model folder: check it, map it, warm it up. Takes seconds; raises ModelError.

        `threads`: without it, what measuring has chosen (see `engine.runtime.thread_count`), and half of the cores
        until it has. `prompt_tokens` is the longest prompt; without it, see `_Limits`.
        `state_memory`: bytes for the states of all places together; without it, a quarter of the memory.
        """
        grammars.start()
        manifest = read_manifest(folder)
        progress("Checking the model's files", 0.0)
        check_files(folder, manifest, [name for name in manifest.files if name in (GRAPH_FILE, TOKENIZER_FILE)])
        progress("Loading the model", 0.1)
        with ThreadPoolExecutor(2, "load") as pool:  # weights are numbers: until they are checked, none is used
            checked = pool.submit(check_files, folder, manifest)
            read = pool.submit(Tokenizer, folder / TOKENIZER_FILE)
            try:
                model = Model(folder, manifest, threads=threads or chosen(manifest).threads, provider=provider)
                tokenizer = read.result()
            finally:
                checked.result()  # what is wrong with a file says more than what came of it
        progress("Measuring its speed", 0.8)
        return cls(model, tokenizer, prompt_tokens=prompt_tokens, state_memory=state_memory)

    def gives_same_bits(self) -> bool:
        """Check whether drafts change no bit of an answer on this machine: see `engine.runtime.benchmark`."""
        return gives_same_bits(self._model)

    def lay_out(self, request: CompletionRequest) -> Prompt:
        """Lay out the prompt that `complete` gives to the model once most of its state is computed."""
        return lay_out(request, self.tokenizer, self.manifest.prompt, self.budget)

    def _lay_out_now(self, request: CompletionRequest) -> tuple[Prompt, bool]:
        """Lay out a prompt that costs no more than a keystroke can wait for; returns it, and whether it is a first one.

        It is the whole prompt, unless more of its tokens are missing than a first prompt has.
        """
        prompt = self.lay_out(request)
        if self.first_budget == self.budget or self._slots.missing(prompt.tokens) <= self.first_budget.prompt:
            return prompt, False
        return lay_out(request, self.tokenizer, self.manifest.prompt, self.first_budget), True

    def missing(self, request: CompletionRequest) -> int:
        """How many tokens of the whole prompt are still to be computed, as the states are now."""
        return self._slots.missing(self.lay_out(request).tokens)

    def read(self, neighbours: tuple[str, ...]) -> None:
        """Get ready for requests with these neighbours: tenths of a second where all are new. Thread-safe."""
        if self.manifest.ngrams is not None:
            self._lookup.read(neighbours)

    def complete(
        self,
        request: CompletionRequest,
        is_cancelled: IsCancelled = lambda: False,
        *,
        expected: str = "",
        until: float = math.inf,
        quick: bool = False,
    ) -> Suggestion:
        """Answer a request. Raises Cancelled between two chunks or steps once `is_cancelled` says so.

        `expected`: what an earlier suggestion predicted for this cursor; it saves time where the model still agrees.
        `until`: the time (of `time.perf_counter`) at which the answer ends with what is whole by then. Where that is
        not even an expression, it takes longer: an empty answer is useless, and the next keystroke cancels it.
        `quick`: a keystroke waits, so states are moved, and a shorter prompt is used where little of the whole one is
        computed. Without it, an answer does not depend on what was asked before.
        """
        clock = Clock()
        self._model.begin()
        read_ahead(request)
        if not is_wanted(request):
            return NOT_WANTED
        prompt, is_first = self._lay_out_now(request) if quick else (self.lay_out(request), False)
        clock.lap("tokenize")
        slot = self._slots.take(prompt.tokens, most_shifts=MOST_SHIFTS if quick else 0)
        reused = len(slot.tokens) + sum(len(move.tokens) for move in slot.moves)
        pending = prefill(self._model, slot, prompt.tokens, chunk=self._chunk, is_cancelled=is_cancelled)
        drafts = self._drafts(request, prompt, expected)
        picker = self._picker(request, prompt)
        steps = decode(self._model, slot, pending, picker=picker, drafts=drafts, is_cancelled=is_cancelled)
        composition = self._composition(request, prompt)
        for token, log_probability in steps:
            if not composition.tokens:
                clock.lap("prefill")
            if composition.add(token, log_probability):
                break
            if time.perf_counter() > until and composition.cut_short():
                break
        clock.lap("decode")
        shown = trimmed(request, composition)
        clock.lap("trim")
        others: dict[str, Alternative] = {}
        if request.candidates > 1:
            for other in self._alternatives(request, prompt, slot, composition.tokens[0], is_cancelled):
                if other.text not in ("", shown.text):
                    others.setdefault(other.text, other)
            clock.lap("alternatives")
        return Suggestion(
            text=shown.text,
            replaces=shown.replaces,
            tokens=tuple(composition.tokens),
            log_probabilities=tuple(composition.log_probabilities),
            stop=composition.stop,
            prompt_tokens=len(prompt.tokens),
            reused_tokens=reused,
            probability=composition.probability,
            dropped=composition.dropped,
            alternatives=tuple(others.values()),
            is_provisional=is_first or slot.shifts > FEW_SHIFTS,
            place=composition.place,
            steps=drafts.steps,
            timings=clock.laps,
        )

    def _alternatives(
        self, request: CompletionRequest, prompt: Prompt, slot: Slot, chosen: int, is_cancelled: IsCancelled
    ) -> Iterator[Alternative]:
        """Begin with other tokens than the likeliest one, and go on from there."""
        slot.keep(len(prompt.tokens) - 1)
        logits = self._model.run(slot, prompt.tokens[-1:], [0])[0]
        firsts = likeliest(logits, self.tokenizer.vocabulary, prompt.last_word_spelled, request.candidates)
        for token, log_probability in firsts:
            if token == chosen or log_probability < _LEAST_CHANCE:
                continue
            slot.keep(len(prompt.tokens))
            composition, drafts = self._composition(request, prompt), self._drafts(request, prompt)
            picker = self._picker(request, prompt)
            drafts.take(token)
            picker.take(token)
            steps = decode(self._model, slot, [token], picker=picker, drafts=drafts, is_cancelled=is_cancelled)
            is_complete = composition.add(token, log_probability)
            while not is_complete and (step := next(steps, None)) is not None:
                is_complete = composition.add(*step)
            other = trimmed(request, composition)
            yield Alternative(other.text, other.replaces)

    def _composition(self, request: CompletionRequest, prompt: Prompt) -> Composition:
        return compose(
            request,
            self.tokenizer.stream(),
            ends=self.manifest.prompt.stop,
            last_word=prompt.last_word,
            calibration=self.manifest.calibration,
        )

    def _drafts(self, request: CompletionRequest, prompt: Prompt, expected: str = "") -> Drafts:
        return Drafts(
            self._speculation,
            prompt.tokens,
            prefix_end=prompt.prefix_end,
            expected=self.tokenizer.encode(prompt.last_word + with_line_feeds(expected)) if expected else (),
            around=self._lookup.around(request),
        )

    def _picker(self, request: CompletionRequest, prompt: Prompt) -> Picker:
        """Compose what picks the tokens: the model, the last word before the cursor, and n-grams where they are set."""
        required = Required(self.tokenizer.vocabulary, prompt.last_word_spelled)
        if (weights := self.manifest.ngrams) is None:
            return required
        return Mixed(self._lookup.ngrams(request, prompt.last_word, weights), required)

    def is_wanted(self, request: CompletionRequest) -> bool:
        """See `engine.composing.is_wanted`."""
        return is_wanted(request)

    def warm_up(self, request: CompletionRequest, is_cancelled: IsCancelled = lambda: False) -> None:
        """Compute the KV state for a request ahead of it, all but the prompt's last token. Raises Cancelled."""
        self._model.begin()
        if not is_wanted(request):
            return
        tokens = self.lay_out(request).tokens
        slot = self._slots.take(tokens, most_shifts=FEW_SHIFTS)
        pending = prefill(self._model, slot, tokens, chunk=self._chunk, is_cancelled=is_cancelled)
        if len(pending) > 1 and not is_cancelled():
            self._model.run(slot, pending[:-1], [0])
        self._slots.settle(slot)
        look_around(*around(request), request.language)

    def interrupt(self) -> None:
        """Let what runs raise Cancelled within milliseconds. The one method that other threads may call."""
        self._model.interrupt()


def _caution(manifest: Manifest) -> str:
    if not (manifest.signed_weights and int8_sums_saturate()):
        return ""
    return (
        f"The model {manifest.name} was exported on another processor, whose sums this one cuts off: its answers are "
        f"a little worse here. {manifest.mend}"
    )


def _state_memory(model: Model) -> int:
    """Bytes for all cached KV states together, where no setting says it."""
    free = cuda.free_memory() if model.on_card else None
    return int(allowed() * _SHARE_OF_MEMORY if free is None else free * _SHARE_OF_CARD)


def _fitting(longest: int, memory: int, manifest: Manifest, least: int) -> int:
    """The longest prompt whose slot fits into so many bytes: on a card, a slot's memory is taken whole."""
    room = (memory // manifest.kv_bytes_per_token - MAX_TOKENS) // 2
    if room >= longest:
        return longest
    room = max(room, least)
    log.warning(
        "%s may use %.0f MB of the card for what it has read, so prompts have %d tokens and not %d; close what else "
        "uses the card's memory, or set `stateMemory`",
        manifest.name,
        memory / 1e6,
        room,
        longest,
    )
    return room
