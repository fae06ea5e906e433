"""Which examples a step reads, and which tokens teach: the answer's, and a few of the prompt's at a small weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.examples import Example

# What the prompt's own code teaches: a share of its tokens, at a small weight, so that each token read is not read for
# its answer alone. The head is a fifth of the forward pass, which is why not all of them.
_PROMPT_SHARE, _PROMPT_WEIGHT = 0.2, 0.3


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


def step_examples(examples: Sequence[Example], position: int, tokens: int, seed: int) -> tuple[list[Example], int]:
    """The examples of one step, at least `tokens` long, from a position in the endless order; and the next position."""
    chosen: list[Example] = []
    while sum(len(example.tokens) for example in chosen) < tokens:
        epoch, index = divmod(position, len(examples))
        chosen.append(examples[order_of(len(examples), seed, epoch)[index]])
        position += 1
    return chosen, position


def packed(examples: Sequence[Example], longest: int) -> list[list[Example]]:
    """Groups of at most `longest` tokens, or of one longer example; by length, so that groups are full."""
    groups: list[list[Example]] = []
    sizes: list[int] = []
    for example in sorted(examples, key=lambda one: -len(one.tokens)):
        length = len(example.tokens)
        fitting = next((index for index, size in enumerate(sizes) if size + length <= longest), None)
        if fitting is None:
            groups.append([example])
            sizes.append(length)
        else:
            groups[fitting].append(example)
            sizes[fitting] += length
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
