"""KV states of several places: a jump back computes one token, and one memory budget holds all states."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine import CompletionRequest, Engine
from engine.prompt.layout import Budget
from engine.runtime.kv_shift import common_prefix
from engine.runtime.kv_slots import Slots
from engine.runtime.session import Model, Slot
from tests.engine.slot_integrity import assert_intact

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
HERE, THERE, FAR = 4000, 9000, 14000


@pytest.fixture
def places(engine: Engine) -> Iterator[Engine]:
    """The engine with no state, and room for five prompts."""
    before, engine._slots = engine._slots, slots_of(engine, prompts=5)
    yield engine
    engine._slots = before


def slots_of(engine: Engine, prompts: int) -> Slots:
    tokens = engine.budget.prompt * prompts
    return Slots(engine._model, capacity=1280, memory=tokens * engine.manifest.kv_bytes_per_token)


def request(offset: int, text: str = SOURCE) -> CompletionRequest:
    return CompletionRequest("lib/textwrap.py", "python", text, offset, max_tokens=1)


def test_a_cursor_that_jumps_back_computes_one_token(places: Engine) -> None:
    for offset in (HERE, THERE, FAR):
        assert places.complete(request(offset)).computed_tokens > 50
    for offset in (HERE, FAR, THERE, HERE):
        assert places.complete(request(offset)).computed_tokens == 1


def test_a_first_prompt_is_short_until_the_whole_one_is_there(places: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "first_budget", Budget(128))
    first = places.complete(request(THERE), quick=True)
    assert first.is_provisional
    assert first.prompt_tokens < 160
    patient = places.complete(request(HERE))
    assert not patient.is_provisional
    assert patient.prompt_tokens > 350
    places.warm_up(request(THERE))
    whole = places.complete(request(THERE), quick=True)
    assert not whole.is_provisional
    assert whole.prompt_tokens > 350
    assert whole.computed_tokens == 1
    typed = SOURCE[:THERE] + "width = 70" + SOURCE[THERE:]
    near = places.complete(request(THERE + 10, typed), quick=True)
    assert not near.is_provisional
    assert near.computed_tokens < 160


def test_an_edit_above_leaves_the_state_up_to_it(places: Engine) -> None:
    edit = SOURCE.rindex("\n", 0, THERE - 300)
    edited = SOURCE[:edit] + "\n    # a line more" + SOURCE[edit:]
    before = places.complete(request(THERE))
    after = places.complete(request(THERE + len(edited) - len(SOURCE), edited))
    assert 10 < after.computed_tokens < before.prompt_tokens / 2
    assert places.complete(request(THERE)).computed_tokens <= 64


def test_deleting_a_little_rewinds_and_copies_nothing(places: Engine) -> None:
    places.complete(request(THERE))
    places.complete(request(THERE - 20, SOURCE[: THERE - 20] + SOURCE[THERE:]))
    assert len(places._slots) == 1
    places.complete(request(THERE - 1000, SOURCE[: THERE - 1000] + SOURCE[THERE:]))
    assert len(places._slots) <= 2


def test_a_copied_state_is_as_good_as_a_computed_one(engine: Engine) -> None:
    tokens = engine.tokenizer.encode(SOURCE)[:96]
    model = engine._model
    source, copy, fresh = (model.new_slot(256) for _ in range(3))
    model.run(source, tokens, [95])
    copy.copy(source, 64)
    model.run(fresh, tokens[:64], [63])
    assert copy.tokens == tokens[:64]
    expected = model.run(fresh, tokens[64:], range(32))
    assert np.abs(model.run(copy, tokens[64:], range(32)) - expected).max() < 2
    assert source.tokens == tokens


def test_the_least_recently_used_place_goes_first_when_memory_is_short(engine: Engine) -> None:
    slots = slots_of(engine, prompts=2)
    length = engine.budget.prompt * 3 // 4
    for name in (1, 2, 1, 3):  # prompts that share nothing
        slot = slots.take([name] * length)
        slot.tokens[:] = [name] * length
        slot.filled = length
    assert len(slots) == 2
    held = {slot.tokens[0] for slot in slots._slots}
    assert held == {1, 3}


def test_one_place_is_held_however_small_the_memory(engine: Engine) -> None:
    before, engine._slots = engine._slots, Slots(engine._model, capacity=1280, memory=1)
    try:
        for offset in (HERE, THERE):
            assert engine.complete(request(offset)).tokens
        assert len(engine._slots) == 1
        assert engine.complete(replace(request(THERE), max_tokens=2)).computed_tokens == 1
    finally:
        engine._slots = before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count what a process holds otherwise")
def test_a_state_takes_the_memory_that_it_fills_whatever_was_there_before(engine: Engine) -> None:
    """What an allocator hands out again is full of what was let go: in the end it held all of these states whole."""
    model, process = engine._model, psutil.Process()
    source = model.new_slot(1000)
    source.tokens = [7] * 1000
    before, slots = process.memory_info().rss, list[Slot]()
    for tokens in (1000, 8, 1000, 8):
        slots.clear()
        for _ in range(12):
            slots.append(model.new_slot(1000))
            slots[-1].copy(source, tokens)
    whole = sum(slot.capacity for slot in slots) * engine.manifest.kv_bytes_per_token
    assert process.memory_info().rss - before < whole / 8
    slots.append(model.new_slot(1000))
    slots[-1].copy(source, 1000)
    assert process.memory_info().rss - before > whole / len(slots) / 2, "filled memory is seen by this measure"


def test_logits_of_one_state_stay_when_another_one_is_run(engine: Engine) -> None:
    model = engine._model
    one, other = model.new_slot(8), model.new_slot(8)
    first = model.run(one, [100, 200], [0, 1])
    kept = first.copy()
    second = model.run(other, [300, 400], [0, 1])
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_states_share_the_room_for_logits(engine: Engine) -> None:
    model = engine._model
    one, other = (model.predict(model.new_slot(8), tokens, [0, 1]).logits for tokens in ([100, 200], [300, 400]))
    assert np.shares_memory(one, other)


def test_common_prefixes_are_counted_to_the_token() -> None:
    for length in (0, 1, 63, 64, 65, 200):
        one = list(range(length))
        assert common_prefix([*one, -1, 7], (*one, -2, 7)) == length
        assert common_prefix(one, [*one, 5]) == length


class NaivePool:
    """The oracle: it caches nothing and computes every prompt from its first token."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def logits(self, tokens: list[int]) -> NDArray[np.float32]:
        return self._model.run(self._model.new_slot(512), tokens, [len(tokens) - 1])[0].copy()


# Prompts share prefixes of 0 to 180 tokens with each other, so slots are rewound, copied and evicted.
PROMPTS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 20, 100, 180]), st.integers(0, 12)), max_size=6)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=PROMPTS, memory=st.sampled_from([1, 300, 5000]))
def test_a_pool_of_any_size_computes_what_a_pool_that_caches_nothing_does(
    engine: Engine, prompts: list[tuple[int, int, int]], memory: int
) -> None:
    model = engine._model
    slots = Slots(model, capacity=256, memory=memory * engine.manifest.kv_bytes_per_token)
    naive = NaivePool(model)
    for document, shared, own in prompts:
        tokens = [1000 + 50 * document + index % 40 for index in range(shared)] + [3000 + 7 * own] * own
        slot = slots.take(tokens)
        held = len(slot.tokens)
        assert held < len(tokens)
        assert slot.tokens == tokens[:held]
        computed = model.run(slot, tokens[held:], [len(tokens) - held - 1])[0].copy()
        assert slot.tokens == tokens
        expected = naive.logits(tokens)
        assert np.abs(computed - expected).max() < 1e-3 * np.abs(expected).max()
        assert_intact(slots)
