"""Wait for what an editor will show: for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def eventually(look: Callable[[], Answer], what: str, seconds: float = 120) -> Answer:
    """Return what `look` sees as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return seen


def first_line(text: str) -> str:
    """Return what stands before the first line break."""
    return text.split("\n")[0]
