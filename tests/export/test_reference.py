"""The float32 graph is the published model: logits and greedy text are those of transformers (extra `export`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.model_folders.manifest import read_manifest
from engine.runtime.session import Model
from export.graph.decoder import write_graph
from export.make import export
from export.quantization.gptq_data import code_tokens
from export.reference import TOLERANCE, compare, export_with_optimum, transformers_model
from export.sources import GgufSource, Source
from export.verify import MODULES
from tests.export.small import KINDS, LLAMA, RandomSource
from tests.export.test_graph import source  # noqa: F401
from tests.export.test_matmul_formats import load

pytest.importorskip("transformers", reason="needs the extra `export`")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of torch, transformers and optimum are not ours to mend


@pytest.mark.parametrize("kind", ["grouped", "ungrouped", "qwen2"])
def test_small_models_agree_with_transformers(kind: str, tmp_path: Path) -> None:
    weights = RandomSource(KINDS[kind])
    write_graph(weights, tmp_path, format="fp32", target="cpu", on_tensor=lambda name, error: None)
    tokens = np.random.default_rng(5).integers(0, LLAMA.vocabulary, 64).tolist()
    likeness = compare(load(tmp_path, weights), transformers_model(weights), tokens, greedy=256)
    assert likeness.largest_difference < TOLERANCE
    assert likeness.same_greedy_tokens == 256


def test_the_default_model_agrees_with_transformers(source: GgufSource, tmp_path: Path) -> None:  # noqa: F811
    tokenizer = source.tokenizer()
    folder = tmp_path / "model"
    export(source, tokenizer, folder, style="plain", command="", progress=lambda *_: None, format="fp32")
    tokens = code_tokens(tokenizer, MODULES[:1], 256)[0].tolist()
    likeness = compare(Model(folder, read_manifest(folder)), transformers_model(source), tokens, greedy=256)
    assert likeness.largest_difference < TOLERANCE
    assert likeness.same_greedy_tokens == 256


@pytest.mark.parametrize("kind", ["grouped", "ungrouped", "qwen2"])
def test_the_engine_runs_optimums_graph(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("optimum.exporters.onnx")
    weights: Source = RandomSource(KINDS[kind])
    published = transformers_model(weights)
    published.save_pretrained(tmp_path / "checkpoint")
    export_with_optimum(tmp_path / "checkpoint", tmp_path / "onnx")
    model = load(tmp_path / "onnx", weights)
    tokens = np.random.default_rng(5).integers(0, LLAMA.vocabulary, 64).tolist()
    likeness = compare(model, published, tokens, greedy=256)
    assert likeness.largest_difference < TOLERANCE
    assert likeness.same_greedy_tokens == 256
    slot = model.new_slot(128)
    whole = model.run(slot, tokens, [63]).copy()
    slot.keep(32)
    assert np.allclose(model.run(slot, tokens[32:], [31]), whole, atol=1e-4), "a rewound slot gives the same"
