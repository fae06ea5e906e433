"""The steps in the order of their worth, each run in a process of its own: what crashes or hangs stops nothing else."""

from __future__ import annotations

import argparse
import functools
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


@dataclass(frozen=True, slots=True)
class Step:
    """Something to find out."""

    name: str
    seconds: float
    """After so long it is stopped; what it has found by then counts."""
    least: float
    """With less time than that it is not begun."""
    module: str
    function: str
    title: str = ""
    """The model that it is about."""

    def run(self, workplace: Workplace, record: Recorder) -> None:
        """Find out."""
        module = __import__(f"evaluation.gpu.{self.module}", fromlist=[self.function])
        function: Callable[..., None] = getattr(module, self.function)
        (functools.partial(function, title=self.title) if self.title else function)(workplace, record)


def _of(models: tuple[str, ...], kind: str, seconds: float, least: float, module: str, function: str) -> list[Step]:
    return [Step(f"{kind}: {title}", seconds, least, module, function, title) for title in models]


_FP16, _INT4 = f"{DEFAULT} fp16", f"{DEFAULT} int4"
_LARGE_FP16, _LARGE_INT4 = f"{LARGE} fp16", f"{LARGE} int4"

STEPS: tuple[Step, ...] = (
    Step("the card", 30, 5, "rates", "describe_card"),
    *_of((_FP16,), "arithmetic", 60, 15, "checks", "check_arithmetic"),
    *_of((_FP16, _LARGE_FP16, _LARGE_INT4), "rates", 45, 10, "rates", "measure_rates"),
    *_of((_FP16, _LARGE_FP16), "server", 50, 15, "server", "measure_server"),
    *_of((f"{PART} fp16", f"{PART} int4"), "arithmetic", 45, 15, "checks", "check_arithmetic"),
    *_of((_FP16,), "states", 20, 6, "checks", "check_states"),
    *_of((_FP16,), "engine", 30, 8, "checks", "check_engine"),
    Step("memory", 30, 8, "memory", "check_memory"),
    Step("two processes", 30, 10, "memory", "check_two_processes"),
    Step("transformers", 70, 25, "peer", "measure_peer"),
    *_of((_LARGE_FP16,), "states", 20, 8, "checks", "check_states"),
    *_of((_LARGE_FP16,), "engine", 40, 10, "checks", "check_engine"),
    *_of((_INT4,), "arithmetic", 40, 12, "checks", "check_arithmetic"),
    *_of((_INT4,), "rates", 30, 8, "rates", "measure_rates"),
    *_of((_LARGE_INT4,), "server", 40, 12, "server", "measure_server"),
)


def main() -> None:
    """Run one step, or make models: what the runner starts as a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", help="a step's name, or 'make'")
    parser.add_argument("titles", nargs="*", help="models to make")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    workplace = Workplace(arguments.models, arguments.out, arguments.wheels, arguments.dry_run)
    record = Recorder(arguments.out, arguments.step, arguments.dry_run)
    if arguments.step == "make":
        _make(workplace, Recorder(arguments.out, "models", arguments.dry_run), arguments.titles)
        return
    step = next(step for step in STEPS if step.name == arguments.step)
    try:
        step.run(workplace, record)
    except Missing as missing:
        record.add(step.title or "the card", "not measured", str(missing), passed=None if workplace.dry else False)
    except Exception as error:
        traceback.print_exc()
        record.add(step.title or "the card", "failed", f"{type(error).__name__}: {error}"[:500], passed=False)
        sys.exit(1)


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
