"""Packed files, rows, attention and the low-rank difference, each on its own."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from engine.model_folders.manifest import PromptFormat
from engine.prompt.tokenizer import Tokenizer
from training.data.examples import Teacher
from training.data.sources import SourceFile

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("safetensors", reason="safetensors is not installed (extra `train`)")

from training.card.attention import masked, one_by_one  # noqa: E402
from training.card.data.drawing import Drawer, LongSuffix  # noqa: E402
from training.card.data.files import TaughtFile, read_shard, write_shard  # noqa: E402
from training.card.data.gathering import taught  # noqa: E402
from training.card.data.packing import checked  # noqa: E402
from training.card.data.rows import Steps, fitted, rows_of  # noqa: E402
from training.card.difference import factors, rank_for, write_difference  # noqa: E402
from training.card.schedule import Clock, rate_at  # noqa: E402
from training.data.example import Example  # noqa: E402

HOUSE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tools: tuple[Tokenizer, PromptFormat]) -> list[TaughtFile]:
    sources = [
        SourceFile("engine", path.name, "python", path.read_text(encoding="utf-8"), held_out=False)
        for path in sorted((HOUSE / "engine").rglob("[p-t]*.py"))
    ]
    teacher = Teacher(sources, *tools)
    return [taught(file, teacher) for file in sources]


def example(size: int, prompt: int, seed: int = 0) -> Example:
    return Example(np.random.default_rng(seed).integers(3, 300, size).astype(np.uint32), prompt, "line", "python")


def test_a_shard_gives_back_what_was_written(files: list[TaughtFile], tmp_path: Path) -> None:
    write_shard(tmp_path / "some.jsonl.xz", files)
    assert read_shard(tmp_path / "some.jsonl.xz") == files


def test_each_seed_cuts_other_middles_and_the_same_seed_the_same(
    files: list[TaughtFile], tools: tuple[Tokenizer, PromptFormat]
) -> None:
    tokenizer, style = tools
    drawer = Drawer(files, tokenizer, style)
    drawn = [[drawer.example(chance).tokens.tobytes() for _ in range(20)] for chance in map(random.Random, (1, 2, 1))]
    assert drawn[0] == drawn[2]
    assert len(set(drawn[0] + drawn[1])) == 40


def test_an_example_is_a_file_with_a_part_of_it_asked_for(
    files: list[TaughtFile], tools: tuple[Tokenizer, PromptFormat]
) -> None:
    tokenizer, style = tools
    drawer, chance = Drawer(files, tokenizer, style), random.Random(3)
    examples = [drawer.example(chance) for _ in range(500)]
    texts = {file.text for file in files}
    for one in examples:
        prompt = tokenizer.decode([int(token) for token in one.tokens[: one.prompt]])
        answer = tokenizer.decode([int(token) for token in one.tokens[one.prompt : -1]])
        above = prompt.rpartition("<fim_prefix>")[2].removesuffix("<fim_middle>")
        below = prompt.rpartition("<fim_suffix>")[2].partition("<fim_prefix>")[0]
        assert any(above + answer + below in text for text in texts)
        assert one.tokens[-1] == style.stop[0]
    assert {one.kind for one in examples} == {"line", "statement", "block", "span", "nothing"}
    assert any(one.prompt == len(one.tokens) - 1 for one in examples), "sometimes nothing is the right answer"
    with_context = [one for one in examples if list(one.tokens).count(style.filename) > 1]
    assert len(with_context) > 20
    assert LongSuffix(256).suffix == 64
    assert LongSuffix(2048).suffix == 256


def test_what_the_index_told_is_asked_for_only_where_it_had_not_seen_the_answer(files: list[TaughtFile]) -> None:
    regions = [(file, region) for file in files for region in file.regions if region.snippets]
    assert regions
    for file, region in regions:
        assert 0 <= region.start < region.end <= len(file.text)
        assert all(path != file.path for path, _ in region.snippets)


def test_rows_hold_whole_examples_and_teach_what_batches_teach() -> None:
    examples = [example(60, 40, 1), example(30, 29, 2), example(90, 50, 3), example(41, 30, 4)]
    filled = fitted(examples, 2, 128)
    assert sorted(len(one.tokens) for row in filled for one in row) == [30, 41, 60, 90]
    rows = rows_of(filled, 128, frozenset())
    assert rows.taught == sum(len(one.tokens) - 1 for one in examples)
    assert sum(rows.lengths()) == 256
    assert int(rows.answers.sum()) == 20 + 1 + 40 + 11
    assert float(rows.weights.sum()) == pytest.approx(72 + 0.3 * (39 + 28 + 49 + 29))
    starts = rows.positions == 0
    assert int(starts.sum()) == len(rows.lengths())
    first = [float(rows.left[index]) for index in range(1, 256) if rows.answers[index] and not rows.answers[index - 1]]
    assert first == [1.0] * 4, "at the first token of a middle all of it is still to come"


def test_attention_by_a_mask_is_that_of_one_sequence_after_the_other() -> None:
    rows = rows_of([[example(60, 40), example(30, 20)], [example(33, 20)]], 96, frozenset())
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(192, heads, 8, generator=generator) for heads in (6, 2, 2)]
    query, key, value = inputs
    found, expected = (attend(query, key, value, rows) for attend in (masked, one_by_one))
    assert torch.allclose(found, expected, atol=1e-5)


def test_factors_are_the_nearest_matrix_of_their_rank() -> None:
    for shape in ((30, 50), (50, 30)):
        change = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
        up, down = factors(change, 7)
        u, s, v = torch.linalg.svd(change)
        assert torch.allclose(up @ down, (u[:, :7] * s[:7]) @ v[:7], atol=1e-4)
    assert factors(change, 100)[0].shape == (50, 30)
    up, down = factors(torch.zeros(4, 6), 2)
    assert torch.equal(up @ down, torch.zeros(4, 6))


def test_a_difference_is_as_small_as_was_asked(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    changes = {f"model.layers.{n}.mlp.up_proj": torch.randn(40, 60, generator=generator) for n in range(4)}
    told = write_difference(tmp_path / "difference", changes, torch.zeros(0, 8), [], "small", most=8000)
    assert told.rank == rank_for([(40, 60)] * 4, 8000) == 18
    assert told.error == pytest.approx(told.lost, abs=0.02)
    assert sum(piece.stat().st_size for piece in checked(tmp_path / "difference")) < 8000 + 2000


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    assert 0 < rate_at(0, 1.0) < 0.2
    assert rate_at(0.3, 1.0) == 1.0
    assert rate_at(0.7, 1.0) == pytest.approx(0.5)
    assert rate_at(1.0, 1.0) == 0
    assert rate_at(0.3, 1.0, fresh=0.3) < 0.2, "a new optimizer begins slowly"
    clock = Clock(seconds=100, before=40, lead=20, ending=20)
    clock.begin()
    assert clock.progress == pytest.approx(1 / 3, abs=0.05)


def test_steps_are_a_function_of_their_number(files: list[TaughtFile], tools: tuple[Tokenizer, PromptFormat]) -> None:
    steps = Steps(Drawer(files, *tools, longest=512), frozenset(), 2, 1024, "one")
    assert torch.equal(steps[3].tokens, steps[3].tokens)
    assert not torch.equal(steps[3].tokens, steps[4].tokens)
    assert steps[3].taught > 0.85 * 2048, "rows are nearly full"
