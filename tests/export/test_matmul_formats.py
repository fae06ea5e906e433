"""Every format computes the model, within its precision: on small random models of every kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engine.model_folders.manifest import Manifest, PromptFormat
from engine.runtime.session import Model
from export.architecture import ExportError
from export.graph import decoder
from export.graph.decoder import FORMATS, Format, Target, write_graph
from export.quantization.quantize import error_order, to_int4
from export.quantization.rotate import RotatedSource
from export.weights import matrices
from export.weights.forward import logits
from tests.export.small import KINDS, LLAMA, RandomSource, parameters_of

TOKENS = np.random.default_rng(5).integers(0, LLAMA.vocabulary, (2, 48))
GPTQ_TOKENS = np.random.default_rng(6).integers(0, LLAMA.vocabulary, (8, 64))
EVERY = [(format, target) for target, formats in FORMATS.items() for format in formats]

# How far logits may be from float32 ones, root of the mean square, as a share of the logits' spread.
TOLERANCE = {"fp32": 1e-5, "fp16": 0.003, "int8": 0.03, "int4": 0.2}


def load(folder: Path, source: RandomSource, *, half: bool = False) -> Model:
    architecture = source.architecture
    fields: dict[str, object] = {field.name: "" for field in dataclasses.fields(Manifest)}
    fields |= {name: getattr(architecture, name) for name in ("layers", "heads", "kv_heads", "head_size", "vocabulary")}
    fields |= {"prompt": PromptFormat("plain", None, None, None, None, (), token_healing=True)}
    return Model(folder, Manifest(**fields), threads=1)  # type: ignore[arg-type]


def run(model: Model, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """All logits, in three runs: prefill after a cached state is part of the claim."""
    slot = model.new_slot(len(tokens))
    parts = (tokens[:20], tokens[20:21], tokens[21:])
    return np.concatenate([model.run(slot, part.tolist(), range(len(part))) for part in parts])


def write(source: RandomSource, folder: Path, format: Format, target: Target) -> dict[str, float]:
    errors: dict[str, float] = {}
    quantized = format in ("int8", "int4")
    write_graph(
        RotatedSource(source) if quantized else source,
        folder,
        format=format,
        target=target,
        on_tensor=errors.__setitem__,
        gptq_tokens=GPTQ_TOKENS if format == "int4" else None,
    )
    return errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("format", "target"), EVERY)
def test_logits_are_those_of_the_forward_pass(format: Format, target: Target, kind: str, tmp_path: Path) -> None:
    source = RandomSource(KINDS[kind])
    errors = write(source, tmp_path, format, target)
    assert len(errors) == source.architecture.layers * 4 + 1
    model = load(tmp_path, source)
    for tokens, expected in zip(TOKENS, logits(source, TOKENS), strict=True):
        difference = np.sqrt(np.square(run(model, tokens) - expected).mean()) / expected.std()
        assert difference < TOLERANCE[format]


def test_unsigned_weights_give_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "int8_sums_saturate", lambda: True)  # as a processor without VNNI would be found
    source = RandomSource(LLAMA)
    write(source, tmp_path, "int8", "cpu")
    weights = {one.data_type for one in onnx.load(str(tmp_path / "model.onnx")).graph.initializer if "int8" in one.name}
    assert weights == {onnx.TensorProto.UINT8}
    for tokens, expected in zip(TOKENS, logits(source, TOKENS), strict=True):
        difference = np.sqrt(np.square(run(load(tmp_path, source), tokens) - expected).mean()) / expected.std()
        assert difference < TOLERANCE["int8"]


@pytest.mark.parametrize(("format", "target"), EVERY)
def test_the_graph_is_valid_onnx(format: Format, target: Target, tmp_path: Path) -> None:
    write(RandomSource(LLAMA), tmp_path, format, target)
    model = onnx.load(str(tmp_path / "model.onnx"))
    for node in model.graph.node:
        if node.op_type == "SimplifiedLayerNormalization":  # the runtime registers it among the standard operators
            node.domain = "com.microsoft"
    onnx.checker.check_model(model)
    graph = model.graph
    caches = [value for value in graph.input if value.name.startswith("past_key_values")]
    half = {cache.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16 for cache in caches}
    assert half == {target == "cuda"}
    floats = {
        initializer.data_type
        for initializer in graph.initializer
        if initializer.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    if target == "cuda":
        assert floats == {onnx.TensorProto.FLOAT16}, "a float32 weight makes CUDA cast on every step"


@pytest.mark.parametrize("format", ["fp32", "int8", "int4"])
def test_blocks_of_rows_make_the_same_file(format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = RandomSource(LLAMA)
    files = []
    for name, limit in (("whole", 1 << 26), ("blocks", 1 << 14)):
        monkeypatch.setattr(matrices, "_BLOCK_BYTES", limit)
        source.read.clear()
        (tmp_path / name).mkdir()
        write_graph(source, tmp_path / name, format=format, target="cpu", on_tensor=lambda name, error: None)
        files.append((tmp_path / name / "model.onnx.data").read_bytes())
        assert max(rows * LLAMA.hidden * 4 for name, rows in source.read if "norm" not in name) <= limit
    assert files[0] == files[1]


def test_what_a_target_cannot_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cuda does not run 'int8'; choose one of: fp16, int4"):
        write_graph(RandomSource(LLAMA), tmp_path, format="int8", target="cuda", on_tensor=lambda name, error: None)


@pytest.mark.parametrize("kind", KINDS)
def test_turning_a_model_with_biases_changes_nothing(kind: str) -> None:
    source = RandomSource(KINDS[kind])
    for turned, expected in zip(logits(RotatedSource(source), TOKENS), logits(source, TOKENS), strict=True):
        assert np.allclose(turned, expected, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_with_their_biases(kind: str) -> None:
    source = RandomSource(KINDS[kind])
    assert parameters_of(source) == source.architecture.parameters


@pytest.mark.parametrize("columns", [64, 80, 96])
def test_int4_is_within_a_step(columns: int) -> None:
    weight = np.random.default_rng(3).standard_normal((48, columns)).astype(np.float32)
    weight[5] = 0
    matrix = to_int4(weight)
    restored = matrix.restored(columns)
    assert restored.shape == weight.shape
    assert not restored[5].any()
    steps = matrix.scales.repeat(32, axis=1)[:, :columns]
    assert np.quantile(np.abs(restored - weight) / steps, 0.95) < 0.51  # but for the ends that may be clipped
    assert matrix.values.max() <= 15


@pytest.mark.parametrize("columns", [96, 80, 600])
def test_making_up_for_errors_leaves_outputs_closer(columns: int) -> None:
    random = np.random.default_rng(4)
    inputs = (random.standard_normal((2000, 40)) @ random.standard_normal((40, columns))).astype(np.float32)
    inputs += random.standard_normal(inputs.shape).astype(np.float32) / 2
    weight = random.standard_normal((32, columns)).astype(np.float32)
    expected = inputs @ weight.T
    plain = inputs @ to_int4(weight).restored(columns).T
    compensated = inputs @ to_int4(weight, order=error_order(inputs)).restored(columns).T
    assert np.square(compensated - expected).mean() < np.square(plain - expected).mean() / 2


def test_the_error_order_is_the_factor_of_the_inverse() -> None:
    inputs = np.random.default_rng(4).standard_normal((2000, 600)).astype(np.float32)
    moments = inputs.T @ inputs
    moments[np.diag_indices_from(moments)] += 0.01 * np.diag(moments).mean()
    order = error_order(inputs)
    assert order.shape == (608, 608), "filled up to whole blocks"
    assert not np.tril(order, -1).any()
    order = order[:600, :600]
    assert np.allclose(order.T @ order @ moments, np.eye(600), atol=1e-3)
