"""Training on a card, tested on the CPU: the same commands with a small model."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.sources.adapter import AdaptedSource
from export.sources.folder import FolderSource, local_checkpoint
from export.sources.random_weights import synthetic_tokenizer
from syntax.children import python_command
from tests.export.small_models import VARIANTS, random_weights, write_folder

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("safetensors", reason="safetensors is not installed (extra `train`)")

from training.card.attention import one_by_one  # noqa: E402
from training.card.data.drawing import Drawer  # noqa: E402
from training.card.data.files import SHARD, read_shard  # noqa: E402
from training.card.data.packing import PIECES, PackingError, checked  # noqa: E402
from training.card.data.rows import Steps, rows_of  # noqa: E402
from training.card.decoder import Decoder  # noqa: E402
from training.card.difference import write_adapter  # noqa: E402
from training.card.run import CardRun, Settings, carry_out  # noqa: E402
from training.card.schedule import Clock  # noqa: E402
from training.data.batches import batch_of  # noqa: E402
from training.data.example import Example  # noqa: E402
from training.network.base import open_base, prompt_tools  # noqa: E402
from training.network.decoder import LowRank, Model  # noqa: E402

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings("ignore")  # those of torch's compiler are not ours to mend

HOUSE = Path(__file__).parents[2]
SHAPE = VARIANTS["grouped and tied"]
SMALL = (
    "--rows",
    "2",
    "--length",
    "1024",
    "--held-out",
    "2",
    "--processes",
    "2",
    "--rate",
    "2e-3",
    "--every",
    "3",
    "--threads",
    "1",
)
# Modules that a machine with torch, transformers and onnxruntime lacks; importing one ends the process.
_WITHOUT = """
import runpy, sys
lacking = {"tree_sitter", "tree_sitter_python", "pygls", "lsprotocol", "cattrs", "gguf"}
own = set(sys.path)
class Refuse:
    def find_spec(self, name, path=None, target=None):
        carried = any(entry.endswith("/site") and entry not in own for entry in sys.path)
        if name in lacking and not (name in {"cattrs", "gguf"} and carried):
            raise ModuleNotFoundError(f"{name} is not there")
