"""KV states at new positions: a jump of some lines computes what is new, and answers stay about as good."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Cancelled, CompletionRequest, Engine, Suggestion
from engine.decoding.decode import prefill
from engine.runtime.kv_shift import RECOMPUTED, Rotation, find_runs
from engine.runtime.kv_slots import FEW_SHIFTS, MOST_SHIFTS, Slots
from engine.runtime.session import Slot

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
HERE = SOURCE.index("\n", 9000) + 1
MARK, OTHER_MARK = 1, 2
NO_MARKS = frozenset[int]()


@pytest.fixture
def empty(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine with no state, and room for many."""
    memory = 40_000 * engine.manifest.kv_bytes_per_token
    monkeypatch.setattr(engine, "_slots", Slots(engine._model, capacity=1280, memory=memory))
    return engine


def request(offset: int, text: str = SOURCE) -> CompletionRequest:
    return CompletionRequest("lib/textwrap.py", "python", text, offset, max_tokens=1)


def complete(engine: Engine, request: CompletionRequest) -> Suggestion:
    """As the server does; elsewhere, no state is moved."""
    return engine.complete(request, quick=True)


def lines_below(offset: int, lines: int) -> int:
    for _ in range(lines):
        offset = SOURCE.index("\n", offset) + 1
    return offset


def fill(engine: Engine, slot: Slot, tokens: Sequence[int]) -> Sequence[int]:
    return prefill(engine._model, slot, tokens, chunk=64, is_cancelled=lambda: False)


TEXT = st.lists(st.integers(10, 13), max_size=40)
BLOCK = st.builds(lambda start, length: list(range(start, start + length)), st.integers(100, 400), st.integers(1, 90))
PROMPT = st.lists(st.one_of(TEXT, BLOCK, st.sampled_from([[MARK], [OTHER_MARK]])), max_size=6).map(
    lambda parts: [token for part in parts for token in part]
)


def part_of(tokens: Sequence[int], at: int) -> int | None:
    return next((token for token in reversed(tokens[:at]) if token in (MARK, OTHER_MARK)), None)


@given(old=PROMPT, new=PROMPT)
def test_runs_are_equal_in_order_long_and_in_one_part(old: list[int], new: list[int]) -> None:
    ends = {None: (0, 0), MARK: (0, 0), OTHER_MARK: (0, 0)}
    for run in find_runs(old, new, (0, 0), frozenset({MARK, OTHER_MARK})):
        assert run.length >= 2 * RECOMPUTED
        found = new[run.target : run.target + run.length]
        assert found == old[run.source : run.source + run.length]
        assert not {MARK, OTHER_MARK} & set(found)
        part = part_of(new, run.target)
        assert part == part_of(old, run.source)
        assert run.source >= ends[part][0]
        assert run.target >= ends[part][1]
        ends[part] = run.source + run.length, run.target + run.length


def test_what_was_cut_out_leaves_two_runs() -> None:
    old = list(range(100, 300))
    new = [*old[:60], 7, *old[80:]]
    assert [(run.source, run.target, run.length) for run in find_runs(old, new, (0, 0), NO_MARKS)] == [
        (0, 0, 60),
        (80, 61, 120),
    ]


def test_the_search_is_linear_in_repetitive_text() -> None:
    old, new = [5] * 20_000, [*[5] * 10_000, 6, *[5] * 9_999]
    assert sum(run.length for run in find_runs(old, new, (0, 0), NO_MARKS)) == 19_999


@given(by=st.integers(-8000, 8000))
def test_keys_are_turned_by_the_difference_of_positions(by: int) -> None:
    frequencies = 10_000.0 ** -(np.arange(0, 64, 2) / 64)
    keys = np.random.default_rng(1).normal(size=(3, 5, 64)).astype(np.float32)
    pairs = (keys[..., :32] + 1j * keys[..., 32:]) * np.exp(1j * by * frequencies)
    turned = Rotation(frequencies.tolist()).turn(keys, by)
    assert np.abs(turned - np.concatenate([pairs.real, pairs.imag], axis=-1)).max() < 1e-5


def test_a_layers_first_keys_are_those_that_are_computed_there(empty: Engine) -> None:
    """In the first layer, keys depend on nothing but the token and its position."""
    tokens, model = empty.tokenizer.encode(SOURCE)[:100], empty._model
    early, late = model.new_slot(256), model.new_slot(256)
    model.run(early, tokens, [0])
    model.run(late, [*tokens[:37], *tokens], [0])
    states, expected = early.states(0, 100), late.states(37, 137)
    assert states is not None
    assert expected is not None
    turned = Rotation(empty.manifest.rotary).turn(states[0], 37)
    assert np.abs(turned - expected[0]).max() < 1e-4 * np.abs(expected[0]).max()
    assert np.abs(states[1] - expected[1]).max() < 1e-4 * np.abs(expected[1]).max()


@pytest.mark.parametrize("lines", [1, 3, -3])
def test_a_move_of_some_lines_computes_a_part_of_the_prompt(empty: Engine, lines: int) -> None:
    there = lines_below(HERE, 3)
    start, end = (there, HERE) if lines < 0 else (HERE, lines_below(HERE, lines))
    cold = complete(empty, request(start))
    moved = complete(empty, request(end))
    assert cold.computed_tokens > 350
    assert moved.computed_tokens < cold.computed_tokens / 2
    back = complete(empty, request(start))
    assert back.computed_tokens <= 64, "the state of the first place is still there, or little is moved back"


