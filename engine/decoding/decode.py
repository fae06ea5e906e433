"""Prefill and greedy decoding, as small functions over a model and a slot of KV state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import eq

import numpy as np
from numpy.typing import NDArray

from engine.decoding.draft import Drafts
from engine.decoding.ngrams import Ngrams
from engine.prompt.tokenizer import Vocabulary
from engine.request import Cancelled, IsCancelled
from engine.runtime.session import Model, Slot


def prefill(model: Model, slot: Slot, tokens: Sequence[int], *, chunk: int, is_cancelled: IsCancelled) -> Sequence[int]:
    """Run those of `tokens` that the slot does not hold yet, all but the last chunk of them.

    Returns that chunk, of 1 to `chunk` tokens: it runs together with the first draft. Raises Cancelled between two
    chunks; what is computed by then stays in the slot.
    """
    while len(tokens) - len(slot.tokens) > chunk:
        if is_cancelled():
            raise Cancelled
        start = len(slot.tokens)
        model.run(slot, tokens[start : start + chunk], [chunk - 1])
    return tokens[len(slot.tokens) :]


def pick(logits: NDArray[np.float32], scratch: NDArray[np.float32] | None = None) -> tuple[int, float]:
    """Pick the likeliest token of float32[vocabulary] logits; returns it with its log probability (natural).

    `scratch`: room for as many numbers; memory that was used before is faster than new memory, by an eighth.
    """
    token = int(logits.argmax())
    return token, float(logits[token]) - log_sum_exp(logits, float(logits[token]), scratch)


def log_sum_exp(logits: NDArray[np.float32], largest: float, scratch: NDArray[np.float32] | None = None) -> float:
    """The logarithm of the sum of the exponentials, in nats, computed without overflow."""
    shifted = np.subtract(logits, np.float32(largest), out=scratch)
    return largest + float(np.log(np.exp(shifted, out=shifted).sum()))


def is_looping(tokens: Sequence[int], *, longest: int = 8, times: int = 4, least: int = 16) -> bool:
    """Whether the last tokens are a unit of at most `longest` tokens, `times` times in a row, `least` tokens in all."""
    for unit in range(1, longest + 1):
        tail = tokens[-max(unit * times, least) :]
        if len(tail) >= max(unit * times, least) and all(map(eq, tail[unit:], tail)):
            return True
    return False


def likeliest(
    logits: NDArray[np.float32], vocabulary: Vocabulary, required: str, count: int
) -> list[tuple[int, float, str]]:
    """Pick up to `count` tokens, the likeliest first, that agree with the text that has to come (which may be empty).

    Returns each with its log probability among all tokens that agree, for what is typed already is certain; and with
    what is left of the text behind it.
    """
    tokens, begun = vocabulary.agreeing_with(required) if required else (np.arange(len(logits)), dict[int, str]())
    among = logits[tokens]
    best = np.argpartition(-among, min(count, len(among)) - 1)[:count]
    best = best[np.argsort(-among[best])]
    total = log_sum_exp(among, float(among[best[0]]))
    return [(int(tokens[one]), float(among[one]) - total, begun.get(int(tokens[one]), "")) for one in best]


def pick_agreeing(
    logits: NDArray[np.float32], vocabulary: Vocabulary, required: str, ngrams: Ngrams | None = None
) -> tuple[int, float, str]:
    """Pick the likeliest token that agrees with the text that has to come: see `likeliest`."""
    tokens, begun = vocabulary.agreeing_with(required)
    among = logits[tokens]
    best = int(among.argmax())
    token, log_probability = int(tokens[best]), float(among[best]) - log_sum_exp(among, float(among[best]))
    if ngrams is not None:
        token, log_probability = ngrams.pick(logits, token, log_probability, tokens)
    return token, log_probability, begun.get(token, "")


def decode(
    model: Model,
    slot: Slot,
    pending: Sequence[int],
    *,
    vocabulary: Vocabulary,
    required: str,
    drafts: Drafts,
    ngrams: Ngrams | None = None,
    is_cancelled: IsCancelled,
) -> Iterator[tuple[int, float]]:
    """Yield greedy tokens with their log probabilities until the caller stops asking or the slot is full.

    `pending`: tokens that are still to run before the first one is known. The first ones spell `required`, which may be
    empty (token healing). `ngrams`: what is mixed into the model's distribution. Each step runs a draft behind what is
    pending and picks a token behind each of its tokens, as long as they are what was picked: so the tokens and their
    probabilities are those of steps without drafts: to the last bit where
    `engine.runtime.benchmark.gives_same_bits`, else but for rounding. Raises Cancelled between two steps.
    """
    scratch: NDArray[np.float32] | None = None
    while True:
        if is_cancelled():
            raise Cancelled
        room = slot.capacity - len(slot.tokens) - len(pending)
        if room < 0:
            return
        draft = drafts.propose(room)
        predictions = model.predict(slot, [*pending, *draft], range(len(pending) - 1, len(pending) + len(draft)))
        right = 0
        for row, proposed in enumerate([*draft, None]):
            if required:
                token, log_probability, required = pick_agreeing(predictions.logits[row], vocabulary, required, ngrams)
            else:
                if (picked := predictions.likeliest(row)) is None:
                    scratch = np.empty_like(predictions.logits[row]) if scratch is None else scratch
                    picked = pick(predictions.logits[row], scratch)
                token, log_probability = picked
                if ngrams is not None:
                    token, log_probability = ngrams.pick(predictions.logits[row], token, log_probability)
            drafts.take(token)
            if ngrams is not None:
                ngrams.take(token)
            yield token, log_probability
            if token != proposed:
                break
            right += 1
        slot.keep(len(slot.tokens) - len(draft) + right)
        drafts.learn(right, len(draft))
        pending = [token]
