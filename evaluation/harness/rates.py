"""How fast model folders run, side by side: all are loaded, and they take turns.

What is given are medians, so that a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.model_folders.manifest import read_manifest
from engine.runtime.session import Model, Slot

ROUNDS, STEPS, PROMPT = 3, 10, 256


def rates(
    folders: Mapping[str, Path], *, prompt: int = PROMPT, steps: int = STEPS, rounds: int = ROUNDS
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Of each model: seconds to load, prefill tokens a second, seconds a decoded token."""
    running: dict[str, Model] = {}
    loads: dict[str, float] = {}
    for name, folder in folders.items():
        started = time.perf_counter()
        running[name] = Model(folder, read_manifest(folder))
        loads[name] = time.perf_counter() - started
    prefill: dict[str, list[float]] = {name: [] for name in running}
    decode: dict[str, list[float]] = {name: [] for name in running}
    slots = {name: model.new_slot(prompt + steps) for name, model in running.items()}
    tokens = [100 + index % 1000 for index in range(prompt)]
    for _ in range(rounds):
        for name, model in running.items():
            slots[name].keep(0)
            prefill[name].append(_seconds(model, slots[name], tokens))
            decode[name] += [_seconds(model, slots[name], [100 + step]) for step in range(steps)]
    for name in running:
        yield name, (loads[name], prompt / statistics.median(prefill[name]), statistics.median(decode[name]))


def _seconds(model: Model, slot: Slot, tokens: list[int]) -> float:
    started = time.perf_counter()
    model.run(slot, tokens, [len(tokens) - 1])
    return time.perf_counter() - started
