"""The exported graph computes the model: checked against a forward pass in numpy, from the GGUF's own numbers."""

from __future__ import annotations

import math
import shelve
import statistics
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine import Engine
from engine.runtime.session import Model
from export.architecture import Architecture, tensor_shapes
from export.default_model import ADAPTER, default_source
from export.graph.decoder import write_graph
from export.quantization.quantize import to_int8
from export.quantization.rotate import RotatedSource, Rotation
from export.sources import Source
from export.sources.adapter import AdaptedSource
from tests.export.forward import forward, losses

TEXT = Path(textwrap.__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def source(model_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with (
        default_source(model_wheel, tmp_path_factory.mktemp("gguf")) as base,
        AdaptedSource(base, ADAPTER) as source,
    ):
        yield source


def test_logits_are_those_of_a_forward_pass_in_numpy(engine: Engine, source: Source) -> None:
    tokens = engine.tokenizer.encode(TEXT)[:384]
    expected = forward(source, tokens)
    slot = engine._model.new_slot(len(tokens))
    logits = np.concatenate(  # in three parts: prefill after a cached state is part of the claim
        [engine._model.run(slot, part, range(len(part))) for part in (tokens[:200], tokens[200:201], tokens[201:])]
    )
    agreement = (logits.argmax(axis=1) == expected.argmax(axis=1)).mean()
    assert agreement >= 0.85
    assert abs(losses(logits, tokens).mean() - losses(expected, tokens).mean()) < 0.1
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.99


def test_a_rewound_slot_gives_the_logits_of_a_fresh_one(engine: Engine) -> None:
    tokens = engine.tokenizer.encode(TEXT)[:128]
    fresh, rewound = engine._model.new_slot(256), engine._model.new_slot(256)
    expected = engine._model.run(fresh, tokens, [127])
    engine._model.run(rewound, [*tokens[:64], *reversed(tokens)], [0])
    rewound.keep(64)
    logits = engine._model.run(rewound, tokens[64:], [63])
    assert np.allclose(logits, expected, atol=0.35)
    assert logits.argmax() == expected.argmax()


def test_the_graph_says_its_parameters_and_kv_bytes_itself(engine: Engine, model_cache: Path) -> None:
    graph = onnx.load(str(model_cache / "models/smollm2-135m/model.onnx"), load_external_data=False).graph
    sizes = {initializer.name: math.prod(initializer.dims) for initializer in graph.initializer}
    matrices = sum(size for name, size in sizes.items() if name.endswith(".int8") and name != "lm_head.int8")
    norms = sum(size for name, size in sizes.items() if "norm" in name)
    assert matrices + norms + sizes["embeddings"] == engine.manifest.parameters  # the head is tied to the embeddings
    caches = [value for value in graph.input if value.name.startswith("past_key_values")]
    shapes = [[axis.dim_value or 1 for axis in cache.type.tensor_type.shape.dim] for cache in caches]
    assert sum(4 * math.prod(shape) for shape in shapes) == engine.manifest.kv_bytes_per_token


def test_every_named_tensor_is_in_the_source_with_its_shape(source: Source) -> None:
    total = 0
    for name, shape in tensor_shapes(source.architecture):
        values = source.tensor(name)
        assert values.shape == shape
        # what an adapter adds is a product, whose last bits depend on its shape and on the processor
        assert np.allclose(source.tensor(name, slice(5, 77)), values[5:77], rtol=1e-5, atol=1e-6)
        total += values.size
    assert total == source.architecture.parameters


def test_mellum_4b_has_the_published_number_of_parameters() -> None:
    mellum = Architecture("LlamaForCausalLM", 30, 3072, 8256, 24, 24, 128, 98304, 8192, 500000.0, 1e-6, False)
    assert mellum.parameters == 4_019_248_128
    assert mellum.kv_bytes_per_token(2) == 368_640


def test_int8_is_within_half_a_step() -> None:
    weight = np.random.default_rng(3).standard_normal((48, 64)).astype(np.float32)
    weight[5] = 0
    matrix = to_int8(weight)
    restored = matrix.restored()
    assert (np.abs(restored - weight) <= matrix.scales[:, None] * 0.5 + 1e-7).all()
    assert np.abs(matrix.values).max() == 127


def test_turning_the_coordinates_changes_nothing(source: Source, engine: Engine) -> None:
    tokens = engine.tokenizer.encode(TEXT)[:64]
    assert np.allclose(forward(RotatedSource(source), tokens), forward(source, tokens), atol=2e-3)


@pytest.mark.parametrize("size", [64, 96, 576, 3072])
def test_a_rotation_is_orthogonal(size: int) -> None:
    matrix = Rotation(size, np.random.default_rng(1)).apply(np.eye(size, dtype=np.float32))
    assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-5)
    assert np.abs(matrix).max() < 1  # every channel is spread over others


def test_a_rotation_applied_across_is_the_same_one() -> None:
    columns = np.random.default_rng(2).standard_normal((96, 700)).astype(np.float32)
    rotation = Rotation(96, np.random.default_rng(1))
    assert np.allclose(rotation.apply_across(columns), rotation.apply(columns.T).T, atol=1e-5)


def test_turned_weights_lose_less_than_half_of_what_plain_rounding_loses(
    source: Source, engine: Engine, tmp_path: Path
) -> None:
    """On real code; `python -m evaluation.quality` prints the losses themselves."""
    write_graph(source, tmp_path, format="int8", target="cpu", on_tensor=lambda name, error: None)
    plain = Model(tmp_path, engine.manifest)
    losses_of = {"plain": 0.0, "turned": 0.0, "exact": 0.0}
    for module in (textwrap, statistics, shelve):
        tokens = engine.tokenizer.encode(Path(module.__file__).read_text(encoding="utf-8"))[200:584]
        for name, logits in (
            ("plain", plain.run(plain.new_slot(512), tokens, range(len(tokens)))),
            ("turned", engine._model.run(engine._model.new_slot(512), tokens, range(len(tokens)))),
            ("exact", forward(source, tokens)),
        ):
            losses_of[name] += losses(logits, tokens).mean() / 3
    assert losses_of["turned"] - losses_of["exact"] < (losses_of["plain"] - losses_of["exact"]) / 2 + 0.003
