"""What must hold of the cached KV states whenever the engine is idle."""

from __future__ import annotations

from engine.runtime.kv_slots import Slots


def assert_intact(slots: Slots) -> None:
    """Check each slot's bookkeeping and the pool's memory budget, apart from what the last request has added."""
    assert len({id(slot) for slot in slots._slots}) == len(slots._slots)
    for slot in slots._slots:
        assert 0 <= len(slot.tokens) <= slot.filled <= slot.capacity
        assert 0 <= slot.prompted <= slot.capacity
    others = sum(slot.held for slot in slots._slots[:-1])
    assert len(slots._slots) <= 1 or others <= slots._tokens
