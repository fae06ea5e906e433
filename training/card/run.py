"""A run on a card: steps until the time is up, checkpoints, losses before and after, and the learned change."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.sources import Source
from training.card.attention import Attend, best
from training.card.data.rows import Rows
from training.card.decoder import Decoder
from training.card.difference import Told, factors, rank_for, write_difference
from training.card.schedule import Clock, rate_at
from training.network.base import Base

CURVE, CHECKPOINT, DIFFERENCE, RESULT = "curve.jsonl", "checkpoint.pt", "difference", "result.json"

_CLIP = 1.0
_HORIZON_WEIGHT = 0.1
_SAFETY = 1.3  # what comes after the last step may take this much longer than it was measured to take

_LONGEST_END = 0.25  # share of the time that the end may be thought to take

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides about a run."""

    seconds: float
    """In all: loading, compiling and the end included."""
    rate: float = 3e-4
    rank: int | None = None
    """Of the change that is learned; None learns whole matrices."""
    narrow_at: float = 1.0
    """When this share of the time is over, whole changes are cut to the rank that is brought back, and go on so."""
    horizon: bool = False
    compiled: bool = False
    every: float = 60.0
    """Seconds between two checkpoints."""
    most: int = 25_000_000
    """Bytes of the difference."""


@dataclass(slots=True)
class State:
    """Where a run stands."""

    step: int = 0
    tokens: int = 0
    elapsed: float = 0.0
    lead: float | None = None
    """Seconds that were over before the first step."""
    fresh: float = 0.0
    """The share of the time for steps that was over when the optimizer began."""
    held_out: float | None = None
    """The loss before the first step."""
    narrowed: int | None = None
    """The rank of the change, where it is learned as one."""


