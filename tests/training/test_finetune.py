"""A short run: a few steps lower the loss, a stopped run continues exactly, and its adapter can be exported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import CompletionRequest
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from export.sources.adapter import AdaptedSource
from export.sources.folder import FolderSource, local_checkpoint
from export.sources.random_weights import synthetic_tokenizer
from tests.export.small_models import PLAIN, random_weights, write_folder
from training.data.example import Example, told_elsewhere
from training.data.examples import Teacher, read_examples, write_examples
from training.data.sources import SourceFile
from training.network.base import Base, open_base, prompt_tools

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("safetensors", reason="safetensors is not installed (extra `train`)")

from training.data.batches import END, batch_of  # noqa: E402
from training.finetune import Run, Settings, train  # noqa: E402
from training.network.adapter import load_adapter, save_adapter  # noqa: E402
from training.network.decoder import Adapted, LowRank, Model  # noqa: E402
from training.network.lower import LowerStates  # noqa: E402
from training.preferences import Pair, PreferenceRun  # noqa: E402

torch.set_num_threads(1)  # on a machine that others use, two threads mostly wait for each other

pytestmark = pytest.mark.filterwarnings("ignore")  # those of torch's compiler are not ours to mend

HOUSE = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "samples"  # not our own modules: what a run learns of them changes as they do
SHAPE = LowRank(rank=4, alpha=4, layers=2)
SETTINGS = Settings(tokens=3600, step_tokens=600, warm_up=600, rate=8e-3, shape=SHAPE)

_TOLD_BELOW = """\
def below(rows):
    for row in rows:
        gathered = [], 0
        gathered[0].append(row)
    return gathered
"""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a run needs."""

    base: Base
    tokenizer: Tokenizer
    examples: list[Example]

    def model(self) -> Any:
        return Model(self.base, SHAPE, torch.float32, "cpu")

    def run(self) -> Run:
        return Run(self.model(), frozenset(self.base.style.stop), SETTINGS, "cpu")


@pytest.fixture(scope="module")
def lesson(model_wheel: Path) -> Iterator[Lesson]:
    with tempfile.TemporaryDirectory() as temporary, open_base(model_wheel, None) as base:
        tokenizer, style = prompt_tools(base, Path(temporary))
        files = [
            SourceFile("shop", path.name, "python", path.read_text(encoding="utf-8"), held_out=False)
            for path in sorted(SAMPLES.glob("*.py"))
        ]
        drawn = Teacher(files, tokenizer, style).examples(24, seed=1)
        yield Lesson(
            base, tokenizer, [example for example in drawn if example.prompt + 4 < len(example.tokens) < 300][:4]
        )


def test_prompts_are_what_the_engine_serves(lesson: Lesson, tmp_path: Path) -> None:
    for example in lesson.examples:
        text = lesson.tokenizer.decode([int(token) for token in example.tokens])
        before, middle = text.rsplit("<fim_middle>", 1)
        assert "<fim_suffix>" in before.partition("<fim_prefix>")[0]
        assert middle.endswith("<|endoftext|>")
        assert example.tokens[example.prompt - 1] == lesson.base.style.fim_middle
    write_examples(tmp_path / "some.npz", lesson.examples)
    for read, written in zip(read_examples(tmp_path / "some.npz"), lesson.examples, strict=True):
        assert np.array_equal(read.tokens, written.tokens)
        assert (read.prompt, read.kind, read.language) == (written.prompt, written.kind, written.language)


def test_a_word_that_only_the_lines_below_tell_is_known(lesson: Lesson) -> None:
    start = _TOLD_BELOW.index("gathered = ")
    request = CompletionRequest("a.py", "python", _TOLD_BELOW.replace("gathered = [], 0\n", ""), start)
    prompt = lay_out(request, lesson.tokenizer, lesson.base.style, Budget(192))
    assert told_elsewhere(prompt, "gathered = [], missing, below\n", lesson.tokenizer) == {"gathered"}


def test_reading_prompts_and_answers_apart_changes_no_state_and_no_gradient_of_the_last_layer(lesson: Lesson) -> None:
    model = lesson.model()
    batch = batch_of(lesson.examples, frozenset(lesson.base.style.stop), end=END)
    found = []
    for learned in (batch.learned, batch.lengths):  # in two streams, and in one
        model.zero_grad()
        states = model(model.lower(batch.tokens, batch.lengths), batch.lengths, learned)
        states = torch.cat([part[-own:] for part, own in zip(states.split(list(learned)), batch.learned, strict=True)])
        summed, _ = model.losses(states, batch.targets, batch.weights)
        summed.backward()
        gradients = {name: matrix.up.grad.clone() for name, matrix in model.adapted()}
        found.append((states.detach(), gradients))
    (apart, own), (together, right) = found
    assert torch.allclose(apart, together, rtol=1e-3, atol=1e-3)
    for name, gradient in right.items():
        near = float(torch.cosine_similarity(own[name].flatten(), gradient.flatten(), dim=0))
        assert near > (0.9999 if ".29." in name else 0.5), name


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


