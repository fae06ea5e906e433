"""Prefill and greedy decoding, as small functions over a model and a slot of KV state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from operator import eq

import numpy as np
from numpy.typing import NDArray

from engine.completion import Cancelled, IsCancelled
from engine.model import Model, Slot
from engine.tokenizer import Vocabulary


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences share at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def prefill(
    model: Model, slot: Slot, tokens: Sequence[int], *, chunk: int, is_cancelled: IsCancelled
) -> tuple[NDArray[np.float32], int]:
    """Bring the slot to hold exactly `tokens`, computing only what it does not hold already.

    Returns the logits float32[vocabulary] behind the last token, and how many tokens were reused. Raises Cancelled
    between two chunks; what is computed by then stays in the slot.
    """
    reused = min(common_prefix(slot.tokens, tokens), len(tokens) - 1)  # one must run: its logits are wanted
    slot.keep(reused)
    for start in range(reused, len(tokens), chunk):
        if is_cancelled():
            raise Cancelled
        part = tokens[start : start + chunk]
        logits = model.run(slot, part, [len(part) - 1])
    return logits[0], reused


def pick(logits: NDArray[np.float32]) -> tuple[int, float]:
    """Pick the likeliest token of float32[vocabulary] logits; returns it with its log probability (natural)."""
    token = int(logits.argmax())
    largest = logits[token]
    return token, -float(np.log(np.exp(logits - largest).sum()))


def is_looping(tokens: Sequence[int], *, longest: int = 8, times: int = 4, least: int = 16) -> bool:
    """Whether the last tokens are a unit of at most `longest` tokens, `times` times in a row, `least` tokens in all."""
    for unit in range(1, longest + 1):
        tail = tokens[-max(unit * times, least) :]
        if len(tail) >= max(unit * times, least) and all(map(eq, tail[unit:], tail)):
            return True
    return False


def pick_agreeing(logits: NDArray[np.float32], vocabulary: Vocabulary, required: str) -> tuple[int, float, str]:
    """Pick the likeliest token that agrees with the text that has to come; also returns what is then left of it.

    The log probability is that among the agreeing tokens: what is typed already is certain.
    """
    agreeing = vocabulary.agreeing_with(required)
    tokens = list(agreeing)
    best, log_probability = pick(logits[tokens])
    return tokens[best], log_probability, agreeing[tokens[best]]


def decode(
    model: Model,
    slot: Slot,
    logits: NDArray[np.float32],
    *,
    vocabulary: Vocabulary,
    required: str,
    is_cancelled: IsCancelled,
) -> Iterator[tuple[int, float]]:
    """Yield greedy tokens with their log probabilities until the caller stops asking or the slot is full.

    The first ones spell `required`, which may be empty (token healing). A token is run through the model only when the
    next one is asked for. Raises Cancelled between two steps.
    """
    while True:
        if required:
            token, log_probability, required = pick_agreeing(logits, vocabulary, required)
        else:
            token, log_probability = pick(logits)
        yield token, log_probability
        if is_cancelled():
            raise Cancelled
        if len(slot.tokens) == slot.capacity:
            return
        logits = model.run(slot, [token], [0])[0]
