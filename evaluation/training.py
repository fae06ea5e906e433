"""How fast a training step is here: `python -m evaluation.training --wheel WHEEL --examples FOLDER [--adapter FOLDER]`.

Needs the extra `train`, and what `python -m training.examples` wrote. Reads held-out examples as `training.finetune`
does, forward and back, with `--threads` threads of one process: once as it is done (`training.model` says how), and
once with the whole way back through the prompts. Prints tokens a second of both, the best of five, for others on the
machine only add to it; and how near the two gradients are, as the cosine between them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from training.adapter import load_adapter
from training.base import add_base, open_base
from training.batches import Batch, batch_of
from training.examples import read_examples
from training.finetune import Settings, best_dtype
from training.model import Model


def backward(model: Model, batch: Batch, *, whole: bool) -> Tensor:
    """Go forward and back; returns the gradient of all factors, one behind the other."""
    model.zero_grad()
    learned = [length - 1 for length in batch.lengths] if whole else list(batch.learned)
    states = model(batch.tokens, batch.lengths, learned)
    if whole:
        ends = zip(states.split(learned), batch.learned, strict=True)
        states = torch.cat([part[len(part) - own :] for part, own in ends])
    summed, _ = model.losses(states, batch.targets, batch.weights)
    (summed / batch.weights.sum()).backward()
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


def best_rate(tokens: int, work: Callable[[], object]) -> float:
    """Tokens a second of the fastest of five."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return tokens / min(seconds)


def main() -> None:
    """Time a few steps, both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base(parser)
    parser.add_argument("--examples", type=Path, required=True, help="what `python -m training.examples` wrote")
    parser.add_argument("--adapter", type=Path, help="whose gradients are compared; without it, only the speed")
    parser.add_argument("--tokens", type=int, default=Settings(0).packed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with open_base(arguments.wheel, arguments.model) as base:
        model = Model(base, Settings(0).shape, best_dtype(device), device)
    if arguments.adapter is not None:
        load_adapter(arguments.adapter, model)
    model.merge()
    examples, tokens = iter(read_examples(arguments.examples / "held_out.npz")), 0
    chosen = []
    while tokens < arguments.tokens:
        chosen.append(next(examples))
        tokens += len(chosen[-1].tokens)
    batch = batch_of(chosen, frozenset(base.style.stop))
    moved = {name: getattr(batch, name).to(device) for name in ("tokens", "targets", "weights")}
    batch = replace(batch, **moved)
    gradients = [backward(model, batch, whole=whole) for whole in (False, True)]  # compiles
    if arguments.adapter is not None:
        print(f"cosine of the gradients {torch.cosine_similarity(*gradients, dim=0):.3f}")
    for whole in (False, True):
        rate = best_rate(tokens, lambda whole=whole: backward(model, batch, whole=whole))  # type: ignore[misc]
        print(f"{'whole way back' if whole else 'as trained':14} {rate:.0f} tokens a second")
    print(f"{best_dtype(device)}, {arguments.threads} threads, {device}, {tokens} tokens at once")


if __name__ == "__main__":
    main()
