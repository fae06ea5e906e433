"""How fast a training step is here: `python -m evaluation.training --wheel WHEEL`; needs the extra `train`.

Steps of `--tokens` tokens in sequences of 140 to 310, a quarter of them learned as `training.finetune` reads them, with
`--threads` threads of one process. Prints tokens a second of reading and going backward, without the optimizer; the
best of five, for others on the machine only add to it.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from training.base import add_base, open_base
from training.finetune import Settings, best_dtype
from training.model import Model

_LENGTHS = (140, 185, 237, 230, 310)


def main() -> None:
    """Time a few steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base(parser)
    parser.add_argument("--tokens", type=int, default=2200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with open_base(arguments.wheel, arguments.model) as base:
        model = Model(base, Settings(0).shape, best_dtype(device), device)
    lengths = list(_LENGTHS) * max(round(arguments.tokens / sum(_LENGTHS)), 1)
    chosen = np.random.default_rng(0).integers(0, model.architecture.vocabulary, sum(lengths))
    tokens = torch.from_numpy(chosen).to(device)
    wanted = torch.arange(0, len(tokens) - 1, 4, device=device)
    weights = torch.ones(len(wanted), device=device)

    def seconds() -> float:
        started = time.perf_counter()
        summed, _ = model.losses(model(tokens, lengths, wanted), tokens[wanted + 1], weights)
        summed.backward()
        float(summed.detach())  # waits for a GPU
        return time.perf_counter() - started

    seconds()  # compiles
    rate = len(tokens) / min(seconds() for _ in range(5))
    print(f"{rate:.0f} tokens a second in {best_dtype(device)}, {arguments.threads} threads, {device}")


if __name__ == "__main__":
    main()
