"""Cached KV states for several cursor positions within one memory budget: a cursor that jumps back finds its state."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from engine.runtime.session import Model, OutOfMemory, Slot

# Copying the state of a token costs 1/60 of computing it (`python -m evaluation.engine`); fewer tokens than this are
# computed again in the time of a keystroke.
_WORTH_KEEPING = 64
_COPIES_PER_TOKEN = 25
_MOST = 16  # slots: cursor positions that a programmer may come back to

log = logging.getLogger(__name__)


class Slots:
    """A pool of slots. Each holds the prompt for which it was taken last; the least recently used is evicted first."""

    def __init__(self, model: Model, *, capacity: int, memory: int) -> None:
        """Begin with no slot. `capacity`: tokens that a slot can hold; `memory`: bytes that all slots may fill."""
        self._model, self._capacity = model, capacity
        self._tokens = memory // model.manifest.kv_bytes_per_token
        self._slots: list[Slot] = []  # the most recently used last

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, tokens: Sequence[int]) -> Slot:
        """Take the slot with the longest common prefix, rewound to it; at least one token of the prompt is left to run.

        Where rewinding would destroy a state that is worth keeping, take a copy of the prefix instead.
        """
        slot, shared = self._longest(tokens)
        shared = min(shared, len(tokens) - 1)
        if slot is None:
            slot = self._new(len(tokens))
        elif (
            min(slot.prompted, len(slot.tokens)) - shared >= max(_WORTH_KEEPING, shared // _COPIES_PER_TOKEN)
            and self._make_room_beside(slot, tokens)
            and (copy := self._beside(slot, len(tokens))) is not None
        ):
            copy.copy(slot, shared)
            slot = copy
        else:
            self._slots.remove(slot)
            slot.keep(shared)
        self._slots.append(slot)
        slot.prompted = len(tokens)
        return slot

    def shared(self, tokens: Sequence[int]) -> int:
        """How many tokens at the beginning of a prompt need not be computed, as the slots are now."""
        return max((common_prefix(slot.tokens, tokens) for slot in self._slots), default=0)

    def _longest(self, tokens: Sequence[int]) -> tuple[Slot | None, int]:
        """Find the slot with the longest common prefix; of equals, the most recently used one."""
        found: tuple[Slot | None, int] = None, -1
        for slot in reversed(self._slots):
            if (shared := common_prefix(slot.tokens, tokens)) > found[1]:
                found = slot, shared
        return found

    def _make_room_beside(self, source: Slot, tokens: Sequence[int]) -> bool:
        """Evict other slots until one more fits beside `source`; False where the memory is too small for both."""
        more = self._room(len(tokens)) if self._model.on_card else len(tokens)
        while len(self._slots) >= _MOST or sum(slot.held for slot in self._slots) + more > self._tokens:
            oldest = next((slot for slot in self._slots if slot is not source), None)
            if oldest is None:
                return False
            self._slots.remove(oldest)
        return True

    def _beside(self, source: Slot, tokens: int) -> Slot | None:
        """Make a new slot and evict slots other than `source` for it; None where even that is too little memory."""
        try:
            return self._new(tokens, spared=source)
        except OutOfMemory:
            return None

    def _new(self, tokens: int, *, spared: Slot | None = None) -> Slot:
        """Make a new slot; where memory is short, evict the least recently used ones. Raises OutOfMemory.

        Afterwards the budget is what the slots held when memory ran out.
        """
        while True:
            try:
                return self._model.new_slot(self._room(tokens))
            except OutOfMemory as error:
                self._tokens = min(self._tokens, sum(slot.held for slot in self._slots))
                oldest = next((slot for slot in self._slots if slot is not spared), None)
                log.warning("%s; %d other states are cached", error, len(self._slots))
                if oldest is None:
                    raise
                self._slots.remove(oldest)
                del oldest  # its memory is needed now

    def _room(self, tokens: int) -> int:
        return max(self._capacity, tokens)


def common_prefix(a: Sequence[int], b: Sequence[int], *, block: int = 64) -> int:
    """How many tokens two sequences share at their start."""
    a, b, start, end = list(a), list(b), 0, min(len(a), len(b))
    while start < end and a[start : start + block] == b[start : start + block]:
        start += block
    while start < end and a[start] == b[start]:
        start += 1
    return min(start, end)