@pytest.mark.parametrize(("new", "is_moved"), [(0, True), (100, True), (200, False)])
def test_states_are_not_moved_below_much_that_they_have_not_seen(empty: Engine, new: int, is_moved: bool) -> None:
    """Such as other snippets, or what a short prompt had no room for."""
    tokens, slots = empty.tokenizer.encode(SOURCE)[:900], empty._slots
    above, below = tokens[600 : 600 + new], tokens[20:400]
    empty._model.run(slots.take(tokens[:400]), tokens[:400], [0])
    missing = slots.missing([*above, *below, 5])
    assert missing == (new + RECOMPUTED + 1 if is_moved else new + len(below) + 1)


def test_an_edit_above_computes_what_it_changed(empty: Engine) -> None:
    complete(empty, request(HERE))
    at = SOURCE.rindex("\n", 0, HERE - 500) + 1
    edited = SOURCE[:at] + "    # a new line\n" + SOURCE[at:]
    assert complete(empty, request(HERE + len(edited) - len(SOURCE), edited)).computed_tokens < 200


def test_a_keystroke_moves_the_suffix_of_a_model_that_reads_it_last(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Qwen's models do: what is after the cursor stands after what is before it."""
    prefix_first = replace(empty.manifest.prompt, style="psm")
    monkeypatch.setattr(empty, "manifest", replace(empty.manifest, prompt=prefix_first))
    text, slots = SOURCE, empty._slots
    assert complete(empty, request(HERE)).computed_tokens > 300
    computed = []
    for count, typed in enumerate("width = max(", start=1):
        text = text[: HERE + count - 1] + typed + text[HERE + count - 1 :]
        computed.append(complete(empty, request(HERE + count, text)).computed_tokens)
    assert sorted(computed)[-2] <= 2 * RECOMPUTED, "one key in nine computes the suffix anew"
    assert len(slots) <= 2, "the states of single keys are not kept"


def test_a_moved_state_says_about_what_a_computed_one_says(empty: Engine) -> None:
    model, end = empty._model, lines_below(HERE, 3)
    truth = empty.tokenizer.encode(SOURCE[end : lines_below(end, 3)])
    found = []
    for most_shifts in (MOST_SHIFTS, 0):
        complete(empty, request(HERE))
        prompt = empty.lay_out(request(end)).tokens
        slot = empty._slots.take(prompt, most_shifts=most_shifts)
        assert bool(slot.moves) == (most_shifts > 0)
        pending = fill(empty, slot, prompt)
        model.run(slot, pending, [0])
        assert (slot.exact == len(prompt)) == (most_shifts == 0)
        logits = model.run(slot, truth, range(len(truth)))
        chances = (
            logits
            - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
            - logits.max(1, keepdims=True)
        )
        found.append(float(chances[np.arange(len(truth) - 1), truth[1:]].mean()))
    assert abs(found[0] - found[1]) < 0.3


def test_states_are_moved_a_few_times_and_then_computed(empty: Engine) -> None:
    at, shifts = HERE - 4000, list[int]()
    for _ in range(MOST_SHIFTS + 2):
        at = lines_below(SOURCE.index("\n", at + 60) + 1, 0)
        suggestion = complete(empty, request(at))
        shifts.append(empty._slots._slots[-1].shifts)
        assert suggestion.is_provisional == (shifts[-1] > FEW_SHIFTS)
    assert max(shifts) <= MOST_SHIFTS
    if suggestion.is_provisional:
        empty.warm_up(request(at))
    assert empty._slots._slots[-1].shifts <= FEW_SHIFTS
    assert complete(empty, request(at)).computed_tokens == 1
    assert not complete(empty, request(at)).is_provisional


def test_a_computed_state_takes_the_place_of_the_moved_one(empty: Engine) -> None:
    complete(empty, request(HERE))
    complete(empty, request(lines_below(HERE, 2)))
    moved = empty._slots._slots[-1]
    assert moved.shifts == 1
    moved.shifts = FEW_SHIFTS + 1
    empty.warm_up(request(lines_below(HERE, 2)))
    assert moved not in empty._slots._slots
    assert empty._slots._slots[-1].shifts <= FEW_SHIFTS


def test_a_run_within_one_slot_is_copied_before_it_is_overwritten(empty: Engine) -> None:
    """As in every keystroke of a model that reads the suffix after the prefix."""
    slots, model = empty._slots, empty._model
    tokens = empty.tokenizer.encode(SOURCE)[:300]
    slot = slots.take(tokens)
    model.run(slot, tokens, [0])
    states = slot.states(0, 300)
    assert states is not None
    values = states[1::2, :, 230:299].copy()
    longer = [*tokens[:230], 7, *tokens[230:]]
    moved = slots.take(longer)
    assert moved is slot
    assert moved.moves
    rest = fill(empty, moved, longer)
    assert moved.tokens == longer[: len(longer) - len(rest)]
    states = slot.states(0, 301)
    assert states is not None
    assert np.array_equal(states[1::2, :, 231 + RECOMPUTED : 300], values[:, :, RECOMPUTED:])


def test_an_interruption_between_two_moves_leaves_a_state_that_holds(empty: Engine) -> None:
    complete(empty, request(HERE))
    whole = request(lines_below(HERE, 3))
    prompt, calls = empty.lay_out(whole).tokens, 0
    slot = empty._slots.take(prompt)

    def is_cancelled() -> bool:
        nonlocal calls
        calls += 1
        return calls > 1

    with pytest.raises(Cancelled):
        prefill(empty._model, slot, prompt, chunk=16, is_cancelled=is_cancelled)
    assert list(prompt[: len(slot.tokens)]) == slot.tokens
    answer = complete(empty, whole)
    assert answer.tokens == complete(empty, replace(whole)).tokens
