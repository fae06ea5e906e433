"""Packs examples into rows of one length, so that every step has the same shapes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.card.data.drawing import Drawer
from training.data.batches import batch_of
from training.data.example import Example


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows one after the other, n tokens in all; a row's rest is a sequence that teaches nothing."""

    tokens: Tensor
    """int64[n]"""
    positions: Tensor
    """int64[n], from 0 in each sequence"""
    bounds: Tensor
    """int32[sequences + 1]: where each begins, and n."""
    sequences: Tensor
    """int32[n]: which one a token belongs to"""
    targets: Tensor
    """int64[n]: the token that follows"""
    weights: Tensor
    """float32[n]"""
    answers: Tensor
    """bool[n]: whether that token belongs to a middle."""
    left: Tensor
    """float32[n]: how much of the middle is still to come, as a share of it; 0 outside."""
    length: int
    """Of a row, in tokens."""
    longest: int
    """Of the sequences, in tokens."""

    @property
    def taught(self) -> int:
        """How many of the tokens are no padding."""
        return int((self.weights > 0).sum())

    def lengths(self) -> list[int]:
        """Of the sequences."""
        found: list[int] = self.bounds.diff().tolist()
        return found

    def to(self, device: str) -> Rows:
        """The same on a device."""
        return self._with(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Rows:
        """The same where a card can fetch it while it computes; the loader of torch calls this."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Rows:
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return Rows(**{name: change(x) if isinstance(x, Tensor) else x for name, x in own.items()})


def fitted(examples: Sequence[Example], rows: int, length: int) -> list[list[Example]]:
    """Put examples into rows, the longest first, each where it leaves least; what fits nowhere is left out."""
    filled: list[list[Example]] = [[] for _ in range(rows)]
    room = [length] * rows
    for example in sorted(examples, key=lambda one: -len(one.tokens)):
        size = len(example.tokens) - 1
        if fits := [index for index in range(rows) if room[index] >= size]:
            best = min(fits, key=room.__getitem__)
            filled[best].append(example)
            room[best] -= size
    return filled


def rows_of(filled: Sequence[Sequence[Example]], length: int, control: frozenset[int]) -> Rows:
    """Lay out rows, each with its examples one after the other."""
    size = len(filled) * length
    tokens, targets = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int64)
    positions, sequences = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int32)
    weights, left = torch.zeros(size), torch.zeros(size)
    answers = torch.zeros(size, dtype=torch.bool)
    starts: list[int] = []
    for index, row in enumerate(filled):
        start = index * length
        lengths: list[int] = []
        if row:
            batch = batch_of(row, control)
            whole = slice(start, start + len(batch.tokens))
            tokens[whole], targets[whole], lengths = batch.tokens, batch.targets, list(batch.lengths)
            weights[whole], answers[whole] = batch.weights, batch.answers
        if rest := length - sum(lengths):
            lengths.append(rest)
        for own in lengths:
            part = slice(start, start + own)
            positions[part], sequences[part] = torch.arange(own), len(starts)
            if count := int(answers[part].sum()):
                left[part][answers[part]] = torch.arange(count, 0, -1) / count
            starts.append(start)
            start += own
    bounds = torch.tensor([*starts, size], dtype=torch.int32)
    longest = int(bounds.diff().max())
    return Rows(tokens, positions, bounds, sequences, targets, weights, answers, left, length, longest)


class Steps(Dataset[Rows]):
    """The rows of each step, by its number."""

    def __init__(self, drawer: Drawer, control: frozenset[int], rows: int, length: int, seed: str) -> None:
        self._drawer, self._control = drawer, control
        self._rows, self._length, self._seed = rows, length, seed

    def __getitem__(self, step: int) -> Rows:
        """Draw as many tokens as there is room for; what then fits into no row is left out."""
        chance = random.Random(f"{self._seed} {step}")
        wanted, examples, total = self._rows * self._length, list[Example](), 0
        while total < wanted:
            example = self._drawer.example(chance)
            if len(example.tokens) <= self._length + 1:
                examples.append(example)
                total += len(example.tokens) - 1
        return rows_of(fitted(examples, self._rows, self._length), self._length, self._control)


def drawn_ahead(steps: Steps, numbers: Iterable[int], processes: int, *, pinned: bool = False) -> Iterator[Rows]:
    """The rows of the steps of these numbers, made by other processes a little ahead of when they are asked for."""
    ahead: dict[str, Any] = {}
    if processes:
        ahead = {"prefetch_factor": 2, "multiprocessing_context": "fork", "worker_init_fn": _obey}
    loader: DataLoader[Rows] = DataLoader(
        steps, batch_size=None, sampler=numbers, num_workers=processes, pin_memory=pinned, **ahead
    )
    return iter(loader)


def _obey(_: int) -> None:
    """End at SIGTERM, whatever handler was inherited, and ignore an interrupt: the parent process decides about it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
