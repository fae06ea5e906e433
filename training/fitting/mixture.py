"""The numbers of the mixture under which the truth is likeliest. Needs torch (extra `train`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.decoding.ngrams import SMALLEST_DOUBT
from engine.model_folders.manifest import NgramWeights
from training.fitting.moments import LEVEL_COUNT, START, Moment


class Moments:
    """Moments as tensors."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        stacked = (np.array([getattr(one, field.name) for one in moments]) for field in dataclasses.fields(Moment))
        self.truth, self.likeliest, self.all, self.right, self.candidates = (
            torch.from_numpy(values).double() for values in stacked
        )

    def gained(self, numbers: Tensor) -> Tensor:
        """By how much likelier the mixture holds each token of the truth, in nats; `numbers`: those of NgramWeights."""
        weights = (numbers[:3, None] + numbers[3] * torch.arange(LEVEL_COUNT)).exp()
        evidence = (self.all * weights).sum((1, 2))
        safe = evidence.clamp(min=1e-9)
        by_look_up = (self.right * weights).sum((1, 2)) / safe
        highest = ((self.candidates * weights).sum((2, 3)) / safe[:, None]).max(1).values
        doubt = (-torch.expm1(self.likeliest)).clamp(min=SMALLEST_DOUBT).log()
        at = numbers[4] + numbers[5] * doubt + numbers[6] * highest + numbers[7] * safe.log()
        share = torch.sigmoid(at) * (evidence > 0)
        return ((1 - share) * self.truth.exp() + share * by_look_up).clamp(min=1e-12).log() - self.truth

    def mean_gain(self, weights: NgramWeights) -> float:
        """By how much likelier the mixture holds the truth: nats a token."""
        return float(self.gained(torch.tensor(dataclasses.astuple(weights), dtype=torch.float64)).mean())


def fitted(moments: Moments) -> NgramWeights:
    """The numbers under which the truth is likeliest."""
    numbers = torch.tensor(dataclasses.astuple(START), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=300, line_search_fn="strong_wolfe")

    def lost() -> Tensor:
        optimizer.zero_grad()
        loss = -moments.gained(numbers).mean() + 1e-4 * (numbers**2).mean()
        loss.backward()
        return loss

    optimizer.step(lost)
    return NgramWeights(*(round(number, 3) for number in numbers.tolist()))