class CardRun:
    """A model, its optimizer, and what it was begun with."""

    def __init__(self, base: Base, start: Source, embeddings: Tensor, settings: Settings, device: str) -> None:
        """`start` holds the weights to begin with, those of `base` or of it with an adapter."""
        self.settings, self.state, self._base, self._device = settings, State(), base, device
        dtype = torch.bfloat16 if device != "cpu" or torch.cpu._is_avx512_bf16_supported() else torch.float32
        self.model = Decoder(start, embeddings, dtype, device)
        self._dtype = dtype
        if settings.compiled:
            self.model.compile_parts()
        self.attention = "none yet"
        self._attend: Attend | None = None
        if settings.rank is not None:
            self._narrow_to(settings.rank)
        self._optimizer = self._new_optimizer()

    def step(self, rows: Rows, rate: float) -> tuple[Tensor, Tensor]:
        """Read rows and change the model; returns the sum of the losses on middles, and how many tokens those are.

        Both are still being computed: to look at them is to wait.
        """
        self.state.tokens += rows.taught
        rows = rows.to(self._device)
        states = self._states(rows)
        summed, losses = self.model.losses(states, rows)
        whole = rows.weights.sum()
        loss = summed / whole
        if self.settings.horizon:
            loss = loss + _HORIZON_WEIGHT * self.model.horizon_loss(states, rows) / whole
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters(), _CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        return (losses * rows.answers).sum(), rows.answers.sum()

    @torch.no_grad()
    def validate(self, held_out: Sequence[Rows]) -> float:
        """The loss on held-out middles, in nats a token."""
        total, count = 0.0, 0
        for rows in held_out:
            moved = rows.to(self._device)
            _, losses = self.model.losses(self._states(moved), moved)
            total += float((losses * moved.answers).sum())
            count += int(rows.answers.sum())
        return total / count

    def changes(self, values: dict[str, Tensor] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Of each matrix what was learned, against the base: those of `values`, or those of now."""
        for name, matrix in self.model.named():
            with torch.no_grad():
                now = matrix.value() if values is None else values[name]
                yield name, now - torch.from_numpy(self._base.source.tensor(f"{name}.weight")).to(now)

    def write_difference(self, folder: Path, values: dict[str, Tensor] | None = None) -> Told:
        """Write what was learned; see `training.card.difference`."""
        taught = list(self._base.taught)
        embeddings = self.model.embeddings[taught]
        changes = dict(self.changes(values))
        return write_difference(folder, changes, embeddings, taught, self._base.name, self.settings.most)

    def narrow(self) -> None:
        """Cut what was learned to the rank that is brought back; from now on only that is learned."""
        rank = rank_for((tuple(change.shape) for _, change in self.changes()), self.settings.most)
        for (_, matrix), (_, change) in zip(self.model.named(), list(self.changes()), strict=True):
            matrix.narrow(matrix.value().detach() - change, *factors(change, rank))
        self.state.narrowed = rank
        self._optimizer = self._new_optimizer()

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds: a copy in the processor's memory."""
        state = {name: getattr(self.state, name) for name in State.__slots__}
        content = {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict(), "state": state}
        return {name: _copied(part) for name, part in content.items()}

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content = torch.load(path, map_location=self._device, weights_only=True)
        self.state = State(**content["state"])
        if self.state.narrowed is not None and self.settings.rank is None:
            for name, matrix in self.model.named():
                below = torch.from_numpy(self._base.source.tensor(f"{name}.weight")).float().to(self._device)
                stored = (content["model"][f"matrices.{_key(name)}.{part}"] for part in ("up", "down"))
                matrix.narrow(below, *stored)
            self._optimizer = self._new_optimizer()
        self.model.load_state_dict(content["model"])
        self._optimizer.load_state_dict(content["optimizer"])

    def values(self) -> dict[str, Tensor]:
        """All matrices as they are: a copy in the processor's memory."""
        with torch.no_grad():
            return {name: matrix.value().to("cpu", copy=True) for name, matrix in self.model.named()}

    def _states(self, rows: Rows) -> Tensor:
        if self._attend is None:
            shape = self.model.architecture
            self.attention, self._attend = best(rows, shape.heads, shape.kv_heads, shape.head_size, self._dtype)
        states: Tensor = self.model(rows, self._attend)
        return states

    def _narrow_to(self, rank: int) -> None:
        generator = torch.Generator().manual_seed(0)
        for _, matrix in self.model.named():
            below = matrix.value().detach()
            outputs, inputs = below.shape
            down = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            matrix.narrow(below, torch.zeros(outputs, rank, device=self._device), down.to(self._device))
        self.state.narrowed = rank

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [*self.model.learned(), *(self.model.horizon.parameters() if self.settings.horizon else ())]

    def _new_optimizer(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(self._parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


def _key(name: str) -> str:
    """The name of a matrix in the model's own state."""
    layer, _, part = name.removeprefix("model.layers.").partition(".")
    return f"{layer} {part}".replace(".", "_")


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


class Keeper:
    """Writes checkpoints and differences in a thread of its own, while the card goes on."""

    def __init__(self, run: CardRun, checkpoints: Path, out: Path, say: Say) -> None:
        self._run, self._checkpoints, self._out, self._say = run, checkpoints, out, say
        self._thread: threading.Thread | None = None

    def keep(self) -> None:
        """Write a copy of the run as it is, unless the last copy is still being written."""
        if self._thread is None or not self._thread.is_alive():
            content, values = self._run.content(), self._run.values()
            self._thread = threading.Thread(target=self._write, args=(content, values), daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until all is written."""
        if self._thread is not None:
            self._thread.join()

    def checkpoint(self) -> None:
        """Write a checkpoint of the run as it is, before going on."""
        self.wait()
        self._save(self._run.content())

    def _write(self, content: dict[str, Any], values: dict[str, Tensor]) -> None:
        try:
            self._save(content)
            self._run.write_difference(self._out / DIFFERENCE, values)
        except (OSError, RuntimeError) as error:
            self._say(f"The checkpoint could not be written ({error}); going on")

    def _save(self, content: dict[str, Any]) -> None:
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        new = self._checkpoints / f"{CHECKPOINT}.new"
        torch.save(content, new)
        new.replace(self._checkpoints / CHECKPOINT)


def carry_out(
    run: CardRun,
    steps: Callable[[int], Iterator[Rows]],
    held_out: Sequence[Rows],
    clock: Clock,
    out: Path,
    checkpoints: Path,
    *,
    is_stopped: Callable[[], bool],
    say: Say,
) -> dict[str, Any]:
    """Go on until the time is up or `is_stopped`, and leave in `out` the curve, the difference and a summary of both.

    `steps` gives the rows from a step on. Where a checkpoint is there, it is gone on from.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings, keeper = run.settings, Keeper(run, checkpoints, out, say)
    if (checkpoints / CHECKPOINT).exists():
        run.load(checkpoints / CHECKPOINT)
        clock.before = run.state.elapsed
        say(f"Going on from step {run.state.step}, {clock.before:.0f} s of {clock.seconds:.0f} s are over")
    state = run.state
    rows = steps(state.step)  # its processes begin before anything else takes time
    with (out / CURVE).open("a", encoding="utf-8") as curve:

        def tell(**told: float | str | None) -> None:
            line = {name: round(value, 5) if isinstance(value, float) else value for name, value in told.items()}
            print(json.dumps(line), file=curve, flush=True)
            say(json.dumps(line))

        if clock.progress < 1:
            before, ending = _seconds_of_the_end(run, held_out)
            clock.ending = min(ending, _LONGEST_END * clock.seconds)
            if state.held_out is None:
                state.held_out = before
            tell(step=state.step, held_out=before, attention=run.attention, seconds=clock.elapsed)
        if state.lead is None:
            state.lead = clock.elapsed
        clock.lead = state.lead
        saved = time.monotonic()
        pending: tuple[Tensor, Tensor] | None = None
        while (progress := clock.progress) < 1 and not is_stopped():
            if settings.rank is None and state.narrowed is None and progress >= settings.narrow_at:
                run.narrow()
                state.fresh = progress
                say(f"From step {state.step} on at rank {state.narrowed}")
            drawn, rate = next(rows), rate_at(progress, settings.rate, state.fresh)
            computed = run.step(drawn, rate)
            if pending is not None:  # of the step before, so that the card need not wait
                loss = float(pending[0]) / max(int(pending[1]), 1)
                tell(step=state.step - 1, loss=loss, rate=rate, tokens=state.tokens, seconds=clock.elapsed)
            pending = computed
            state.elapsed = clock.elapsed
            if time.monotonic() - saved >= settings.every:
                keeper.keep()
                saved = time.monotonic()
        state.elapsed = clock.elapsed
        stopped = is_stopped()
        if stopped:
            keeper.checkpoint()
        keeper.wait()
        told = run.write_difference(out / DIFFERENCE)
        result: dict[str, Any] = {
            "finished": not stopped,
            "steps": state.step,
            "tokens": state.tokens,
            "held_out_before": state.held_out,
            "attention": run.attention,
            "rank": told.rank,
            "lost": told.lost,
            "error": told.error,
        }
        if not stopped:
            result["held_out_after"] = run.validate(held_out)
        result["seconds"] = clock.elapsed
        (out / RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        tell(**result)
    if not stopped:
        keeper.checkpoint()
    return result


def _seconds_of_the_end(run: CardRun, held_out: Sequence[Rows]) -> tuple[float, float]:
    """The held-out loss, and about how long it will take to measure that again, and to write what was learned."""
    run.validate(held_out[:1])  # what is loaded and compiled once does not count
    start = time.monotonic()
    loss = run.validate(held_out)
    run.content()
    whole = time.monotonic() - start
    largest = max((matrix.value().detach() for _, matrix in run.model.named()), key=Tensor.numel)
    factors(largest, 1)
    start = time.monotonic()
    float(factors(largest, 1)[0].sum())
    return loss, _SAFETY * (whole + sum(1 for _ in run.model.named()) * (time.monotonic() - start))
