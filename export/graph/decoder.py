"""The decoder as an ONNX graph, written one block of rows at a time so that a large model needs little memory.

The graph, for S new tokens and the logits of the K among them at `logit_positions`:

    input_ids int64[1, S], logit_positions int64[K], seqlens_k int32[1], total_sequence_length int32[]
    past_key_values.{layer}.{key,value} float[1, kv_heads, capacity, head_size]
      -> logits float32[1, K, vocabulary], present.{layer}.{key,value} (bind to the same memory as past)
      and for CUDA likeliest_tokens int64[1, K, 1], likeliest_log_probabilities float32[1, K, 1], so that two numbers a
      row leave the card

Attention is one GroupQueryAttention node a layer, with the rotary embedding inside and keys and values written in
place; nothing is concatenated or copied from step to step. Activations, keys and values are float32, for CUDA float16.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engine.devices.integer_sums import int8_sums_saturate
from engine.runtime.session import PICKED, PICKED_SURELY
from export.architecture import Architecture, ExportError
from export.graph.matmul_formats import Int4Matmul, Int8Matmul, MatmulFormat, OnTensor, PlainMatmul
from export.graph.writer import DATA_FILE, MICROSOFT, GraphWriter
from export.quantization.gptq_data import GptqData
from export.sources import Source
from export.weights import matrices
from export.weights.matrices import Matrix
from export.weights.rope import rotary_caches

Format = Literal["fp32", "fp16", "int8", "int4"]
Target = Literal["cpu", "cuda"]
FORMATS: dict[Target, tuple[Format, ...]] = {"cpu": ("int8", "int4", "fp32"), "cuda": ("fp16", "int4")}
"""The formats of each target, the default first."""


def write_graph(
    source: Source,
    folder: Path,
    *,
    format: Format,
    target: Target,
    on_tensor: OnTensor,
    gptq_tokens: NDArray[np.int64] | None = None,
    matmul_format_of: Callable[[GraphWriter], MatmulFormat] | None = None,
) -> None:
    """Write `model.onnx` and its data file into `folder`, from weights that are read a block of rows at a time.

    `gptq_tokens` `[sequences, length]` of real code guide the rounding of `int4`; without them it is to the nearest.
    `matmul_format_of` writes the matrices in another way than the format does.
    Raises ExportError where the target does not run the format.
    """
    if format not in FORMATS[target]:
        raise ExportError(f"{target} does not run {format!r}; choose one of: {', '.join(FORMATS[target])}")
    half = target == "cuda"
    floats: np.dtype[Any] = np.dtype(np.float16 if half else np.float32)
    with (folder / DATA_FILE).open("wb") as data:
        writer = GraphWriter(data)
        matmul_format: MatmulFormat
        if matmul_format_of is not None:
            matmul_format = matmul_format_of(writer)
        elif format == "int8":
            matmul_format = Int8Matmul(writer, int8_sums_saturate(), on_tensor)
        elif format == "int4":
            gptq_data = None if gptq_tokens is None else GptqData(source, gptq_tokens)
            matmul_format = Int4Matmul(writer, floats, gptq_data, on_tensor)
        else:
            matmul_format = PlainMatmul(writer, floats, on_tensor)
        embeddings: np.dtype[Any] = np.dtype(np.float32 if format == "fp32" else np.float16)
        _Decoder(writer, source, matmul_format, floats, embeddings).write()
    _save(writer, source.architecture, folder, TensorProto.FLOAT16 if half else TensorProto.FLOAT)


class _Decoder:
    """The nodes of one Llama decoder, around the products of a matmul format."""

    def __init__(
        self,
        writer: GraphWriter,
        source: Source,
        matmul_format: MatmulFormat,
        floats: np.dtype[Any],
        embeddings: np.dtype[Any],
    ) -> None:
        self.writer, self.source, self.matmul_format = writer, source, matmul_format
        self.floats, self.embeddings = floats, embeddings

    def write(self) -> None:
        writer, architecture = self.writer, self.source.architecture
        for name, cache in zip(("cos_cache", "sin_cache"), rotary_caches(architecture), strict=True):
            writer.constant(name, cache.astype(self.floats))
        embeddings = matrices.embeddings(self.source)
        rows = (block for _, block in embeddings.blocks())
        writer.stream("embeddings", self.embeddings, (embeddings.rows, embeddings.columns), rows)
        residual = writer.node("Gather", ["embeddings", "input_ids"], "embedded")
        if self.embeddings != self.floats:
            residual = writer.node("Cast", [residual], "embedded.float", to=TensorProto.FLOAT)
        first = self._vector("model.layers.0.input_layernorm.weight")
        normed = writer.node(
            "SimplifiedLayerNormalization", [residual, first], "layer0.in", epsilon=architecture.norm_epsilon, axis=-1
        )
        for layer in range(architecture.layers):
            normed, residual = self._layer(layer, normed, residual)
        wanted = writer.node("Gather", [normed, "logit_positions"], "wanted", axis=1)
        if self.floats == np.float32:
            self._head(wanted, "logits")
        else:
            logits = self._head(wanted, "lm_head.product")
            writer.node("Cast", [logits], "logits", to=TensorProto.FLOAT)
            # a softmax and TopK need no cuDNN there; ArgMax and ReduceLogSumExp do
            surely = writer.node("LogSoftmax", ["logits"], "log_probabilities", axis=-1)
            one = writer.constant("one", np.array([1], np.int64))
            writer.node("TopK", [surely, one], "likeliest", outputs=[PICKED_SURELY, PICKED], axis=-1)

    def _head(self, wanted: str, output: str) -> str:
        """The logits. Tied embeddings are written once where both uses have the same numbers: not if quantized."""
        head, matmul_format = matrices.head(self.source), self.matmul_format
        is_written = self.source.architecture.tied_embeddings and self.embeddings == self.floats
        if is_written and isinstance(matmul_format, PlainMatmul):
            return matmul_format.multiply_by("embeddings", head, wanted, output)
        return matmul_format.multiply(head, wanted, output)

    def _layer(self, layer: int, normed: str, residual: str) -> tuple[str, str]:
        """One layer; returns the next norm's output and the residual stream, both `[1, S, hidden]`."""
        writer, architecture, name = self.writer, self.source.architecture, f"layer{layer}"
        qkv = self._linear(matrices.qkv(self.source, layer), normed)
        past, present = (
            [f"{when}.{layer}.{what}" for what in ("key", "value")] for when in ("past_key_values", "present")
        )
        attended = writer.node(
            "GroupQueryAttention",
            [qkv, "", "", *past, "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"],
            f"{name}.attention",
            outputs=[f"{name}.attended", *present],
            domain=MICROSOFT,
            num_heads=architecture.heads,
            kv_num_heads=architecture.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )
        mixed = self._linear(matrices.out(self.source, layer), attended)
        normed, residual = self._norm(mixed, residual, f"model.layers.{layer}.post_attention_layernorm.weight", name)
        gate_up = self._linear(matrices.gate_up(self.source, layer), normed)
        writer.node("Split", [gate_up], f"{name}.split", outputs=[f"{name}.gate", f"{name}.up"], axis=-1, num_outputs=2)
        silu = writer.node("QuickGelu", [f"{name}.gate"], f"{name}.silu", domain=MICROSOFT, alpha=1.0)
        inner = writer.node("Mul", [silu, f"{name}.up"], f"{name}.inner")
        down = self._linear(matrices.down(self.source, layer), inner)
        last = layer + 1 == architecture.layers
        gamma = "model.norm.weight" if last else f"model.layers.{layer + 1}.input_layernorm.weight"
        return self._norm(down, residual, gamma, f"{name}.next")

    def _linear(self, matrix: Matrix, activations: str) -> str:
        """A product, and its biases where the model has some."""
        product = self.matmul_format.multiply(matrix, activations, f"{matrix.name}.linear")
        if not matrix.biased:
            return product
        bias = self.writer.constant(f"{matrix.name}.bias", matrix.bias().astype(self.floats))
        return self.writer.node("Add", [product, bias], f"{matrix.name}.biased")

    def _norm(self, new: str, residual: str, gamma: str, name: str) -> tuple[str, str]:
        """Add to the residual stream and norm the sum, in one node."""
        outputs = [f"{name}.normed", "", "", f"{name}.residual"]
        self.writer.node(
            "SkipSimplifiedLayerNormalization",
            [new, residual, self._vector(gamma)],
            f"{name}.norm",
            outputs=outputs,
            domain=MICROSOFT,
            epsilon=self.source.architecture.norm_epsilon,
        )
        return outputs[0], outputs[3]

    def _vector(self, name: str) -> str:
        return self.writer.constant(name, self.source.tensor(name).astype(self.floats))


