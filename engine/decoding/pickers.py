"""How the next token is picked from the model's logits: plainly, to spell a required text, mixed with n-grams.

Pickers are composed: `Mixed(ngrams, Required(vocabulary, text))`. The decode loop knows only `Picker`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.decoding.ngrams import Ngrams
from engine.prompt.tokenizer import Vocabulary
from engine.runtime.predictions import Predictions

Picked = tuple[int, float, NDArray[np.int64] | None]
"""A token, its log probability (natural), and the tokens it was picked among; None for the whole vocabulary."""


class Picker(Protocol):
    """Picks one token at a time, and is told each token that the suggestion really has."""

    def pick(self, predictions: Predictions, row: int) -> Picked:
        """Pick the likeliest token of a row."""
        ...

    def take(self, token: int) -> None:
        """Note the next token of the suggestion."""
        ...


class Plain:
    """Picks the model's likeliest token."""

    def __init__(self) -> None:
        self._scratch: NDArray[np.float32] | None = None

    def pick(self, predictions: Predictions, row: int) -> Picked:
        """See `Picker`. A graph that picks on a card has done the work already."""
        if (picked := predictions.likeliest(row)) is None:
            logits = predictions.logits[row]
            self._scratch = np.empty_like(logits) if self._scratch is None else self._scratch
            picked = pick(logits, self._scratch)
        return *picked, None

    def take(self, token: int) -> None:
        """Nothing to note."""


class Required:
    """Picks the likeliest token that agrees with a text that has to come first (token healing); then plainly."""

    def __init__(self, vocabulary: Vocabulary, text: str) -> None:
        self._vocabulary, self._plain = vocabulary, Plain()
        self.left = text
        """What is still to be spelled of the text, as the vocabulary spells it."""

    def pick(self, predictions: Predictions, row: int) -> Picked:
        """See `Picker`."""
        if not self.left:
            return self._plain.pick(predictions, row)
        tokens, _ = self._vocabulary.agreeing_with(self.left)
        among = predictions.logits[row][tokens]
        best = int(among.argmax())
        return int(tokens[best]), float(among[best]) - log_sum_exp(among, float(among[best])), tokens

    def take(self, token: int) -> None:
        """Strike out what the token spells of the text."""
        if self.left:
            _, begun = self._vocabulary.agreeing_with(self.left)
            self.left = begun.get(token, "")


class Mixed:
    """Mixes what another picker says with what followed the last tokens elsewhere: see `engine.decoding.ngrams`."""

    def __init__(self, ngrams: Ngrams, picker: Picker) -> None:
        self._ngrams, self._picker = ngrams, picker

    def pick(self, predictions: Predictions, row: int) -> Picked:
        """See `Picker`."""
        token, log_probability, among = self._picker.pick(predictions, row)
        return *self._ngrams.pick(predictions.logits[row], token, log_probability, among), among

    def take(self, token: int) -> None:
        """See `Picker`."""
        self._picker.take(token)
        self._ngrams.take(token)


def pick(logits: NDArray[np.float32], scratch: NDArray[np.float32] | None = None) -> tuple[int, float]:
    """Pick the likeliest token of float32[vocabulary] logits; returns it with its log probability (natural).

    `scratch`: room for as many numbers; memory that was used before is faster than new memory, by an eighth.
    """
    token = int(logits.argmax())
    return token, float(logits[token]) - log_sum_exp(logits, float(logits[token]), scratch)


def likeliest(
    logits: NDArray[np.float32], vocabulary: Vocabulary, required: str, count: int
) -> list[tuple[int, float]]:
    """Pick up to `count` tokens, the likeliest first, that agree with the text that has to come (which may be empty).

    Returns each with its log probability among all tokens that agree: the text was typed already and is certain.
    """
    tokens = vocabulary.agreeing_with(required)[0] if required else np.arange(len(logits))
    among = logits[tokens]
    best = np.argpartition(-among, min(count, len(among)) - 1)[:count]
    best = best[np.argsort(-among[best])]
    total = log_sum_exp(among, float(among[best[0]]))
    return [(int(tokens[one]), float(among[one]) - total) for one in best]


def log_sum_exp(logits: NDArray[np.float32], largest: float, scratch: NDArray[np.float32] | None = None) -> float:
    """The logarithm of the sum of the exponentials, in nats, computed without overflow."""
    shifted = np.subtract(logits, np.float32(largest), out=scratch)
    return largest + float(np.log(np.exp(shifted, out=shifted).sum()))
