"""How fast a training step is here: `python -m evaluation.training --wheel WHEEL --examples FOLDER [--adapter FOLDER]`.

Needs the extra `train`, and what `python -m training.data.examples` wrote. Reads held-out examples as
`training.finetune` does, forward and backward pass, with `--threads` threads of one process: if all tokens teach, and
if only answers do (`--answers-only`); for examples that are read first and again (`training.network.lower`); and with
the whole backward pass through the prompts (`training.network.decoder`). Prints tokens a second, the best of five,
because other work on the machine only makes it slower; and the cosine between the gradient of answers alone and that of
the whole backward pass.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.batches import END, Batch, batch_of
from training.data.examples import read_examples
from training.finetune import Settings, best_dtype
from training.network.adapter import load_adapter
from training.network.base import add_base, open_base
from training.network.decoder import Model
from training.network.lower import LowerStates


def backward(model: Model, batch: Batch, kept: LowerStates | None = None, *, whole: bool = False) -> Tensor:
    """Run a forward and a backward pass; returns the gradient of all factors, one after the other."""
    model.zero_grad()
    learned = list(batch.lengths if whole else batch.learned)
    lower = (model if kept is None else kept).lower(batch.tokens, batch.lengths)
    states = model(lower, batch.lengths, learned)
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
    parser.add_argument("--examples", type=Path, required=True, help="what `python -m training.data.examples` wrote")
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
    everything, batch = (
        replace(batch, **{name: getattr(batch, name).to(device) for name in ("tokens", "targets", "weights")})
        for batch in (batch_of(chosen, frozenset(base.style.stop), end=end) for end in (None, END))
    )
    own, right = (backward(model, batch, whole=whole) for whole in (False, True))  # compiles, too
    if arguments.adapter is not None:
        print(f"cosine of the gradients {torch.cosine_similarity(own, right, dim=0):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        sequences = [one.tokens[:-1].astype(np.int64) for one in chosen]
        kept = LowerStates(Path(folder), sequences, model)
        kept.lower(batch.tokens, batch.lengths)
        ways: dict[str, Callable[[], object]] = {
            "all teach, read first": lambda: backward(model, everything),
            "all teach, read again": lambda: backward(model, everything, kept),
            "answers only, read first": lambda: backward(model, batch),
            "answers only, read again": lambda: backward(model, batch, kept),
            "answers only, whole backward pass": lambda: backward(model, batch, whole=True),
        }
        for name, way in ways.items():
            print(f"{name:28} {best_rate(tokens, way):.0f} tokens a second")
    print(f"{best_dtype(device)}, {arguments.threads} threads, {device}, {tokens} tokens at once")


if __name__ == "__main__":
    main()
