"""How fast this machine runs a model: once with several thread counts; and at every load until that was done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.model_folders.manifest import Manifest
from engine.runtime.session import LONGEST_DRAFT, Model
from engine.runtime.thread_count import (
    READ,
    Measurement,
    ThreadChoice,
    candidates,
    default_threads,
    is_current,
    is_worth_more,
    physical_cores,
    remember,
    remembered,
)

_READ_BY_CARD = 1024  # tokens; with fewer, a card has less to do than launching its kernels takes
_STEPS = 4
_PREFILLS = 2
_LEAST_SHARE = 0.8
_WIDTHS = (1, 1, 2, 3, 1, 4, 4)  # runs that LONGEST_DRAFT + 1 tokens are divided into


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured on this machine, in tokens a second."""

    prefill: float
    decode: float
    verify: tuple[float, ...]
    """The time of a step of 1, 2, 3, ... tokens, in units of a step of one."""


def rates_of(model: Model) -> Rates:
    """The rates that were measured when its threads were chosen, if they were; else measure now. Warms the model up.

    What was measured then is of a machine with nothing else to do, and a server is half a second sooner ready.
    """
    choice = remembered(model.manifest)
    if choice is None or not is_current(choice) or model.providers[0] != "CPUExecutionProvider":
        return benchmark(model)
    known = next((one for one in choice.measured if one.threads == model.threads and one.verify), None)
    if known is None:
        return benchmark(model)
    _Timer(model, 1).seconds(1)
    return Rates(prefill=READ / known.prefill, decode=1 / known.step, verify=known.verify)


def benchmark(model: Model) -> Rates:
    """Measure this machine for a fraction of a second; warms the model up, too."""
    read = _READ_BY_CARD if model.on_card else READ
    timer = _Timer(model, read)
    timer.seconds(8)
    prefill = min(timer.seconds(read) for _ in range(2 if model.on_card else 1))  # a card's first run loads kernels
    step, verify = timer.steps()
    return Rates(prefill=read / prefill, decode=1 / step, verify=verify)


def gives_same_bits(model: Model) -> bool:
    """Check on this machine that a token's logits are the same bits whatever tokens run beside it.

    Then drafts and chunks change no bit of an answer. Whether it is so depends on the kernels that ONNX Runtime picks
    for this processor: those of int4 on AVX2 alone round a token's sums by its place in a run, in the seventh digit.
    Takes about eight steps.
    """
    tokens = [index % model.manifest.vocabulary for index in range(2000, 2000 + LONGEST_DRAFT + 1)]
    slot = model.new_slot(2 * len(tokens))
    together = model.run(slot, tokens, range(len(tokens)))
    slot.keep(0)
    for width in _WIDTHS:
        start = len(slot.tokens)
        part = model.run(slot, tokens[start : start + width], range(width))
        if not np.array_equal(part, together[start : start + width]):
            return False
    return True


def choose_threads(
    folder: Path,
    manifest: Manifest,
    *,
    again: bool = False,
    say: Callable[[str], None] = lambda what: None,
    least_share: float = _LEAST_SHARE,
    layers: tuple[Path, Manifest] | None = None,
) -> ThreadChoice | None:
    """Measure a model with several numbers of threads, one session after the other, and keep the choice.

    Does nothing where that was done already, unless `again`; nor for a model that a GPU runs: None. Where something
    else had the processor for more than `1 - least_share` of the time, what was known before stays: a busy machine
    prefers few threads. `layers`: a folder of a few layers of the model's shape, which run instead of the whole one.
    Takes one to two seconds for the default model. Raises ModelError.
    """
    if manifest.is_for_gpu:
        return None
    known = remembered(manifest)
    is_whole = known is not None and (layers is not None or all(one.verify for one in known.measured))
    if is_whole and is_current(known) and not again:
        return known
    say("Measuring with how many threads it is fast here.")
    measured: list[Measurement] = []
    same_bits = True
    run, of_run = layers or (folder, manifest)
    parts = manifest.layers / of_run.layers
    for threads in candidates(physical_cores()):
        model = Model(run, of_run, threads=threads, provider="cpu")
        measurement, share = _measure(model)
        if share < least_share:
            return known or ThreadChoice(default_threads())
        verify = measurement.verify if layers is None else ()  # the head has a larger share of a few layers
        measured.append(Measurement(threads, parts * measurement.prefill, parts * measurement.step, verify))
        same_bits = same_bits and gives_same_bits(model)
        if not is_worth_more(measured):
            break
    return remember(manifest, measured, same_bits=same_bits)


def _measure(model: Model) -> tuple[Measurement, float]:
    """Take the best times of a model; and what share of the time its threads had the processor."""
    timer = _Timer(model)
    timer.seconds(8)
    started, computed = time.perf_counter(), time.process_time()
    prefill = min(timer.seconds(READ) for _ in range(_PREFILLS))
    step, verify = timer.steps()
    passed = time.perf_counter() - started
    share = (time.process_time() - computed) / (passed * model.threads)  # they spin while they wait for each other
    return Measurement(model.threads, prefill, step, verify), share


class _Timer:
    """Times runs of a model: of `read` tokens from nothing, of fewer after `read` others."""

    def __init__(self, model: Model, read: int = READ) -> None:
        self._model, self._slot, self._read = model, model.new_slot(read + LONGEST_DRAFT + 1), read
        self._tokens = [index % model.manifest.vocabulary for index in range(1000, 1000 + read)]

    def seconds(self, count: int) -> float:
        """The time that a run of `count` tokens takes."""
        self._slot.keep(self._read if count < self._read else 0)
        started = time.perf_counter()
        self._model.run(self._slot, self._tokens[:count], range(count if count <= LONGEST_DRAFT + 1 else 1))
        return time.perf_counter() - started

    def steps(self) -> tuple[float, tuple[float, ...]]:
        """The time of a step of one token, and those of 1, 2, 3, ... tokens in units of it."""
        widths = [width for width in (1, 2, 4, 8, LONGEST_DRAFT + 1) if width >= self._model.narrowest]
        times = [[self.seconds(width) for width in widths] for _ in range(_STEPS)]
        steps = np.min(times, axis=0)  # other work only adds to them
        verify = np.interp(range(1, widths[-1] + 1), widths, np.maximum.accumulate(steps)) / steps[0]
        return float(steps[0]), tuple(verify.tolist())
