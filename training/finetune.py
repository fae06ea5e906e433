"""Fine-tuning: `python -m training.finetune --wheel WHEEL --examples FOLDER --out FOLDER --tokens 2000000`.

Started again with the same `--out`, it continues from its last checkpoint, with the same numbers as a run without a
stop. `curve.jsonl` there holds the losses, `adapter/` the newest adapter. Several processes share the work under
`torchrun --nproc-per-node 2 -m training.finetune ...`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from training.data.batches import END, Batch, batch_of, packed, step_examples
from training.data.example import Example
from training.data.examples import read_examples
from training.network.adapter import load_adapter, save_adapter
from training.network.base import add_base, open_base
from training.network.decoder import LowRank, Model
from training.network.lower import LowerStates

_DECAY = 0.35  # share of all tokens over which the rate falls to zero
_CLIP = 1.0
_VALIDATED = 64  # held-out examples: more would cost more than the curve is worth on slow machines


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides about the numbers of a run."""

    tokens: int
    """How many to read in all; the rate's decay follows from it, so that a run can be given more or less later."""
    step_tokens: int = 4096
    warm_up: int = 20_000
    """Tokens over which the rate rises."""
    rate: float = 1e-3
    seed: int = 0
    validate_every: int = 300_000
    packed: int = 2600
    """About how many tokens go through the model at once; two such groups make a step."""
    prompts_teach: bool = True
    """Whether all of a prompt teaches, not only its end."""
    shape: LowRank = field(default_factory=LowRank)


@dataclass(slots=True)
class State:
    """Where a run stands."""

    step: int = 0
    position: int = 0
    tokens: int = 0
    validated: int = -1
    """At how many tokens the held-out loss was last measured."""


def rate_at(tokens: int, settings: Settings) -> float:
    """The learning rate: a short rise, a plateau, and a straight fall to zero at the end."""
    rise = min((tokens + settings.step_tokens) / settings.warm_up, 1.0)
    fall = min((settings.tokens - tokens) / (_DECAY * settings.tokens), 1.0)
    return settings.rate * max(min(rise, fall), 0.0)


def best_dtype(device: str) -> torch.dtype:
    """The type that this machine multiplies fastest: bfloat16 where the processor has instructions for it."""
    if device != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


class Run:
    """One fine-tuning run, its model and its optimizer."""

    def __init__(self, model: Model, control: frozenset[int], settings: Settings, device: str) -> None:
        self.model, self.settings, self.state = model, settings, State()
        self._control, self._device = control, device
        self.kept: LowerStates | None = None
        """Where states below the adapted layers are kept; None where they are computed each time."""
        shared = distributed.is_initialized()
        self._rank: int = distributed.get_rank() if shared else 0
        self._processes: int = distributed.get_world_size() if shared else 1
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self._rank == 0

    def step(self, examples: Sequence[Any]) -> dict[str, float]:
        """Read one step's examples and change the model; returns the loss on middles, in nats a token, and the rate."""
        state, settings = self.state, self.settings
        chosen, position = step_examples(examples, state.position, settings.step_tokens, settings.seed)
        groups = packed(chosen, settings.packed, self._processes)
        batches = [batch_of(group, self._control, end=None if settings.prompts_teach else END) for group in groups]
        whole = sum(float(batch.weights.sum()) for batch in batches)
        answers = sum(int(batch.answers.sum()) for batch in batches)
        total = 0.0
        for batch in batches[self._rank :: self._processes]:
            summed, losses = self._losses(batch)
            summed.div(whole).backward()
            total += float(losses[batch.answers.to(self._device)].sum())
        total = self._share(total)
        rate = self._change(sum(len(example.tokens) for example in chosen), position)
        return {"loss": total / answers, "answers": answers, "rate": rate}

    def _change(self, tokens: int, position: int) -> float:
        """Change the model by the gradients of `tokens` tokens, which end at `position`; returns the learning rate."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        state, rate = self.state, rate_at(self.state.tokens, self.settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.model.merge()
        state.step, state.position, state.tokens = state.step + 1, position, state.tokens + tokens
        return rate

    @torch.no_grad()
    def validate(self, examples: Sequence[Example]) -> float:
        """The loss on the middles of held-out packages, in nats a token."""
        batches = [
            batch_of(group, self._control, end=0) for group in packed(examples, self.settings.packed, self._processes)
        ]
        total = sum(float(self._losses(batch)[1].sum()) for batch in batches[self._rank :: self._processes])
        return float(self._summed(torch.tensor([total], device=self._device))) / sum(
            len(batch.targets) for batch in batches
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {name: getattr(self.state, name) for name in State.__slots__}
        content = {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict(), "state": state}
        if not self.is_first:
            return
        torch.save(content, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        self.model.load_state_dict(content["model"])
        self._optimizer.load_state_dict(content["optimizer"])
        self.state = State(**content["state"])
        self.model.merge()

    def _share(self, loss: float) -> float:
        """Add up the gradients and the loss of all processes."""
        if self._processes == 1:
            return loss
        parameters = list(self.model.parameters())
        nothing = torch.zeros((), device=self._device)
        flat = [nothing.expand(one.shape) if one.grad is None else one.grad for one in parameters]
        shared = torch.cat([*(one.flatten() for one in flat), torch.tensor([loss], device=self._device)])
        self._summed(shared)
        for one, gradient in zip(parameters, shared[:-1].split([one.numel() for one in parameters]), strict=True):
            one.grad = gradient.view_as(one)
        return float(shared[-1])

    def _summed(self, values: Tensor) -> Tensor:
        """Add up, in place, what all processes have."""
        if self._processes > 1:
            distributed.all_reduce(values)
        return values

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The weighted sum, and the losses one by one."""
        states = self._states(batch)
        return self.model.losses(states, batch.targets.to(self._device), batch.weights.to(self._device))

    def _states(self, batch: Batch) -> Tensor:
        tokens = batch.tokens.to(self._device)
        lower = (self.model if self.kept is None else self.kept).lower(tokens, batch.lengths)
        states: Tensor = self.model(lower, batch.lengths, batch.learned)
        return states


