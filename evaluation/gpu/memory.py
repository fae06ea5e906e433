"""When a card's memory runs out, while loading and while a state is allocated; and two processes on one card.

In a dry run the processor's memory runs out instead: a limit on this process's address space stands for the card.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.devices import cuda as nvidia
from engine.model_folders.manifest import read_manifest
from engine.runtime.kv_slots import Slots
from engine.runtime.session import Model, OutOfMemory
from evaluation.gpu.models import DEFAULT
from evaluation.gpu.records import Recorder
from evaluation.gpu.workplace import Workplace, filled, median_seconds, tokens
from syntax.children import start_python

_MEGABYTE = 1 << 20
_LEFT_TO_LOAD = 64 * _MEGABYTE
_LEFT_TO_ALLOCATE = 2.5  # states
_PLACES = 6
_TWO = 2
_SECONDS_OF_TWO = 4.0


def check_memory(workplace: Workplace, record: Recorder) -> None:
    """Run out of memory in both ways; neither may end in a crash, and each has to say what to do."""
    title = f"{DEFAULT} fp16"
    model = workplace.load(title)
    _check_allocation(workplace, record, title, model)
    if workplace.dry:
        record.add(title, "loading where the card is full", "not measured: a dry run")
        return
    with _room_for(_LEFT_TO_LOAD, workplace):
        folder, manifest = workplace.folder(title), workplace.manifest(title)
        loaded = Model(folder, manifest, provider="cuda")
        record.add(title, "loading where the card is full: what is said", loaded.opened.reason)
        record.add(
            title, "loading where the card is full: runs on", loaded.providers[0],
            goal="the processor", passed=loaded.opened.fell_back,
        )  # fmt: skip


def _check_allocation(workplace: Workplace, record: Recorder, title: str, model: Model) -> None:
    """Ask for states of more places than there is room for."""
    length = max(workplace.sizes.decode)
    state = length * model.manifest.kv_bytes_per_token
    if workplace.dry:
        length, state = 1 << 20, (1 << 20) * model.manifest.kv_bytes_per_token
    slots = Slots(model, capacity=length, memory=1 << 50)
    text = tokens(model, 256)
    with _room_for(int(_LEFT_TO_ALLOCATE * state), workplace):
        for place in range(_PLACES):
            prompt = [*text[place : place + 3], *text[:100]]
            slot = slots.take(prompt)
            if workplace.dry:  # computing takes the processor memory for all that a slot could hold
                slot.tokens = prompt
            else:
                assert np.isfinite(model.run(slot, prompt[len(slot.tokens) :], [0])).all()
        record.add(
            title, f"states of {_PLACES} places where few fit: kept", float(len(slots)), "states",
            goal="some, and no crash", passed=0 < len(slots) < _PLACES,
        )  # fmt: skip
        try:
            model.new_slot(length * 64)
            said, passed = "there was room", workplace.dry
        except OutOfMemory as error:
            said, passed = str(error), True
        record.add(title, "a state that is too large: what is said", said, goal="a sentence", passed=passed)


@contextmanager
def _room_for(size: int, workplace: Workplace) -> Iterator[None]:
    """Leave only so many bytes free."""
    if workplace.dry:
        used = int(_status("VmSize")) * 1024
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        return
    import torch

    torch.zeros(1, device="cuda")
    free = nvidia.free_memory() or 0
    filling = torch.empty(max(free - size, 0), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del filling
        torch.cuda.empty_cache()


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def check_two_processes(workplace: Workplace, record: Recorder) -> None:
    """Two processes on one card at once: the same answers as one, and how much slower each is."""
    title = f"{DEFAULT} fp16"
    alone = _together(workplace, title, 1)
    both = _together(workplace, title, _TWO)
    record.add(title, "decode, one process alone", alone[0]["step"] * 1e3, "ms")
    for index, one in enumerate(both):
        record.add(title, f"decode, process {index + 1} of two at once", one["step"] * 1e3, "ms")
    same = all(one["tokens"] == alone[0]["tokens"] for one in both)
    record.add(title, "two processes write the same tokens as one", "yes" if same else "no", passed=same)


def _together(workplace: Workplace, title: str, count: int) -> list[dict[str, Any]]:
    """Let so many processes decode at the same time; returns what each says."""
    place, provider = str(workplace.folder(title)), workplace.provider
    pipes: dict[str, Any] = {"stdin": -1, "stdout": -1, "text": True}
    running = [start_python("evaluation.gpu.memory", place, provider, **pipes) for _ in range(count)]
    try:
        for one in running:
            assert one.stdout is not None
            if one.stdout.readline() != "ready\n":
                raise RuntimeError("a process could not load the model; its own message stands above")
        for one in running:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        return [json.loads(one.communicate()[0]) for one in running]
    finally:
        for one in running:
            with contextlib.suppress(ProcessLookupError):
                one.kill()
            one.wait()


def _run_alone(folder: str, provider: str) -> None:
    """What each of two processes does: load, say so, and decode until time is up."""
    place = Path(folder)
    model = Model(place, read_manifest(place), provider=provider)  # type: ignore[arg-type]
    slot = model.new_slot(512)
    filled(model, slot, 128)
    print("ready", flush=True)
    sys.stdin.readline()
    written: list[int] = []
    token = 300
    for _ in range(16):
        token = int(model.run(slot, [token], [0])[0].argmax())
        written.append(token)

    def step() -> None:
        slot.keep(128)
        model.run(slot, [300], [0])

    until, times = time.monotonic() + _SECONDS_OF_TWO, []
    while time.monotonic() < until:
        times.append(median_seconds(step, 8))
    print(json.dumps({"tokens": written, "step": float(np.median(times))}), flush=True)


if __name__ == "__main__":
    _run_alone(*sys.argv[1:])