def _save(writer: GraphWriter, architecture: Architecture, folder: Path, floats: TensorProto.DataType) -> None:
    """Declare inputs and outputs, and write the graph itself."""
    value = helper.make_tensor_value_info
    cache_shape = [1, architecture.kv_heads, "capacity", architecture.head_size]
    caches = {
        when: [
            value(f"{when}.{layer}.{what}", floats, cache_shape)
            for layer in range(architecture.layers)
            for what in ("key", "value")
        ]
        for when in ("past_key_values", "present")
    }
    inputs = [
        value("input_ids", TensorProto.INT64, [1, "tokens"]),
        value("logit_positions", TensorProto.INT64, ["wanted"]),
        value("seqlens_k", TensorProto.INT32, [1]),
        value("total_sequence_length", TensorProto.INT32, []),
    ]
    outputs = [value("logits", TensorProto.FLOAT, [1, "wanted", architecture.vocabulary])]
    if floats == TensorProto.FLOAT16:
        outputs += [
            value(PICKED, TensorProto.INT64, [1, "wanted", 1]),
            value(PICKED_SURELY, TensorProto.FLOAT, [1, "wanted", 1]),
        ]
    writer.save(folder / "model.onnx", [*inputs, *caches["past_key_values"]], [*outputs, *caches["present"]])