def test_lower_states_are_computed_once_and_never_of_another_model(lesson: Lesson, tmp_path: Path) -> None:
    model, sequences = lesson.model(), [example.tokens[:-1].astype(np.int64) for example in lesson.examples]
    batch = batch_of(lesson.examples, frozenset())
    expected = model.lower(batch.tokens, batch.lengths)
    kept = LowerStates(tmp_path, sequences, model)
    assert torch.equal(kept.lower(batch.tokens, batch.lengths), expected)
    model.blocks[0] = None  # anything computed below the adapted layers fails from here on
    turned = batch_of(lesson.examples[::-1], frozenset())
    again = LowerStates(tmp_path, sequences, model).lower(turned.tokens, turned.lengths)
    assert torch.equal(torch.cat(again.split(list(turned.lengths))[::-1]), expected)
    (states,) = tmp_path.glob("*.states")
    content = bytearray(states.read_bytes())
    content[5] ^= 1
    states.write_bytes(content)
    with pytest.raises(AttributeError):
        LowerStates(tmp_path, sequences, model).lower(batch.tokens, batch.lengths)

    other = lesson.model()
    other.embeddings += 0.5
    fresh = LowerStates(tmp_path, sequences, other)
    assert list(tmp_path.glob("*.states")) != [states]
    assert not torch.allclose(fresh.lower(batch.tokens, batch.lengths), expected, atol=0.1)
    fresh.remove()
    assert not list(tmp_path.iterdir())


def test_the_adapter_that_is_exported_is_the_one_that_was_trained(lesson: Lesson, tmp_path: Path) -> None:
    run = lesson.run()
    run.step(lesson.examples)
    embeddings = lesson.base.embeddings()
    save_adapter(tmp_path / "adapter", run.model, lesson.base)
    again = lesson.model()
    load_adapter(tmp_path / "adapter", again)
    again.merge()
    with AdaptedSource(lesson.base.source, tmp_path / "adapter") as source:
        rows = source.tensor("model.embed_tokens.weight", slice(0, 32))
        assert np.allclose(rows, embeddings[:32].numpy(), atol=0.02)
        assert not np.array_equal(rows[8], rows[9])
        merged = source.tensor("model.layers.29.mlp.up_proj.weight")
    logits = [run.validate(lesson.examples), Run(again, frozenset(), SETTINGS, "cpu").validate(lesson.examples)]
    assert logits[0] == pytest.approx(logits[1], abs=0.01)
    plain = lesson.base.source.tensor("model.layers.29.mlp.up_proj.weight")
    assert np.abs(merged - plain).max() > 1e-4


def test_another_model_is_tuned_on_ones_own_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", PLAIN, random_weights(PLAIN))
    synthetic_tokenizer(PLAIN.vocabulary).save(str(folder / "tokenizer.json"))
    workspace, examples, out = tmp_path / "workspace", tmp_path / "examples", tmp_path / "run"
    for part in ("engine", "indexer", "lsp_server"):
        shutil.copytree(HOUSE / part, workspace / part, ignore=shutil.ignore_patterns("__pycache__"))
    cut = ("training.data.examples", "--workspace", workspace, "--out", examples, "--train", "12", "--held-out", "2")
    tune = ("training.finetune", "--examples", examples, "--out", out, "--tokens", "3000")
    for module, *arguments in (cut, tune):
        command = [sys.executable, "-m", str(module), "--model", str(folder), *map(str, arguments)]
        subprocess.run(command, check=True, cwd=HOUSE)
    with FolderSource(local_checkpoint(folder)) as base, AdaptedSource(base, out / "adapter") as source:
        plain = base.tensor("model.layers.1.mlp.up_proj.weight")
        assert np.abs(source.tensor("model.layers.1.mlp.up_proj.weight") - plain).max() > 1e-4


def test_preferences_make_one_answer_likelier_than_the_other(lesson: Lesson) -> None:
    pairs = []
    for example in lesson.examples:
        wrong = example.tokens[example.prompt : -1][::-1]  # its own words in the wrong order
        avoided = np.concatenate((example.tokens[: example.prompt], wrong, example.tokens[-1:]))
        pairs.append(Pair(example, Example(avoided, example.prompt, example.kind, example.language)))
    run = PreferenceRun(lesson.model(), frozenset(lesson.base.style.stop), SETTINGS, "cpu")
    known = run.references(pairs)
    told = [run.step(known) for _ in range(3)]
    assert told[0]["loss"] == pytest.approx(np.log(2), abs=1e-4), "at first nothing is preferred"
    assert told[-1]["loss"] < told[0]["loss"] - 0.02
    assert told[-1]["better"] > 0.6


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
