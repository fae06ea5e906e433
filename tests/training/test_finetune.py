"""A smoke run: a few steps lower the loss, a stopped run goes on exactly, and its adapter is what is exported."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.manifest import PromptFormat
from engine.tokenizer import Tokenizer
from export.default_model import RESERVED, default_source
from export.sources import GgufSource
from export.sources.adapter import AdaptedSource
from training.examples import Example, Teacher, prompt_tools, read_examples, write_examples
from training.sources import SourceFile

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("safetensors", reason="safetensors is not installed (extra `train`)")

from training.adapter import load_adapter, save_adapter, taught_embeddings, taught_tokens  # noqa: E402
from training.finetune import Run, Settings, train  # noqa: E402
from training.model import Adapted, LowRank, Model  # noqa: E402

torch.set_num_threads(1)  # on a machine that others use, two threads mostly wait for each other

HOUSE = Path(__file__).parents[2]
SHAPE = LowRank(rank=4, alpha=4, layers=2)
SETTINGS = Settings(tokens=2400, step_tokens=600, warm_up=600, rate=4e-3, shape=SHAPE)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a run needs."""

    source: GgufSource
    tokenizer: Tokenizer
    style: PromptFormat
    examples: list[Example]

    def model(self) -> Any:
        return Model(self.source, taught_embeddings(self.source), SHAPE, torch.float32, "cpu")

    def run(self) -> Run:
        return Run(self.model(), frozenset(self.style.stop), SETTINGS, "cpu")


@pytest.fixture(scope="module")
def lesson(model_wheel: Path) -> Iterator[Lesson]:
    with tempfile.TemporaryDirectory() as temporary, default_source(model_wheel, Path(temporary)) as source:
        tokenizer, style = prompt_tools(model_wheel, Path(temporary))
        files = [
            SourceFile("engine", path.name, "python", path.read_text(encoding="utf-8"), held_out=False)
            for path in sorted((HOUSE / "engine").glob("*.py"))
        ]
        drawn = Teacher(files, tokenizer, style).examples(24, seed=1)
        yield Lesson(source, tokenizer, style, [example for example in drawn if len(example.tokens) < 300][:4])


def test_prompts_are_what_the_engine_serves(lesson: Lesson, tmp_path: Path) -> None:
    for example in lesson.examples:
        text = lesson.tokenizer.decode([int(token) for token in example.tokens])
        before, middle = text.rsplit("<fim_middle>", 1)
        assert "<fim_suffix>" in before.partition("<fim_prefix>")[0]
        assert middle.endswith("<|endoftext|>")
        assert example.tokens[example.prompt - 1] == lesson.style.fim_middle
    write_examples(tmp_path / "some.npz", lesson.examples)
    for read, written in zip(read_examples(tmp_path / "some.npz"), lesson.examples, strict=True):
        assert np.array_equal(read.tokens, written.tokens)
        assert (read.prompt, read.kind, read.language) == (written.prompt, written.kind, written.language)


def test_a_run_lowers_the_loss_and_goes_on_exactly_where_it_was_stopped(lesson: Lesson, tmp_path: Path) -> None:
    whole = lesson.run()
    losses = []
    for told in train(whole, lesson.examples, lesson.examples, tmp_path, seconds_between=1e9):
        losses += [told["held_out"]] if "held_out" in told else []
        if told["step"] == 2:
            whole.save(tmp_path / "stopped.pt")
    assert losses[-1] < losses[0] - 0.3

    resumed = lesson.run()
    resumed.load(tmp_path / "stopped.pt")
    while resumed.state.tokens < SETTINGS.tokens:
        resumed.step(lesson.examples)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_adapter_that_is_exported_is_the_one_that_was_trained(lesson: Lesson, tmp_path: Path) -> None:
    run = lesson.run()
    run.step(lesson.examples)
    embeddings = taught_embeddings(lesson.source)
    tokens = taught_tokens(lesson.source.tokenizer(RESERVED))
    save_adapter(tmp_path / "adapter", run.model, embeddings, tokens)
    again = lesson.model()
    load_adapter(tmp_path / "adapter", again)
    again.merge()
    with AdaptedSource(lesson.source, tmp_path / "adapter") as source:
        rows = source.tensor("model.embed_tokens.weight", slice(0, 32))
        assert np.allclose(rows, embeddings[:32].numpy(), atol=0.02)
        assert not np.array_equal(rows[8], rows[9])
        merged = source.tensor("model.layers.29.mlp.up_proj.weight")
    logits = [run.validate(lesson.examples), Run(again, frozenset(), SETTINGS, "cpu").validate(lesson.examples)]
    assert logits[0] == pytest.approx(logits[1], abs=0.01)
    plain = lesson.source.tensor("model.layers.29.mlp.up_proj.weight")
    assert np.abs(merged - plain).max() > 1e-4


def test_the_low_rank_product_has_the_gradients_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(6, 5, generator=generator)
    adapted = Adapted(weight.clone(), LowRank(rank=3, alpha=6), generator)
    with torch.no_grad():
        adapted.up.normal_(generator=generator)
    for _ in range(3):
        adapted.merge()  # merging again changes nothing
    down, up = (one.detach().clone().requires_grad_() for one in (adapted.down, adapted.up))
    x, y = (torch.randn(4, 5, generator=generator).requires_grad_() for _ in range(2))
    y.data = x.data.clone()
    (adapted(x) ** 2).sum().backward()
    ((y @ (weight + 2 * up @ down).T) ** 2).sum().backward()
    for one, other in ((x, y), (adapted.down, down), (adapted.up, up)):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-4)
