"""Runs the steps one after another within a time limit, and writes the table after each."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from engine.devices import cuda
from evaluation.gpu import records
from evaluation.gpu.models import planned
from evaluation.gpu.rates import COMPUTES
from evaluation.gpu.records import Recorder
from evaluation.gpu.steps import STEPS, Step
from syntax.children import child_environment, start_python

_RESERVE = 2.0  # seconds, to write what there is
_LANES = 2
_GLANCE = 0.2  # seconds between two looks at whether it was asked to stop


class Stopped(Exception):
    """The process was asked to end."""


def run(models: Path, out: Path, *, wheels: Path | None, seconds: float, dry: bool, only: list[str]) -> bool:
    """Make the models and take the steps; returns whether all that was promised holds. Raises nothing on SIGTERM."""
    for folder in (models, out):
        folder.mkdir(parents=True, exist_ok=True)
    (out / records.LINES).unlink(missing_ok=True)
    runner = _Runner(models, out, wheels, dry, time.monotonic() + seconds)
    before = signal.signal(signal.SIGTERM, runner.stop)
    try:
        runner.start_making()
        for step in STEPS:
            runner.take(step, only)
            if dry or runner.cuda_computes():
                continue
            runner.help_the_loader()
            runner.take(step, only)
            if not runner.cuda_computes():
                runner.note("everything else", "CUDA does not compute here; why not stands above")
                break
        runner.say(f"Done; {runner.left():.0f} s were left.")
    except (Stopped, KeyboardInterrupt):
        runner.note("stopped", f"by a signal after {runner.passed():.0f} s; what is done stands here")
    finally:
        runner.end()
        signal.signal(signal.SIGTERM, before)
    findings = records.read(out)
    print((out / records.TABLE).read_text(encoding="utf-8"))
    return all(one.passed is not False for one in findings)


class _Runner:
    """The processes of one run, and how much time is left."""

    def __init__(self, models: Path, out: Path, wheels: Path | None, dry: bool, until: float) -> None:
        self._models, self._out, self._wheels, self._dry, self._until = models, out, wheels, dry, until
        self._started = time.monotonic()
        self._running: list[subprocess.Popen[Any]] = []
        self._stopped = False
        self._environment = {"MELLUM_LSP_CACHE": str(models.resolve() / "cache")}
        self._head = {
            "python": platform.python_version(),
            "cores": str(os.cpu_count()),
            "dry run on the processor, of small models": "yes" if dry else "no",
        }

    def passed(self) -> float:
        return time.monotonic() - self._started

    def left(self) -> float:
        return self._until - time.monotonic()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Take no further step; a signal's handler. What runs is ended where it is waited for, not anywhere."""
        self._stopped = True

    def say(self, what: str) -> None:
        print(f"[{self.passed():5.0f} s] {what}", flush=True)

    def note(self, step: str, what: str) -> None:
        Recorder(self._out, step, self._dry).add("", "not measured", what)
        self._write()

    def start_making(self) -> None:
        """Make the models beside the first steps, in two processes, the most valuable models first."""
        titles = list(planned(self._models, dry=self._dry))
        for lane in range(_LANES):
            self._start("make", *titles[lane::_LANES])

    def take(self, step: Step, only: list[str]) -> None:
        """Run the parts of a step that are wanted, as long as it may; say so where there is no time for them."""
        labels = [step.label(part) for part in step.parts]
        labels = [label for label in labels if not only or any(label.startswith(name) for name in only)]
        if not labels:
            return
        if self._stopped:
            raise Stopped
        left = self.left() - _RESERVE
        if left < step.least:
            for label in labels:
                self.note(label, f"{max(left, 0):.0f} s were left, and it takes {step.least:.0f}")
            return
        self.say(step.name)
        limit = min(step.seconds, left)
        child = self._start(step.name, *labels, environment=dict(step.environment))
        code = self._wait(child, time.monotonic() + limit)
        if code is None:
            self._end(child)
            begun = {one.step for one in records.read(self._out)}
            last = [label for label in labels if label in begun][-1:]
            for label in [*last, *(label for label in labels if label not in begun)]:
                self.note(label, f"{'the rest of it' if label in last else 'it'}: stopped after {limit:.0f} s")
            return
        if code:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            Recorder(self._out, step.name, self._dry).add(step.title, "ended early", f"with {how}", passed=False)
        self._write()

    def cuda_computes(self) -> bool:
        """What the first step has found, where it was taken."""
        found = [one.value for one in records.read(self._out) if one.what == COMPUTES]
        return not found or found[-1] == "yes"

    def help_the_loader(self) -> None:
        """Name the folders of NVIDIA's libraries to the system's loader: our own way to load them was not enough."""
        folders = [str(folder) for folder in cuda.library_folders()]
        self._environment["LD_LIBRARY_PATH"] = os.pathsep.join(
            filter(None, [*folders, os.environ.get("LD_LIBRARY_PATH")])
        )
        Recorder(self._out, STEPS[0].name, self._dry).add("", "from here on with LD_LIBRARY_PATH", ", ".join(folders))

    def _wait(self, child: subprocess.Popen[Any], until: float) -> int | None:
        """Wait for a process; None where time was up. Raises Stopped."""
        while time.monotonic() < until:
            if self._stopped:
                raise Stopped
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_GLANCE)
        return None

    def end(self) -> None:
        """End what still runs, and write everything."""
        for child in self._running:
            self._end(child)
        self._write()

    def _start(self, *step: str, environment: dict[str, str] | None = None) -> subprocess.Popen[Any]:
        wheels = ["--wheels", str(self._wheels.resolve())] if self._wheels else []
        options = ["--models", str(self._models.resolve()), "--out", str(self._out.resolve()), *wheels]
        child = start_python(
            "evaluation.gpu.steps",
            *step,
            *options,
            *(["--dry-run"] if self._dry else []),
            env=child_environment(self._environment | (environment or {})),
            start_new_session=True,
        )
        self._running.append(child)
        return child

    def _end(self, child: subprocess.Popen[Any]) -> None:
        """End a process and those that it has started."""
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def _write(self) -> None:
        sys.stdout.flush()
        head = self._head | {"seconds": f"{self.passed():.0f}"}
        records.write(self._out, head, records.read(self._out))
