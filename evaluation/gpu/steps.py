"""The steps, the most important first. Each is a process of its own, so a crash or a hang does not stop the others."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluation.gpu.models import DEFAULT, LARGE, PART, leave_cores, make
from evaluation.gpu.records import Recorder
from evaluation.gpu.workplace import Missing, Workplace

CORES_TO_MEASURE = 6


_PARTS = {
    "the card": ("rates", "describe_card"),
    "arithmetic": ("checks", "check_arithmetic"),
    "states": ("checks", "check_states"),
    "rates": ("rates", "measure_rates"),
    "logits only": ("rates", "measure_without_picks"),
    "engine": ("checks", "check_engine"),
    "server": ("server", "measure_server"),
    "CUDA graphs": ("graphs", "measure_graphs"),
    "memory": ("memory", "check_memory"),
    "two processes": ("memory", "check_two_processes"),
    "transformers": ("peer", "measure_peer"),
}
"""What there is to find out: the module, and its function."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to find out, by a process that loads its model once."""

    seconds: float
    """After so long it is stopped; what it has found by then counts."""
    least: float
    """With less time than that it is not begun."""
    parts: tuple[str, ...]
    title: str = ""
    """The model that it is about."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that it runs with, beside those that there are."""

    @property
    def name(self) -> str:
        """Its parts and its model."""
        return self.label(", ".join(self.parts))

    def label(self, part: str) -> str:
        """The heading of a part in the table."""
        switches = "".join(f" with {name}={value}" for name, value in self.environment)
        return part + switches + (f": {self.title}" if self.title else "")

    def run(self, part: str, workplace: Workplace, record: Recorder) -> None:
        """Find out one part."""
        where, name = _PARTS[part]
        function: Callable[..., None] = getattr(importlib.import_module(f"evaluation.gpu.{where}"), name)
        function(workplace, record, *([self.title] if self.title else []))


_FP16, _INT4 = f"{DEFAULT} fp16", f"{DEFAULT} int4"
_LARGE_FP16, _LARGE_INT4 = f"{LARGE} fp16", f"{LARGE} int4"

STEPS: tuple[Step, ...] = (
    Step(30, 5, ("the card",)),
    Step(80, 15, ("arithmetic", "states", "rates", "engine"), _FP16),
    Step(80, 15, ("states", "rates", "engine"), _LARGE_FP16),
    Step(40, 12, ("server",), _FP16),
    Step(50, 15, ("server",), _LARGE_FP16),
    Step(45, 10, ("rates", "engine"), _LARGE_INT4),
    Step(40, 12, ("arithmetic",), f"{PART} fp16"),
    Step(40, 12, ("arithmetic",), f"{PART} int4"),
    Step(30, 8, ("memory",)),
    Step(30, 12, ("two processes",)),
    Step(30, 10, ("CUDA graphs",), _LARGE_FP16),
    Step(30, 10, ("logits only",), _LARGE_FP16),
    Step(70, 25, ("transformers",)),
    Step(30, 12, ("rates",), _LARGE_FP16, (("ORT_ENABLE_XQA", "1"),)),
    Step(50, 12, ("arithmetic", "rates"), _INT4),
    Step(40, 12, ("server",), _LARGE_INT4),
    Step(20, 8, ("CUDA graphs", "logits only"), _FP16),
)
"""In the order of their worth."""


def main() -> None:
    """Run one step, or make models: what the runner starts as a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", help="a step's name, or 'make'")
    parser.add_argument("what", nargs="*", help="labels of its parts; models to make")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    workplace = Workplace(arguments.models, arguments.out, arguments.wheels, arguments.dry_run)
    if arguments.step == "make":
        _make(workplace, Recorder(arguments.out, "models", arguments.dry_run), arguments.what)
        return
    step = next(step for step in STEPS if step.name == arguments.step)
    parts = [part for part in step.parts if step.label(part) in arguments.what]
    ended = [_found_out(step, part, workplace, arguments) for part in parts]
    sys.exit(not all(ended))


def _found_out(step: Step, part: str, workplace: Workplace, arguments: argparse.Namespace) -> bool:
    """Find out a part; returns whether it went to its end."""
    record = Recorder(arguments.out, step.label(part), arguments.dry_run)
    try:
        step.run(part, workplace, record)
    except Missing as missing:
        record.add(step.title, "not measured", str(missing), passed=None if workplace.dry else False)
    except Exception as error:
        traceback.print_exc()
        record.add(step.title, "failed", f"{type(error).__name__}: {error}"[:500], passed=False)
        return False
    return True


def _make(workplace: Workplace, record: Recorder, titles: list[str]) -> None:
    leave_cores(CORES_TO_MEASURE)
    for title in titles:
        started = time.perf_counter()
        try:
            make(workplace.planned()[title], workplace.models, workplace.wheels)
        except Exception as error:
            traceback.print_exc()
            record.add(title, "could not be made", f"{type(error).__name__}: {error}"[:500], passed=False)
        else:
            record.add(title, "made in", time.perf_counter() - started, "s")


if __name__ == "__main__":
    main()
