"""Pairs of answers: which one is preferred, and which one is avoided."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine import CompletionRequest, Engine
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import TOKENIZER_FILE
from engine.prompt.tokenizer import Tokenizer
from training.data.example import Example
from training.data.examples import read_examples, write_examples
from training.pairs import Answer, is_whole_part, pair_of, preference

HOUSE = Path(__file__).parents[2]
TRUTH = "total = add(\n    1,\n)\nreturn total"


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [
        (TRUTH, True),
        ("total = add(\n    1,\n)", True),
        ("total = add(", False),  # a bracket is open
        ("total = ad", False),  # in the middle of a line
        ("total = sub(1)", False),
        ("", False),
    ],
)
def test_a_whole_part_of_the_truth_ends_with_a_line_and_closes_what_it_opens(text: str, is_whole: bool) -> None:
    assert is_whole_part(text, TRUTH) == is_whole


def test_the_shortest_whole_answer_is_preferred_to_one_that_rambles() -> None:
    short, long = Answer("total = add(\n    1,\n)", ended=True), Answer(TRUTH, ended=True)
    wrong, rambling = Answer("total = sub(1)\nprint(total)\nreturn 0", ended=True), Answer("a\na", ended=False)
    assert preference(TRUTH, [long, wrong, short, rambling]) == (short, rambling)
    assert preference(TRUTH, [wrong]) == (Answer(TRUTH, ended=True), wrong)
    assert preference(TRUTH, [short, long]) is None
    assert preference("", [Answer("", ended=True)]) is None
    assert preference("", [Answer("more", ended=True)]) == (Answer("", ended=True), Answer("more", ended=True))


def test_pairs_are_made_of_what_the_model_writes(engine: Engine, model_cache: Path) -> None:
    tokenizer = Tokenizer(model_cache / "models" / DEFAULT_MODEL / TOKENIZER_FILE)
    prompt = engine.lay_out(request()).tokens
    stop = engine.manifest.prompt.stop
    truth = (*tokenizer.encode("return sum(numbers) / len(numbers)"), stop[0])
    example = Example(np.array([*prompt, *truth], np.uint32), len(prompt), "line", "python")
    found = pair_of(engine._model, tokenizer, stop, example, seed=1)
    assert found is not None
    preferred, avoided = found
    assert np.array_equal(preferred.tokens[: len(prompt)], avoided.tokens[: len(prompt)])
    assert not np.array_equal(preferred.tokens, avoided.tokens)
    assert preferred.tokens[-1] == stop[0]


def test_how_many_processes_write_changes_no_pair(engine: Engine, model_cache: Path, tmp_path: Path) -> None:
    folder = model_cache / "models" / DEFAULT_MODEL
    prompt, stop = engine.lay_out(request()).tokens, engine.manifest.prompt.stop
    tokenizer = Tokenizer(folder / TOKENIZER_FILE)
    truths = ("return sum(numbers) / len(numbers)", "total = 0", "if not numbers:\n        return 0.0")
    examples = [
        Example(np.array([*prompt, *tokenizer.encode(truth), stop[0]], np.uint32), len(prompt), "line", "python")
        for truth in truths
    ]
    write_examples(tmp_path / "train.npz", examples)
    written = []
    for processes in ("1", "2"):
        out = tmp_path / processes
        command = [sys.executable, "-m", "training.pairs", str(folder), "--processes", processes]
        subprocess.run([*command, "--examples", str(tmp_path), "--out", str(out)], check=True, cwd=HOUSE)
        written.append([read_examples(out / f"{name}.npz") for name in ("preferred", "avoided")])
    for one, other in zip(*written, strict=True):
        assert [list(example.tokens) for example in one] == [list(example.tokens) for example in other]
    assert len(written[0][0]) == len(written[0][1]) >= 2


def request() -> CompletionRequest:
    text = "def mean(numbers: list[float]) -> float:\n    "
    return CompletionRequest("mean.py", "python", text, len(text))
