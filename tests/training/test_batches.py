"""How a step's examples are shared among processes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from training.batches import packed, step_examples
from training.examples import Example


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
