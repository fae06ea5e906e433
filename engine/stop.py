"""Where a suggestion ends: a first policy, by lines."""

from __future__ import annotations

from engine.completion import StopReason


class BlockPolicy:
    """Fed all text generated so far; says where it ends."""

    def __init__(self, *, prefix: str, suffix: str, language: str) -> None:
        self.reason = StopReason.BLOCK
        self._below = next((line.strip() for line in suffix[:4000].splitlines()[1:] if line.strip()), "")

    def end_of(self, generated: str) -> int | None:
        """Length in code points at which the suggestion ends, or None to go on."""
        end = generated.find("\n", 1)
        if end < 0:
            return None
        if self._below and generated[:end].strip() == self._below:
            self.reason = StopReason.SUFFIX
            return 0
        return end