_Run = TypeVar("_Run", bound=Run)


def train(
    run: Run, examples: Sequence[Any], held_out: Sequence[Example], out: Path, *, seconds_between: float
) -> Iterator[dict[str, float]]:
    """Run to the end; yields what is written to the curve, and saves a checkpoint every so many seconds."""
    checkpoint, saved = out / "checkpoint.pt", time.monotonic()
    while True:
        state = run.state
        done = state.tokens >= run.settings.tokens
        if state.validated < 0 or done or state.tokens - state.validated >= run.settings.validate_every:
            state.validated = state.tokens
            yield {"step": state.step, "tokens": state.tokens, "held_out": run.validate(held_out)}
            run.save(checkpoint)
            saved = time.monotonic()
        if done:
            return
        started, used = time.monotonic(), time.process_time()
        told = run.step(examples)
        took = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used}
        yield {"step": state.step, "tokens": state.tokens, **told, **took}
        if time.monotonic() - saved > seconds_between:
            run.save(checkpoint)
            saved = time.monotonic()


def carry_out(
    run: Run, examples: Sequence[Any], held_out: Sequence[Example], out: Path, save: Callable[[Path], None]
) -> None:
    """Train to the end, from the last checkpoint on where there is one; `save` writes an adapter's folder."""
    checkpoint, curve = out / "checkpoint.pt", out / "curve.jsonl"
    if checkpoint.is_file():
        run.load(checkpoint)
        if run.is_first:
            lines = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
            kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= run.state.step]
            curve.write_text("".join(kept), encoding="utf-8")
    for told in train(run, examples, held_out[:_VALIDATED], out, seconds_between=300.0):
        line = json.dumps({name: round(value, 6) for name, value in told.items()})
        if run.is_first:
            with curve.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(line, flush=True)
            if "held_out" in told:
                save(out / "adapter")


def begin(arguments: argparse.Namespace, settings: Settings, kind: type[_Run]) -> tuple[_Run, Callable[[Path], None]]:
    """Choose the device, meet the other processes, and read the model, with the adapter `--init-from` if given.

    Returns the run, and what writes the adapter as it is.
    """
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    with open_base(arguments.wheel, arguments.model) as base:
        model = Model(base, settings.shape, best_dtype(device), device)
    if arguments.init_from is not None:
        load_adapter(arguments.init_from, model)
        model.merge()
    run = kind(model, frozenset(base.style.stop), settings, device)
    return run, lambda folder: save_adapter(folder, model, base)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Let a command line say what `begin` reads."""
    add_base(parser)
    parser.add_argument("--out", type=Path, required=True, help="where checkpoint, curve and adapter are kept")
    parser.add_argument("--init-from", type=Path, help="an adapter's folder to begin with")
    parser.add_argument("--threads", type=int, default=1, help="of each process; two processes beat two threads")


def main() -> None:
    """Read the command line, train, write curve and adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run(parser)
    parser.add_argument("--examples", type=Path, required=True, help="what `python -m training.data.examples` wrote")
    parser.add_argument("--tokens", type=int, required=True, help="how many tokens to read in all")
    parser.add_argument("--rate", type=float, default=Settings(0).rate, help="learning rate of the plateau")
    parser.add_argument(
        "--answers-only",
        action="store_true",
        help="let no more of a prompt teach than its end: more tokens a second, and less learned from each",
    )
    parser.add_argument(
        "--no-keep",
        action="store_true",
        help="compute the layers that stay as they are anew when examples are read again, instead of keeping their "
        "states in --out (1.2 kB a token)",
    )
    arguments = parser.parse_args()
    run, save = begin(
        arguments, Settings(arguments.tokens, rate=arguments.rate, prompts_teach=not arguments.answers_only), Run
    )
    examples, held_out = (read_examples(arguments.examples / f"{name}.npz") for name in ("train", "held_out"))
    reads_again = arguments.tokens > sum(len(example.tokens) for example in examples)
    if reads_again and run.model.first_adapted and not arguments.no_keep:
        try:
            run.kept = LowerStates(arguments.out, (one.tokens[:-1].astype(np.int64) for one in examples), run.model)
        except OSError as error:
            parser.exit(1, f"{error}\n")
    carry_out(run, examples, held_out, arguments.out, save)
    if run.kept is not None and run.is_first:
        run.kept.remove()


if __name__ == "__main__":
    main()
