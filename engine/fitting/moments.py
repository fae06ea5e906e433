"""Tokens that really follow at a point, with their probability by the model and by n-grams of the project."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.decoding.decode import prefill
from engine.decoding.ngrams import LEVELS, SOURCES, Ngrams
from engine.decoding.passages import Lookup
from engine.decoding.pickers import log_sum_exp
from engine.fitting.place import Point
from engine.model_folders.manifest import TOKENIZER_FILE, NgramWeights, read_manifest
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from engine.request import CompletionRequest
from engine.runtime.session import Model

_LONGEST = 40  # tokens of the truth at one place
_CANDIDATES = 8
LEVEL_COUNT = int(LEVELS.max()) + 1
START = NgramWeights(above=0, below=0, elsewhere=0, growth=1, bias=-2, doubt=1, agreement=1, evidence=0)
_CHUNK = 512

Counts = NDArray[np.float32]
"""How many places there are, by source and by level of their match: [3, 8]."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A token of the truth, what the model says, and what was looked up."""

    truth: float
    """Its log probability by the model."""
    likeliest: float
    """That of the model's likeliest token."""
    all: Counts
    right: Counts
    """Of the places that it follows."""
    candidates: Counts
    """Of the tokens with the longest matches: [8, 3, 8]."""


def counted(ngrams: Ngrams, truth: int, among: NDArray[np.int64] | None) -> tuple[Counts, Counts, Counts]:
    """Count places by source and level: all, those that the truth follows, those of the likeliest followers."""
    by_token: dict[int, Counts] = {}
    for source, followers, lengths in ngrams.followers():
        agreeing = slice(None) if among is None else np.isin(followers, among)
        pairs = np.stack([followers[agreeing], LEVELS[lengths[agreeing]]])
        for (token, level), count in zip(*_unique(pairs), strict=True):
            by_token.setdefault(int(token), np.zeros((len(SOURCES), LEVEL_COUNT), np.float32))[source, level] += count
    nothing = np.zeros((len(SOURCES), LEVEL_COUNT), np.float32)
    best = sorted(by_token.values(), key=lambda counts: tuple(counts.sum(axis=0)[::-1]), reverse=True)[:_CANDIDATES]
    candidates = [*best, *itertools.repeat(nothing, _CANDIDATES - len(best))]
    return sum(by_token.values(), nothing), by_token.get(truth, nothing), np.stack(candidates)


def _unique(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns, counts = np.unique(pairs, axis=1, return_counts=True)
    return columns.T, counts


class Observer:
    """Observes the tokens that really follow, as the engine would see them."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        self._manifest, self._tokenizer = read_manifest(folder), Tokenizer(folder / TOKENIZER_FILE)
        self._model, self._lookup = Model(folder, self._manifest, threads=threads), Lookup(self._tokenizer)

    def moments(self, point: Point, neighbours: tuple[str, ...], prompt_tokens: int) -> Iterator[Moment]:
        """Every token of the truth at a place; of a middle, its end, too."""
        request = CompletionRequest(point.path, point.language, point.text, point.offset, neighbours=neighbours)
        prompt = lay_out(request, self._tokenizer, self._manifest.prompt, Budget(prompt_tokens))
        truth = self._tokenizer.encode(prompt.last_word + point.truth)
        if point.kind != "function" and self._manifest.prompt.stop:
            truth.append(self._manifest.prompt.stop[0])
        truth = truth[:_LONGEST]
        if not truth:
            return
        ngrams = self._lookup.ngrams(request, prompt.last_word, START)
        required = prompt.last_word_spelled
        for token, logits in zip(truth, self._logits(prompt.tokens, truth), strict=True):
            among, begun = self._tokenizer.vocabulary.agreeing_with(required) if required else (None, dict[int, str]())
            if among is not None and token not in among:
                return
            values = logits if among is None else logits[among]
            largest = float(values.max())
            total = log_sum_exp(values, largest)
            yield Moment(float(logits[token]) - total, largest - total, *counted(ngrams, token, among))
            ngrams.take(token)
            required = begun.get(token, "")

    def _logits(self, prompt: Sequence[int], truth: Sequence[int]) -> NDArray[np.float32]:
        slot = self._model.new_slot(len(prompt) + len(truth))
        pending = prefill(self._model, slot, prompt, chunk=_CHUNK, is_cancelled=lambda: False)
        wanted = range(len(pending) - 1, len(pending) - 1 + len(truth))
        return self._model.run(slot, [*pending, *truth[:-1]], list(wanted))
