"""Drafts: what is proposed, how long, and that the model's answer stays what it would have been without.

Some processors compute other bits for a token when other tokens run in the same step. If `gives_same_bits` finds that
this one does not, answers must be equal to the last bit; else they may differ by rounding, which may decide a tie.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import CompletionRequest, Engine, Suggestion
from engine.decoding.decode import decode
from engine.decoding.draft import EXPECTED, Drafts, Speculation
from engine.decoding.pickers import Plain
from engine.runtime.benchmark import gives_same_bits
from engine.runtime.session import LONGEST_DRAFT, Model
from export.graph.decoder import Format
from tests.export.small import LLAMA, RandomSource
from tests.export.test_matmul_formats import load, write

SOURCE = Path(argparse.__file__).read_text(encoding="utf-8")
CHEAP = tuple(1 + n / 20 for n in range(LONGEST_DRAFT + 1))
OFF = (1.0,)
ROUNDING = 1e-4
"""Of a log probability in nats, and of a logit in units of the largest one."""


def drafts(
    prompt: list[int],
    *,
    written: list[int],
    prefix_end: int | None = None,
    expected: Sequence[int] = (),
    around: Sequence[NDArray[np.int32]] = (),
) -> Drafts:
    end = len(prompt) if prefix_end is None else prefix_end
    found = Drafts(Speculation(CHEAP), prompt, prefix_end=end, expected=expected, around=around)
    for token in written:
        found.take(token)
    return found


def test_what_followed_the_last_tokens_before_is_proposed() -> None:
    assert drafts([1, 2, 3, 4, 5, 9, 1, 2], written=[3]).propose(2) == [4, 5]
    assert drafts([1, 2, 3], written=[7]).propose(9) == []
    assert drafts([], written=[]).propose(9) == []


def test_the_longest_match_wins_and_the_nearest_of_equals() -> None:
    longest = drafts([1, 2, 3, 10, 8, 2, 3, 20, 9, 3, 30, 1, 2], written=[3])
    assert longest.propose(1) == [10]
    assert longest.match == 3
    assert drafts([5, 10, 5, 20, 5, 30], written=[5]).propose(1) == [30]


def test_of_equal_matches_the_nearest_vote() -> None:
    assert drafts([5, 10, 5, 10, 5, 20], written=[5]).propose(1) == [10]
    assert drafts([5, 10, 5, 20, 5, 30, 5, 20, 5, 10, 9], written=[5]).propose(1) == [10]


def test_the_rest_of_the_document_is_copied_from_but_not_across_its_ends() -> None:
    around = [np.array(tokens, np.int32) for tokens in ([1, 2, 3, 4], [7, 8])]
    assert drafts([1, 2], written=[], around=around).propose(9) == [3, 4]
    assert drafts([9, 8], written=[], around=around).propose(9) == []
    assert drafts([1, 2, 60, 1], written=[2], around=around).propose(1) == [60]  # the prompt is nearer


def test_the_suggestion_goes_on_from_the_prefix_wherever_the_prompt_ends() -> None:
    middle = 99  # prefix 1 2, then the suffix 3 4, then the mark after which the model writes
    assert drafts([1, 2, 7, 8, 5, 1, 2, 60, 3, 4, middle], written=[], prefix_end=7).propose(2) == [7, 8]


def test_what_an_earlier_suggestion_predicted_comes_first_while_the_model_agrees() -> None:
    agreed = drafts([1, 2, 3, 1], written=[2], expected=[2, 50, 51])
    assert agreed.propose(9) == [50, 51]
    assert agreed.match == EXPECTED
    assert drafts([1, 2, 3, 1], written=[2], expected=[4, 50, 51]).propose(1) == [3]


def test_the_length_follows_cost_and_recent_success() -> None:
    assert Speculation(OFF).length(EXPECTED) == 0
    linear = Speculation([1.0 * n for n in range(1, 9)])
    assert linear.length(8) == 0
    speculation = Speculation([1 + n / 4 for n in range(LONGEST_DRAFT + 1)])
    at_first = speculation.length(3)
    for _ in range(20):
        speculation.learn(3, right=5, offered=5)
    assert speculation.length(3) > at_first > 0
    for _ in range(60):
        speculation.learn(3, right=0, offered=5)
    assert speculation.length(3) == 0
    assert any(speculation.length(3) for _ in range(1000))  # some day it is tried again


@contextmanager
def speculating(engine: Engine, costs: tuple[float, ...]) -> Iterator[None]:
    before, engine._speculation = engine._speculation, Speculation(costs)
    yield
    engine._speculation = before


@pytest.fixture(scope="module")
def pairs(loaded_engine: Engine) -> list[tuple[Suggestion, Suggestion]]:
    """Suggestions at places of a real file, without drafts and with long ones."""
    found = []
    offsets = [index + 2 for index in range(len(SOURCE)) if SOURCE.startswith("= ", index)][30::60]
    for offset in offsets:
        request = CompletionRequest("lib/argparse.py", "python", SOURCE, offset, max_tokens=32)
        loaded_engine.warm_up(request)
        both = []
        for costs in (OFF, CHEAP):
            with speculating(loaded_engine, costs):
                both.append(loaded_engine.complete(request))
        found.append((both[0], both[1]))
    return found


def test_drafts_save_steps_and_change_no_answer(
    pairs: list[tuple[Suggestion, Suggestion]], loaded_engine: Engine
) -> None:
    assert sum(drafted.steps for _, drafted in pairs) < 0.8 * sum(plain.steps for plain, _ in pairs)
    same_bits = gives_same_bits(loaded_engine._model)
    for plain, drafted in pairs:
        assert plain.steps == len(plain.tokens)
        if same_bits:
            assert replace(plain, steps=0, timings={}) == replace(drafted, steps=0, timings={})
        else:
            agree(*(list(zip(one.tokens, one.log_probabilities, strict=True)) for one in (plain, drafted)))


def agree(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> None:
    """Check that two answers are the same but for rounding; after a tie that it decides they may go their own ways."""
    for (token, log_probability), (another, its_own) in zip(one, other, strict=False):
        assert log_probability == pytest.approx(its_own, abs=ROUNDING)
        if token != another:
            return


def decoded(
    model: Model, prompt: list[int], costs: Sequence[float], expected: Sequence[int]
) -> list[tuple[int, float]]:
    """The first 24 tokens after a prompt."""
    drafts = Drafts(Speculation(costs), prompt, prefix_end=len(prompt), expected=expected)
    steps = decode(
        model,
        model.new_slot(128),
        prompt,
        picker=Plain(),
        drafts=drafts,
        is_cancelled=lambda: False,
    )
    return [next(steps) for _ in range(24)]


@pytest.mark.parametrize("format", ["fp32", "int8", "int4"])
def test_right_wrong_and_looked_up_drafts_change_no_answer_in_any_format(format: Format, tmp_path: Path) -> None:
    source = RandomSource(LLAMA)
    write(source, tmp_path, format, "cpu")
    model, random = load(tmp_path, source), np.random.default_rng(4)
    same_bits = gives_same_bits(model)
    for wrong_from in (*range(12), 24):
        prompt = random.integers(0, LLAMA.vocabulary, 40).tolist()
        plain = decoded(model, prompt, OFF, ())
        expected = [token if place < wrong_from else 0 for place, (token, _) in enumerate(plain)]
        drafted = decoded(model, prompt, CHEAP, expected)
        agree(drafted, plain)
        assert drafted == plain or not same_bits


@pytest.mark.parametrize("format", ["fp32", "int8", "int4"])
def test_logits_do_not_depend_on_what_runs_beside_a_token(format: Format, tmp_path: Path) -> None:
    source = RandomSource(LLAMA)
    write(source, tmp_path, format, "cpu")
    model, tokens = load(tmp_path, source), np.random.default_rng(8).integers(0, LLAMA.vocabulary, 300).tolist()

    def logits(widths: Sequence[int]) -> NDArray[np.float32]:
        slot, found = model.new_slot(len(tokens)), []
        for width in widths:
            start = len(slot.tokens)
            found.append(model.run(slot, tokens[start : start + width], range(width)).copy())
        return np.concatenate(found)

    one_by_one, same_bits = logits([1] * 300), gives_same_bits(model)
    for widths in ([300], [2] * 150, [16, 1, 7, 200, 1, 75]):
        found = logits(widths)
        assert np.abs(found - one_by_one).max() <= ROUNDING * np.abs(one_by_one).max()
        assert np.array_equal(found, one_by_one) or not same_bits
