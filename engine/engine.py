"""The engine's face: a loaded model that turns a completion request into a suggestion. Blocks; one caller at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.completion import CompletionRequest, IsCancelled, StopReason, Suggestion
from engine.decode import decode, is_looping, prefill
from engine.manifest import TOKENIZER_FILE, Manifest, check_files, read_manifest
from engine.model import Model
from engine.prompt import Budget, Prompt, lay_out
from engine.stop import BlockPolicy
from engine.tokenizer import Tokenizer
from engine.trim import trim

# What a jump to a new place may cost: a prompt takes as many tokens as this machine reads in this time.
_PREFILL_SECONDS = 0.4
_PROMPT_TOKENS = (256, 4096)
# A cancellation waits for one chunk. Smaller ones cost more: 128 tokens 9%, 64 tokens 27% against 256.
_CHUNK_SECONDS = 0.08
_CHUNK_TOKENS = (32, 512)
_MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured on this machine when the model was loaded, in tokens a second."""

    prefill: float
    decode: float


class Engine:
    """A model, its tokenizer and one slot of KV state."""

    def __init__(self, model: Model, tokenizer: Tokenizer, *, prompt_tokens: int | None = None) -> None:
        self.manifest: Manifest = model.manifest
        self.providers = model.providers
        self.threads = model.threads
        self._model, self._tokenizer = model, tokenizer
        self.rates = _calibrate(model)
        longest = min(_PROMPT_TOKENS[1], self.manifest.context - _MAX_TOKENS)
        affordable = int(self.rates.prefill * _PREFILL_SECONDS) // 128 * 128
        self.budget = Budget(min(max(prompt_tokens or affordable, _PROMPT_TOKENS[0]), longest))
        self._chunk = min(max(int(self.rates.prefill * _CHUNK_SECONDS) // 32 * 32, _CHUNK_TOKENS[0]), _CHUNK_TOKENS[1])
        self._slot = model.new_slot(self.budget.prompt * 2 + _MAX_TOKENS)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        prompt_tokens: int | None = None,
        progress: Callable[[str, float], None] = lambda what, share: None,
    ) -> Engine:
        """Load a model folder: check it, map it, warm it up. Takes seconds; raises ModelError.

        `prompt_tokens` is the longest prompt; without it, what this machine reads in 0.4 s.
        """
        manifest = read_manifest(folder)
        progress("Checking the model's files", 0.0)
        check_files(folder, manifest)
        progress("Loading the model", 0.3)
        model = Model(folder, manifest, threads=threads)
        tokenizer = Tokenizer(folder / TOKENIZER_FILE)
        progress("Measuring its speed", 0.8)
        return cls(model, tokenizer, prompt_tokens=prompt_tokens)

    def lay_out(self, request: CompletionRequest) -> Prompt:
        """Lay out the prompt that `complete` would give to the model."""
        return lay_out(request, self._tokenizer, self.manifest.prompt, self.budget)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text. Thread-safe."""
        return len(self._tokenizer.encode(text))

    def decode_text(self, tokens: tuple[int, ...]) -> str:
        """Spell tokens out, special ones by their names: to show a prompt."""
        return self._tokenizer.decode(list(tokens))

    def complete(self, request: CompletionRequest, is_cancelled: IsCancelled = lambda: False) -> Suggestion:
        """Answer a request. Raises Cancelled between two chunks or steps once `is_cancelled` says so."""
        clock = _Clock()
        prompt = self.lay_out(request)
        clock.lap("tokenize")
        logits, reused = prefill(self._model, self._slot, prompt.tokens, chunk=self._chunk, is_cancelled=is_cancelled)
        clock.lap("prefill")
        before, after = request.text[: request.offset], request.text[request.offset :]
        policy = BlockPolicy(prefix=before, suffix=after, language=request.language)
        characters_of = self._tokenizer.stream()
        tokens: list[int] = []
        log_probabilities: list[float] = []
        text, stop = "", StopReason.LENGTH
        steps = decode(
            self._model,
            self._slot,
            logits,
            vocabulary=self._tokenizer.vocabulary,
            required=prompt.last_word_spelled,
            is_cancelled=is_cancelled,
        )
        for token, log_probability in steps:
            tokens.append(token)
            log_probabilities.append(log_probability)
            if token in self.manifest.prompt.stop:
                stop = StopReason.END
                break
            text += characters_of(token)
            generated = text[len(prompt.last_word) :]
            if (end := policy.end_of(generated)) is not None:
                text, stop = text[: len(prompt.last_word) + end], policy.reason
                break
            if is_looping(tokens):
                stop = StopReason.LOOP
                break
            if len(tokens) >= min(request.max_tokens, _MAX_TOKENS):
                break
        text = text[len(prompt.last_word) :]
        if stop is StopReason.LOOP or (stop is StopReason.LENGTH and "\n" in text):
            text = text[: max(text.rfind("\n"), 0)]  # the last line is not whole
        clock.lap("decode")
        trimmed = trim(text, prefix=before, suffix=after, language=request.language)
        clock.lap("trim")
        return Suggestion(
            text=trimmed.text,
            replaces=trimmed.replaces,
            tokens=tuple(tokens),
            log_probabilities=tuple(log_probabilities),
            stop=stop,
            prompt_tokens=len(prompt.tokens),
            reused_tokens=reused,
            timings=clock.laps,
        )


class _Clock:
    """Seconds between laps, by the name of the step that ended."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _calibrate(model: Model) -> Rates:
    """Measure this machine for a fraction of a second; warms the model up, too."""
    slot = model.new_slot(256)
    tokens = [index % model.manifest.vocabulary for index in range(1000, 1128)]

    def seconds(part: list[int]) -> float:
        started = time.perf_counter()
        model.run(slot, part, [len(part) - 1])
        return time.perf_counter() - started

    seconds(tokens[:8])
    slot.keep(0)
    prefill = seconds(tokens)
    decode = sorted(seconds(tokens[:1]) for _ in range(5))[2]
    return Rates(prefill=len(tokens) / prefill, decode=1 / decode)
