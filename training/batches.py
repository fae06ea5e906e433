"""Which examples a step reads, and which tokens teach: the answer's, and a few of the prompt's at a small weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.examples import Example

# What the prompt's own code teaches: a share of its tokens, at a small weight, so that each token read is not read for
# its answer alone. The head is a fifth of the forward pass, which is why not all of them.
_PROMPT_SHARE, _PROMPT_WEIGHT = 0.2, 0.3


class Readable(Protocol):
    """Something that is read: an example, or a pair of them."""

    @property
    def tokens(self) -> NDArray[np.uint32]: ...


_Read = TypeVar("_Read", bound=Readable)


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences one behind the other."""

    tokens: Tensor
    """int64[n]"""
    lengths: tuple[int, ...]
    wanted: Tensor
    """int64[m]: the places behind which a token is learned."""
    targets: Tensor
    """int64[m]: that token."""
    weights: Tensor
    """float32[m]"""
    answers: Tensor
    """bool[m]: whether it belongs to a middle."""


def order_of(count: int, seed: int, epoch: int) -> list[int]:
    """In which order the examples are read: a function of its arguments alone, so that a run can go on anywhere."""
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(count)]


def step_examples(examples: Sequence[_Read], position: int, tokens: int, seed: int) -> tuple[list[_Read], int]:
    """The examples of one step, at least `tokens` long, from a position in the endless order; and the next position."""
    chosen: list[_Read] = []
    while sum(len(example.tokens) for example in chosen) < tokens:
        epoch, index = divmod(position, len(examples))
        chosen.append(examples[order_of(len(examples), seed, epoch)[index]])
        position += 1
    return chosen, position


def packed(examples: Sequence[_Read], longest: int, processes: int = 1) -> list[list[_Read]]:
    """Groups of about `longest` tokens, all nearly alike, and as many for each process: none waits for another."""
    total = sum(len(example.tokens) for example in examples)
    count = min(-(-total // (longest * processes)) * processes, len(examples))
    groups: list[list[_Read]] = [[] for _ in range(count)]
    sizes = [0] * count
    for example in sorted(examples, key=lambda one: -len(one.tokens)):
        emptiest = sizes.index(min(sizes))
        groups[emptiest].append(example)
        sizes[emptiest] += len(example.tokens)
    return groups


def batch_of(examples: Sequence[Example], control: frozenset[int], seed: int | None) -> Batch:
    """Lay examples one behind the other. Without a `seed` only answers teach; `control` tokens of a prompt never do."""
    chance = np.random.default_rng(seed)
    wanted, targets, weights, answers = [], [], [], []
    start = 0
    for example in examples:
        tokens = example.tokens.astype(np.int64)
        is_answer = np.arange(1, len(tokens)) >= example.prompt
        is_code = ~np.isin(tokens[1:], list(control))
        sampled = (chance.random(len(tokens) - 1) < _PROMPT_SHARE) & is_code & (seed is not None)
        places = np.flatnonzero(is_answer | sampled)
        wanted.append(places + start)
        targets.append(tokens[places + 1])
        weights.append(np.where(is_answer[places], 1.0, _PROMPT_WEIGHT))
        answers.append(is_answer[places])
        start += len(tokens)
    return Batch(
        tokens=torch.from_numpy(np.concatenate([example.tokens for example in examples]).astype(np.int64)),
        lengths=tuple(len(example.tokens) for example in examples),
        wanted=torch.from_numpy(np.concatenate(wanted)),
        targets=torch.from_numpy(np.concatenate(targets)),
        weights=torch.from_numpy(np.concatenate(weights)).float(),
        answers=torch.from_numpy(np.concatenate(answers)),
    )
