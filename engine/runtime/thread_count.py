"""How many threads a model gets: the fewest that are nearly as fast as any, as measured on this machine once.

Measuring takes seconds, for a session's threads are fixed when it is opened: so `mellum-lsp setup`, `export` and
`doctor` do it (see `engine.runtime.benchmark`), and a server that starts reads from the cache folder what they found.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cattrs
import psutil

from engine.devices.onnx_runtime import onnxruntime
from engine.model_folders.locations import cache_folder
from engine.model_folders.manifest import GRAPH_FILE, Manifest
from engine.model_folders.whole_file import write_whole

READ, WRITTEN = 128, 16
"""Tokens of what is timed, read at once and written one by one: about what a new line in a warm place takes."""
_NEARLY = 1.05  # of the best time
_MOST = 8
_REMEMBERED = 64  # models on machines: a cache folder may lie in a home that several share
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Measurement:
    """How fast a model ran with so many threads."""

    threads: int
    prefill: float
    """Seconds to read READ tokens."""
    step: float
    """Seconds to write one token."""
    verify: tuple[float, ...] = ()
    """The time of a step of 1, 2, 3, ... tokens, in units of a step of one; empty where a few layers were measured."""

    @property
    def seconds(self) -> float:
        """What READ tokens read and WRITTEN tokens written take."""
        return self.prefill + WRITTEN * self.step


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """A number of threads, and what it was chosen by."""

    threads: int
    measured: tuple[Measurement, ...] = ()
    runtime: str = ""
    """The version of ONNX Runtime that was measured."""
    same_bits: bool | None = None
    """Whether a token's logits are the same bits whatever runs beside it, as checked here; None: not checked."""

    def reason(self) -> str:
        """Why it was chosen, as `mellum-lsp doctor` says it."""
        if not self.measured:
            return (
                f"all of 2 cores, half of more, of which this machine has {physical_cores()}; what is faster is still "
                "to be measured, when it has nothing else to do. Run: mellum-lsp doctor"
            )
        times = ", ".join(f"{one.threads} in {one.seconds * 1e3:.0f} ms" for one in self.measured)
        return (
            f"measured, the fewest that are nearly as fast as any for {READ} tokens read and {WRITTEN} written: {times}"
        )


def physical_cores() -> int:
    """Cores that this process may use, not the two threads that many run: those share the memory a step waits for."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


def default_threads() -> int:
    """All of 2 cores, half of more: where nothing is measured yet."""
    cores = physical_cores()
    return min(max(cores // 2, 2), _MOST, cores)


def candidates(cores: int) -> tuple[int, ...]:
    """Numbers of threads worth measuring, the fewest first: never all of more than 2 cores, others want some, too."""
    if cores <= 2:
        return tuple(range(1, cores + 1))
    return tuple(sorted({min(max(count, 1), _MOST) for count in (cores // 4, cores // 2, cores * 3 // 4)}))


def choose(measured: Sequence[Measurement]) -> int:
    """Choose the fewest threads with which the model is nearly as fast as with the best number."""
    best = min(one.seconds for one in measured)
    return min(one.threads for one in measured if one.seconds <= best * _NEARLY)


def is_worth_more(measured: Sequence[Measurement]) -> bool:
    """Whether the last of these was enough faster than the one before it to try still more threads."""
    return len(measured) < 2 or measured[-1].seconds * _NEARLY < measured[-2].seconds


def remembered(manifest: Manifest) -> ThreadChoice | None:
    """What was chosen for this model on this machine; None where nothing was, or it cannot be read."""
    found = _read().get(_key(manifest))
    try:
        choice = cattrs.structure(found, ThreadChoice) if found is not None else None
    except Exception:  # cattrs raises groups of whatever its hooks raise; what is broken is measured again
        return None
    return choice if choice is not None and _is_possible(choice) else None


def chosen(manifest: Manifest) -> ThreadChoice:
    """What was measured for this model, if anything was."""
    return remembered(manifest) or ThreadChoice(default_threads())


def is_current(choice: ThreadChoice | None) -> bool:
    """Whether a choice need not be measured again: after an update of the runtime it is used, until it is."""
    return choice is not None and choice.runtime == onnxruntime.__version__ and choice.same_bits is not None


def remember(manifest: Manifest, measured: Sequence[Measurement], *, same_bits: bool) -> ThreadChoice:
    """Choose, and keep the choice for this model on this machine."""
    choice = ThreadChoice(choose(measured), tuple(measured), onnxruntime.__version__, same_bits)
    known = _read()
    known.pop(_key(manifest), None)
    kept = dict([*known.items(), (_key(manifest), asdict(choice))][-_REMEMBERED:])
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(kept, indent=2) + "\n", ending=f".{os.getpid()}~")
    return choice


def _is_possible(choice: ThreadChoice) -> bool:
    """Whether it can have been measured: the file lies where anything may write."""
    times = [time for one in choice.measured for time in (one.prefill, one.step, *one.verify)]
    counts = [choice.threads, *(one.threads for one in choice.measured)]
    return all(0 < time < math.inf for time in times) and all(1 <= count <= physical_cores() for count in counts)


def _path() -> Path:
    return cache_folder() / "threads.json"


def _read() -> dict[str, Any]:
    path = _path()
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}  # a pipe would never end
    except (OSError, ValueError, RecursionError):  # broken: it can be measured again
        return {}
    return known if isinstance(known, dict) else {}


def _key(manifest: Manifest) -> str:
    """A model's graph on a machine's cores: what the rates depend on."""
    return f"{_processor()}, {physical_cores()} cores, {manifest.name} {manifest.files.get(GRAPH_FILE, '')[:16]}"


def _processor() -> str:
    """The processor's name; where the system does not tell it, its kind."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