sys.meta_path.insert(0, Refuse())
sys.argv = ["training.card", *sys.argv[1:]]
runpy.run_module("training.card", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and with what was packed for it and unpacked again."""
    place = tmp_path_factory.mktemp("card")
    folder = write_folder(place / "model", SHAPE, random_weights(SHAPE))
    synthetic_tokenizer(SHAPE.vocabulary).save(str(folder / "tokenizer.json"))
    for part in ("engine", "lsp_server", "syntax", "export"):
        shutil.copytree(HOUSE / part, place / "code" / part, ignore=shutil.ignore_patterns("__pycache__", "default*"))
    packed = ("pack", str(place / "packed"), "--model", str(folder), "--workspace", str(place / "code"))
    subprocess.run(python_command("training.card", *packed, "--megabytes", "1"), check=True, cwd=HOUSE)
    (place / "there").mkdir()
    shutil.move(place / "packed" / "pieces", place / "there" / "pieces")
    subprocess.run(_there("unpack", str(place / "there")), check=True, cwd=HOUSE)
    return place


def _there(*arguments: str) -> list[str]:
    return [sys.executable, "-c", _WITHOUT, *arguments]


def _train(place: Path, *more: str) -> list[str]:
    return _there("train", "--data", str(place / "there"), "--out", str(place / "run" / "out"), *SMALL, *more)


def _result(place: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((place / "run" / "out" / "result.json").read_text(encoding="utf-8"))
    return result


def _steps(place: Path, *, held_out: bool) -> Steps:
    with open_base(None, str(place / "model")) as base:
        tokenizer, style = prompt_tools(base, place)
    files = [file for path in sorted((place / "there").glob(f"*{SHARD}")) for file in read_shard(path)]
    drawer = Drawer((file for file in files if file.held_out == held_out), tokenizer, style, longest=512)
    return Steps(drawer, frozenset(style.stop), 2, 1024, "held out" if held_out else "train 0")


def _loss_of(place: Path, adapter: Path) -> float:
    """What the exported weights lose at the held-out middles, by a model that was begun from them."""
    steps = _steps(place, held_out=True)
    with open_base(None, str(place / "model")) as base, AdaptedSource(base.source, adapter) as source:
        embeddings = torch.from_numpy(source.tensor("model.embed_tokens.weight"))
        run = CardRun(base, source, embeddings, Settings(seconds=0), "cpu")
        lost: float = run.validate([steps[0], steps[1]])
    return lost


def test_a_run_that_is_told_to_end_goes_on_later_and_brings_back_an_adapter_with_its_losses(place: Path) -> None:
    curve = place / "run" / "out" / "curve.jsonl"
    running = subprocess.Popen(_train(place, "--seconds", "1000", "--horizon"), cwd=HOUSE)
    try:
        until = time.monotonic() + 240
        while not (curve.exists() and '"step": 3' in curve.read_text(encoding="utf-8")):
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(120) == 0
    finally:
        running.kill()
        running.wait()
    stopped = _result(place)
    assert not stopped["finished"]
    checked(place / "run" / "out" / "difference")

    seconds = str(stopped["seconds"] + 10)
    subprocess.run(_train(place, "--seconds", seconds, "--horizon"), check=True, cwd=HOUSE)
    result = _result(place)
    assert result["finished"]
    assert result["steps"] >= stopped["steps"] >= 3
    assert result["held_out_before"] == stopped["held_out_before"]
    assert result["held_out_after"] < result["held_out_before"]
    told = write_adapter(place / "run" / "out" / "difference", place / "adapter")
    assert told.lost <= told.error < 0.02
    assert _loss_of(place, place / "adapter") == pytest.approx(result["held_out_after"], abs=0.03)
    with FolderSource(local_checkpoint(place / "model")) as base, AdaptedSource(base, place / "adapter") as source:
        name = "model.layers.1.mlp.up_proj.weight"
        assert np.abs(source.tensor(name) - base.tensor(name)).max() > 1e-3


def test_a_run_ends_when_its_time_is_up_with_a_rate_of_nearly_nothing(place: Path, tmp_path: Path) -> None:
    steps, held_out = _steps(place, held_out=False), [_steps(place, held_out=True)[0]]
    with open_base(None, str(place / "model")) as base:
        run = CardRun(base, base.source, base.embeddings(), Settings(seconds=20, rate=2e-3, narrow_at=0.5), "cpu")
        run.step(steps[0], 0.0)  # what is loaded at the first step takes most of a short time
        clock = Clock(20)
        clock.begin()
        folders = tmp_path / "out", tmp_path / "checkpoints"
        drawn = lambda first: (steps[index] for index in itertools.count(first))  # noqa: E731
        result = carry_out(run, drawn, held_out, clock, *folders, is_stopped=lambda: False, say=lambda _: None)
    assert result["finished"]
    assert result["seconds"] < 30, "others may use this machine"
    assert result["held_out_after"] < result["held_out_before"]
    curve = [json.loads(line) for line in (tmp_path / "out" / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [told["rate"] for told in curve if "rate" in told]
    assert rates[-1] < 0.5 * max(rates)


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_been_stopped(place: Path, tmp_path: Path) -> None:
    rows = [_steps(place, held_out=False)[index] for index in range(2)]
    with open_base(None, str(place / "model")) as base:
        settings = Settings(seconds=0, most=30_000)
        runs = [CardRun(base, base.source, base.embeddings(), settings, "cpu") for _ in range(2)]
        whole, resumed = runs
        whole.step(rows[0], 1e-3)
        whole.narrow()
        torch.save(whole.content(), tmp_path / "checkpoint.pt")
        resumed.load(tmp_path / "checkpoint.pt")
        for run in runs:
            run.step(rows[1], 1e-3)
        assert resumed.state == whole.state
        for (name, one), (_, other) in zip(whole.model.named(), resumed.model.named(), strict=True):
            assert torch.equal(one.value(), other.value()), name


@pytest.mark.parametrize("rank", [None, 8])
def test_steps_lower_the_loss_and_a_narrowed_run_keeps_what_it_learned(place: Path, rank: int | None) -> None:
    with open_base(None, str(place / "model")) as base:
        settings = Settings(seconds=0, rank=rank, horizon=True, most=30_000)
        run = CardRun(base, base.source, base.embeddings(), settings, "cpu")
        rows = _steps(place, held_out=False)
        read, held_out = [rows[index] for index in range(4)], [_steps(place, held_out=True)[0]]
        before = run.validate(held_out)
        for index in range(40):
            run.step(read[index % 4], 3e-3)
        after = run.validate(held_out)
        assert after < before - 0.5
        if rank is None:
            run.narrow()
            assert run.validate(held_out) == pytest.approx(after, abs=0.3)
            for index in range(4):
                run.step(read[index], 1e-3)
            assert run.validate(held_out) < before - 0.5


def test_pieces_that_are_missing_or_damaged_are_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "there" / "pieces", tmp_path / "pieces")
    names = list(json.loads((tmp_path / "pieces" / PIECES).read_text(encoding="utf-8"))["sha256"])
    piece = tmp_path / "pieces" / names[-1]
    content = bytearray(piece.read_bytes())
    content[7] ^= 1
    piece.write_bytes(content)
    with pytest.raises(PackingError, match=f"{names[-1]} is not the piece"):
        checked(tmp_path / "pieces")
    piece.unlink()
    with pytest.raises(PackingError, match=f"lacks {names[-1]}"):
        checked(tmp_path / "pieces")


def test_losses_are_those_of_the_trainer_for_processors(model_wheel: Path) -> None:
    generator = np.random.default_rng(0)
    examples = [
        Example(generator.integers(20, 40_000, size).astype(np.uint32), prompt, "line", "python")
        for size, prompt in ((90, 70), (40, 35), (121, 60))
    ]
    control = frozenset({0})
    with open_base(model_wheel, None) as base:
        decoder = Decoder(base.source, base.embeddings(), torch.float32, "cpu")
        model = Model(base, LowRank(rank=2, alpha=2, layers=1), torch.float32, "cpu")
    rows = rows_of([examples[:2], examples[2:]], 160, control)
    with torch.no_grad():
        summed, losses = decoder.losses(decoder(rows, one_by_one), rows)
        batch = batch_of(examples, control)
        states = model(model.lower(batch.tokens, batch.lengths), batch.lengths, batch.learned)
        expected, each = model.losses(states, batch.targets, batch.weights)
    assert torch.allclose(losses[rows.weights > 0], each[batch.weights > 0], atol=2e-3)
    assert float(summed) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="the script is for a machine with Linux")
def test_the_script_for_the_card_trains_with_the_pieces_that_were_carried(place: Path, tmp_path: Path) -> None:
    carried = tmp_path / "build" / "card" / "data" / "pieces"
    shutil.copytree(place / "there" / "pieces", carried)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    own = {"PATH": path, "PYTHONPATH": str(HOUSE), "OUT": str(tmp_path / "out"), "CARD_PLACE": str(tmp_path / "place")}
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        ["sh", str(HOUSE / "evaluation" / "gpu" / "on_card.sh"), "train", "60"],
        cwd=tmp_path,
        env={**os.environ, **own, "TRAIN_MORE": " ".join(SMALL)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    brought = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert {"curve.jsonl", "result.json", "train.log", "difference/pieces.json"} <= brought
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["finished"]
