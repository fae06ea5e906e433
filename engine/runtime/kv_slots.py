"""Cached KV states for several cursor positions within one memory budget: a cursor that jumps back finds its state."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.runtime.kv_shift import RECOMPUTED, Rotation, Run, common_prefix, find_runs
from engine.runtime.session import Model, Move, OutOfMemory, Slot

# Copying the state of a token costs 1/60 of computing it (`python -m evaluation.engine`); fewer tokens than this are
# computed again in the time of a keystroke. It is more than a suffix has, which each key of a prefix-first model moves.
_WORTH_KEEPING = 80
_COPIES_PER_TOKEN = 25
_MOST = 8  # slots: cursor positions that a programmer may come back to; 47 MB each for the default model
_LOOKED_AT = 4  # slots: where the cursor was last; others are seldom about the same lines
_RUN_COSTS = 12  # tokens that are computed in the time that an additional run of the model takes by itself
_UNSEEN = 128  # new tokens above a run: its states know nothing of them, such as of other snippets
_WORTH_MOVING = 0.6  # of what is missing: where more is left to compute, computing all of it is exact and little slower

MOST_SHIFTS = 8
"""How often a state may be moved, one move on top of the other: ten leave the true text as likely."""
FEW_SHIFTS = 3
"""After more of them, idle time computes the state."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reuse:
    """Runs of a prompt that stand in a slot at other positions, without those of their tokens that are computed."""

    source: Slot
    runs: tuple[Run, ...]

    @property
    def tokens(self) -> int:
        """How many tokens need not be computed."""
        return sum(run.length for run in self.runs)


class Slots:
    """A pool of slots. Each holds the prompt for which it was taken last; the least recently used is evicted first."""

    def __init__(self, model: Model, *, capacity: int, memory: int) -> None:
        """Begin with no slot. `capacity`: tokens that a slot can hold; `memory`: bytes that all slots may fill."""
        self._model, self._capacity = model, capacity
        manifest = model.manifest
        self._tokens = memory // manifest.kv_bytes_per_token
        self._rotation = Rotation(manifest.rotary) if manifest.rotary else None
        marks = (manifest.prompt.fim_prefix, manifest.prompt.fim_suffix, manifest.prompt.fim_middle)
        self._marks = frozenset(mark for mark in marks if mark is not None)
        self._slots: list[Slot] = []  # the most recently used last

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, tokens: Sequence[int], *, most_shifts: int = MOST_SHIFTS) -> Slot:
        """Take the slot with the longest common prefix, rewound to it; at least one token of the prompt is left to run.

        Where rewinding would destroy a state that is worth keeping, take a copy of the prefix instead. The slot's
        `moves` are states that it takes over from other positions. `most_shifts`: states that were moved more often
        are not used, nor those that would be.
        """
        slot, shared = self._longest(tokens, most_shifts)
        reuse = self._reuse(tokens, shared, most_shifts)
        shifts = reuse.source.shifts + 1 if reuse is not None else 0
        if slot is None:
            slot, moves = self._new(len(tokens)), self._moves(reuse, tokens)
        elif (
            min(slot.prompted, len(slot.tokens)) - shared >= max(_WORTH_KEEPING, shared // _COPIES_PER_TOKEN)
            and self._make_room_beside(slot, tokens)
            and (copy := self._beside(slot, len(tokens))) is not None
        ):
            copy.copy(slot, shared)
            slot, moves = copy, self._moves(reuse, tokens)
        else:
            self._slots.remove(slot)
            moves = self._moves(reuse, tokens, overwritten=slot)
            slot.keep(shared)
        self._slots.append(slot)
        slot.prompted, slot.moves = len(tokens), moves
        slot.shifts = max(slot.shifts, shifts)
        return slot

    def missing(self, tokens: Sequence[int]) -> int:
        """How many tokens of a prompt have to be computed, as the slots are now."""
        _, shared = self._longest(tokens, MOST_SHIFTS)
        reuse = self._reuse(tokens, shared, MOST_SHIFTS)
        return len(tokens) - shared - (0 if reuse is None else reuse.tokens)

    def settle(self, slot: Slot) -> None:
        """Let go of the states of other slots for this slot's tokens that were moved more often."""
        mine = slot.tokens
        self._slots = [
            other for other in self._slots if other.shifts <= slot.shifts or other.tokens[: len(mine)] != mine
        ]

    def _longest(self, tokens: Sequence[int], most_shifts: int) -> tuple[Slot | None, int]:
        """Find the slot with the longest common prefix; of equals, the most recently used one.

        The last token of the prompt is not counted.
        """
        found: tuple[Slot | None, int] = None, -1
        for slot in reversed(self._slots):
            shared = min(common_prefix(slot.tokens, tokens), len(tokens) - 1)
            shared = min(shared, slot.exact) if slot.shifts > most_shifts else shared
            if shared > found[1]:
                found = slot, shared
        return found[0], max(found[1], 0)

    def _reuse(self, tokens: Sequence[int], shared: int, most_shifts: int) -> _Reuse | None:
        """Find the slot that has most of the tokens after the first `shared` ones at other positions; None if few."""
        missing = len(tokens) - shared
        best, least = None, missing * _WORTH_MOVING
        if self._rotation is None or missing <= 2 * RECOMPUTED:
            return None
        for slot in reversed(self._slots[-_LOOKED_AT:]):
            if slot.shifts >= most_shifts or slot.states(0, 1) is None:
                continue
            starts = common_prefix(slot.tokens, tokens[:shared]), shared
            runs = _known(find_runs(slot.tokens[: slot.prompted], tokens[:-1], starts, self._marks), shared)
            left = missing - sum(run.length - _RUN_COSTS for run in runs)
            if left < least:
                best, least = _Reuse(slot, runs), left
        return best

    def _moves(
        self, reuse: _Reuse | None, tokens: Sequence[int], *, overwritten: Slot | None = None
    ) -> tuple[Move, ...]:
        """Moves for the runs; what the slot that is `overwritten` has of them is copied first."""
        if reuse is None or self._rotation is None:
            return ()
        moves = []
        for run in reuse.runs:
            states = reuse.source.states(run.source, run.source + run.length)
            assert states is not None
            states = states.copy() if reuse.source is overwritten else states
            part = tokens[run.target : run.target + run.length]
            moves.append(Move(part, states, run.target, run.target - run.source, self._rotation))
        return tuple(moves)

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


def _known(runs: Iterable[Run], shared: int) -> tuple[Run, ...]:
    """The runs above which few tokens are new after the first `shared` ones, without those tokens that are computed."""
    known: list[Run] = []
    new, end = 0, shared
    for run in runs:
        new += run.target - end
        if new > _UNSEEN:
            break
        end = run.target + run.length
        known.append(Run(run.source + RECOMPUTED, run.target + RECOMPUTED, run.length - RECOMPUTED))
    return tuple(known)
