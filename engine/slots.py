"""KV states of several places in the code, within one budget of memory: a cursor that jumps back finds its own."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model import Model, Slot

# Copying the state of a token costs 1/60 of computing it (`python -m evaluation.engine`); less than this many tokens
# are computed again as quickly as a keystroke is.
_WORTH_KEEPING = 64
_COPIES_PER_TOKEN = 25
_MOST = 16  # places that a programmer may come back to


class Slots:
    """A pool of slots. Each belongs to the place for which it was taken last; the least recently used goes first."""

    def __init__(self, model: Model, *, capacity: int, memory: int) -> None:
        """Begin with none. `capacity`: tokens that a slot can hold; `memory`: bytes that all of them may fill."""
        self._model, self._capacity = model, capacity
        self._tokens = memory // model.manifest.kv_bytes_per_token
        self._slots: list[Slot] = []  # the most recently used last

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, tokens: Sequence[int]) -> Slot:
        """Find the slot with the longest beginning of a prompt, rewound to it; at least one token is left to run.

        Where that would destroy the state of another place which is worth keeping, a copy is taken instead.
        """
        slot, shared = self._longest(tokens)
        shared = min(shared, len(tokens) - 1)
        if slot is None:
            slot = self._new(len(tokens))
        elif min(slot.prompted, len(slot.tokens)) - shared >= max(
            _WORTH_KEEPING, shared // _COPIES_PER_TOKEN
        ) and self._fits(slot, tokens):
            source, slot = slot, self._new(len(tokens))
            slot.copy(source, shared)
        else:
            self._slots.remove(slot)
            slot.keep(shared)
        self._slots.append(slot)
        slot.prompted = len(tokens)
        return slot

    def _longest(self, tokens: Sequence[int]) -> tuple[Slot | None, int]:
        """The slot that shares most with a prompt, the most recently used of equals."""
        found: tuple[Slot | None, int] = None, -1
        for slot in reversed(self._slots):
            if (shared := common_prefix(slot.tokens, tokens)) > found[1]:
                found = slot, shared
        return found

    def _fits(self, source: Slot, tokens: Sequence[int]) -> bool:
        """Make room for one more slot beside `source`; False where the memory is too small for both."""
        while len(self._slots) >= _MOST or sum(slot.filled for slot in self._slots) + len(tokens) > self._tokens:
            oldest = next((slot for slot in self._slots if slot is not source), None)
            if oldest is None:
                return False
            self._slots.remove(oldest)
        return True

    def _new(self, tokens: int) -> Slot:
        return self._model.new_slot(max(self._capacity, tokens))


def common_prefix(a: Sequence[int], b: Sequence[int], *, block: int = 64) -> int:
    """How many tokens two sequences share at their start."""
    a, b, start, end = list(a), list(b), 0, min(len(a), len(b))
    while start < end and a[start : start + block] == b[start : start + block]:
        start += block
    while start < end and a[start] == b[start]:
        start += 1
    return min(start, end)
