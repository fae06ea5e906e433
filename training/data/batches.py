"""Which examples a step reads, and which tokens teach: the answer's, and those of the prompt at a smaller weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.example import Example

END = 24
"""The tokens of a prompt's end that teach where the rest does not: the answer wanted a little earlier."""

_PROMPT_WEIGHT = 0.3  # of a token of the prompt: before most of them, a user would not ask for a suggestion


class Readable(Protocol):
    """Something that is read: an example, or a pair of them."""

    @property
    def tokens(self) -> NDArray[np.uint32]: ...


_Read = TypeVar("_Read", bound=Readable)


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences one after the other."""

    tokens: Tensor
    """int64[n], without the last of each sequence, which nothing follows"""
    lengths: tuple[int, ...]
    learned: tuple[int, ...]
    """Behind how many of its last tokens one is learned, for each sequence; m in all."""
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


def batch_of(examples: Sequence[Example], control: frozenset[int], *, end: int | None = None) -> Batch:
    """Lay examples one after the other; of a prompt the last `end` tokens teach as well, or all of them where that is
    None; `control` ones never.
    """
    learned, targets, weights, answers = [], [], [], []
    for example in examples:
        tokens, first = example.tokens.astype(np.int64), 1 if end is None else max(example.prompt - end, 1)
        is_answer = np.arange(first, len(tokens)) >= example.prompt
        is_code = ~np.isin(tokens[first:], list(control))
        learned.append(len(tokens) - first)
        targets.append(tokens[first:])
        weights.append(np.where(is_answer, 1.0, _PROMPT_WEIGHT * is_code))
        answers.append(is_answer)
    return Batch(
        tokens=torch.from_numpy(np.concatenate([example.tokens[:-1] for example in examples]).astype(np.int64)),
        lengths=tuple(len(example.tokens) - 1 for example in examples),
        learned=tuple(learned),
        targets=torch.from_numpy(np.concatenate(targets)),
        weights=torch.from_numpy(np.concatenate(weights)).float(),
        answers=torch.from_numpy(np.concatenate(answers)),
    )
