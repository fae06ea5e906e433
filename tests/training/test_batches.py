"""How the examples of a step are divided among processes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from training.data.batches import batch_of, packed, step_examples
from training.data.example import Example


def example(length: int) -> Example:
    return Example(np.zeros(length, np.uint32), length // 2, "line", "python")


def test_groups_are_nearly_alike_and_as_many_for_each_process() -> None:
    examples = [example(length) for length in (700, 650, 300, 280, 240, 200, 180, 150, 90, 60)]
    for processes in (1, 2, 4):
        groups = packed(examples, 1100, processes)
        assert len(groups) % processes == 0
        assert sorted(len(one.tokens) for group in groups for one in group) == sorted(
            len(one.tokens) for one in examples
        )
        sizes = [sum(len(one.tokens) for one in group) for group in groups]
        assert max(sizes) < 1.15 * min(sizes)


def test_every_example_is_read_once_before_any_is_read_again() -> None:
    examples = [example(100 + index) for index in range(20)]
    position, read = 0, []
    while position < len(examples):
        chosen, position = step_examples(examples, position, 300, seed=3)
        read += [len(one.tokens) for one in chosen]
    assert sorted(read[:20]) == [len(one.tokens) for one in examples]


def test_the_answer_teaches_in_full_the_end_of_its_prompt_a_little_and_control_tokens_of_it_nothing() -> None:
    long, short = np.arange(100, 112, dtype=np.uint32), np.arange(200, 204, dtype=np.uint32)
    batch = batch_of([Example(long, 8, "line", "python"), Example(short, 1, "line", "python")], frozenset({106}), end=3)
    assert batch.tokens.tolist() == [*range(100, 111), *range(200, 203)]
    assert batch.lengths == (11, 3)
    assert batch.learned == (7, 3)
    assert batch.targets.tolist() == [*range(105, 112), *range(201, 204)]
    assert batch.weights.tolist() == pytest.approx([0.3, 0, 0.3, *[1] * 4, *[1] * 3])
    assert batch.answers.tolist() == [False] * 3 + [True] * 7
    assert batch_of([Example(long, 8, "line", "python")], frozenset(), end=0).learned == (4,)


def test_all_of_a_prompt_teaches_where_its_end_is_not_named() -> None:
    long = np.arange(100, 112, dtype=np.uint32)
    batch = batch_of([Example(long, 8, "line", "python")], frozenset({103}))
    assert batch.lengths == batch.learned == (11,)
    assert batch.targets.tolist() == [*range(101, 112)]
    assert batch.weights.tolist() == pytest.approx([0.3, 0.3, 0, 0.3, 0.3, 0.3, 0.3, *[1] * 4])
