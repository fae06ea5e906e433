"""Plots the losses of runs: `python -m training.curve curve.jsonl --out curve.png`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

_WINDOW = 20  # steps that are averaged, weighted by their answers


def averaged(lines: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    """Tokens and loss on middles, each the mean over the last steps."""
    steps = [line for line in lines if "loss" in line]
    tokens, losses = [], []
    for index in range(len(steps)):
        window = steps[max(index + 1 - _WINDOW, 0) : index + 1]
        answers = sum(line["answers"] for line in window)
        tokens.append(steps[index]["tokens"])
        losses.append(sum(line["loss"] * line["answers"] for line in window) / answers)
    return tokens, losses


def main() -> None:
    """Draw the curve, and print where it stands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curve", type=Path, help="what `python -m training.finetune` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.curve.read_text(encoding="utf-8").splitlines()]
    tokens, losses = averaged(lines)
    held_out = [(line["tokens"], line["held_out"]) for line in lines if "held_out" in line]
    for at, loss in held_out:
        print(f"{at:10.0f} tokens   held-out middles {loss:.3f} nats a token")

    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(tokens, losses, label=f"training middles, mean of {_WINDOW} steps")
    axes.plot(*zip(*held_out, strict=True), marker="o", label="held-out middles")
    axes.set(xlabel="tokens read", ylabel="nats a token")
    axes.legend()
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=90)


if __name__ == "__main__":
    main()
