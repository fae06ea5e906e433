"""Wait for what an editor will show: for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

Answer = TypeVar("Answer")


def eventually(look: Callable[[], Answer], what: str, seconds: float = 120) -> Answer:
    """Return what `look` sees as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return seen


def seconds_at_rest(process: psutil.Process) -> float:
    """Return the processor seconds that a process has used, once it has used none for 0.3 s."""

    def seconds() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    def rests() -> bool:
        before = seconds()
        time.sleep(0.3)
        return seconds() == before

    eventually(rests, "rest")
    return seconds()


def first_line(text: str) -> str:
    """Return what stands before the first line break."""
    return text.split("\n")[0]
