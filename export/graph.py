"""The decoder as an ONNX graph, written one tensor at a time so that a large model needs little memory.

The graph, for S new tokens of which the K at `logit_positions` are asked for their logits:

    input_ids int64[1, S], logit_positions int64[K], seqlens_k int32[1], total_sequence_length int32[]
    past_key_values.{layer}.{key,value} float32[1, kv_heads, capacity, head_size]
      -> logits float32[1, K, vocabulary], present.{layer}.{key,value} (bind to the same memory as past)

Attention is one GroupQueryAttention node a layer, with the rotary embedding inside and keys and values written in
place; nothing is concatenated or copied from step to step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.quantize import to_int8
from export.rope import rotary_caches
from export.sources import Floats, Source

OPSET, IR_VERSION = 21, 10
DATA_FILE = "model.onnx.data"
MICROSOFT = "com.microsoft"

_PAGE, _PAGE_FROM = 65536, 1 << 20  # large tensors start on a page, so that the runtime can map them (Windows: 64 KB)

OnTensor = Callable[[str, float], None]
"""Told of every matrix written: its name, and the relative error that quantization made."""


class GraphWriter:
    """Collects nodes in memory and streams initializers to the data file beside the graph."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add an initializer once; small ones go into the graph itself, large ones to the data file."""
        if name in self._names:
            return name
        self._names.add(name)
        if values.nbytes < 1024:
            self._initializers.append(onnx.numpy_helper.from_array(values, name))
            return name
        alignment = _PAGE if values.nbytes >= _PAGE_FROM else 64
        self._data.write(b"\0" * (-self._data.tell() % alignment))
        tensor = TensorProto(name=name, dims=values.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        for key, value in (("location", DATA_FILE), ("offset", self._data.tell()), ("length", values.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(np.ascontiguousarray(values).data)
        self._initializers.append(tensor)
        return name

    def node(
        self, operator: str, inputs: list[str], name: str, *, outputs: list[str] | None = None, **attributes: object
    ) -> str:
        """Add a node; returns its (first) output's name, which is `name` where none are given."""
        domain = str(attributes.pop("domain", ""))
        outputs = outputs or [name]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def save(self, path: Path, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> None:
        """Write the graph itself; the data file is already there."""
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mellum-lsp")
        onnx.save(model, str(path))


class _Decoder:
    """One Llama decoder in int8: per-token activations of 8 bits times per-channel weights of 8 bits."""

    def __init__(self, writer: GraphWriter, source: Source, largest: int, on_tensor: OnTensor) -> None:
        self.writer, self.source, self.largest, self.on_tensor = writer, source, largest, on_tensor

    def write(self) -> None:
        writer, architecture = self.writer, self.source.architecture
        writer.constant("one_127th", np.array(1 / 127, np.float32))
        writer.constant("zero_point", np.array(128, np.uint8))
        writer.constant("tiny", np.array(1e-8, np.float32))
        writer.constant("last_axis", np.array([-1], np.int64))
        cosines, sines = rotary_caches(architecture)
        writer.constant("cos_cache", cosines)
        writer.constant("sin_cache", sines)
        embeddings = self.source.tensor("model.embed_tokens.weight")
        writer.constant("embeddings", embeddings.astype(np.float16))
        half = writer.node("Gather", ["embeddings", "input_ids"], "embedded_half")
        residual = writer.node("Cast", [half], "embedded", to=TensorProto.FLOAT)
        first = self._vector("model.layers.0.input_layernorm.weight")
        normed = writer.node(
            "SimplifiedLayerNormalization", [residual, first], "layer0.in", epsilon=architecture.norm_epsilon, axis=-1
        )
        for layer in range(architecture.layers):
            normed, residual = self._layer(layer, normed, residual)
        wanted = writer.node("Gather", [normed, "logit_positions"], "wanted", axis=1)
        head = self.source.tensor("lm_head.weight")
        self._product("lm_head", self._quantized(wanted, "wanted"), head, output="logits")

    def _layer(self, layer: int, normed: str, residual: str) -> tuple[str, str]:
        """One layer; returns the next norm's output and the residual stream, both `[1, S, hidden]`."""
        writer, architecture, name = self.writer, self.source.architecture, f"layer{layer}"

        def tensor(rest: str) -> Floats:
            return self.source.tensor(f"model.layers.{layer}.{rest}.weight")

        qkv = self._product(
            f"{name}.qkv",
            self._quantized(normed, f"{name}.in"),
            np.concatenate([tensor("self_attn.q_proj"), tensor("self_attn.k_proj"), tensor("self_attn.v_proj")]),
        )
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
        mixed = self._product(f"{name}.out", self._quantized(attended, f"{name}.attended"), tensor("self_attn.o_proj"))
        normed, residual = self._norm(mixed, residual, f"model.layers.{layer}.post_attention_layernorm.weight", name)
        gate_up = self._product(
            f"{name}.gate_up",
            self._quantized(normed, f"{name}.mid"),
            np.concatenate([tensor("mlp.gate_proj"), tensor("mlp.up_proj")]),
        )
        writer.node("Split", [gate_up], f"{name}.split", outputs=[f"{name}.gate", f"{name}.up"], axis=-1, num_outputs=2)
        silu = writer.node("QuickGelu", [f"{name}.gate"], f"{name}.silu", domain=MICROSOFT, alpha=1.0)
        inner = writer.node("Mul", [silu, f"{name}.up"], f"{name}.inner")
        down = self._product(f"{name}.down", self._quantized(inner, f"{name}.inner"), tensor("mlp.down_proj"))
        last = layer + 1 == architecture.layers
        gamma = "model.norm.weight" if last else f"model.layers.{layer + 1}.input_layernorm.weight"
        return self._norm(down, residual, gamma, f"{name}.next")

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
        return self.writer.constant(name, self.source.tensor(name))

    def _quantized(self, activations: str, name: str) -> tuple[str, str]:
        """Activations `[1, S, n]` as uint8 around 128, and each token's largest magnitude `[1, S, 1]`."""
        writer = self.writer
        magnitudes = writer.node("Abs", [activations], f"{name}.abs")
        largest = writer.node("ReduceMax", [magnitudes, "last_axis"], f"{name}.max", keepdims=1)
        safe = writer.node("Max", [largest, "tiny"], f"{name}.scale")
        unit = writer.node("Div", [activations, safe], f"{name}.unit")
        return writer.node("QuantizeLinear", [unit, "one_127th", "zero_point"], f"{name}.uint8"), safe

    def _product(self, name: str, quantized: tuple[str, str], weight: Floats, output: str = "") -> str:
        """Multiply quantized activations with `[out, in]` weights, back in float32."""
        matrix = to_int8(weight, largest=self.largest)
        self.on_tensor(name, matrix.error)
        values = self.writer.constant(f"{name}.int8", matrix.values)
        scales = self.writer.constant(f"{name}.scales", matrix.scales)
        activations, largest = quantized
        unscaled = self.writer.node(
            "MatMulIntegerToFloat",
            [activations, values, "one_127th", scales, "zero_point"],
            f"{name}.unscaled",
            domain=MICROSOFT,
        )
        return self.writer.node("Mul", [unscaled, largest], output or f"{name}.product")


def write_int8(source: Source, folder: Path, *, largest: int, on_tensor: OnTensor) -> None:
    """Write `model.onnx` and its data file into `folder`, from weights that are read one matrix at a time."""
    architecture = source.architecture
    with (folder / DATA_FILE).open("wb") as data:
        writer = GraphWriter(data)
        _Decoder(writer, source, largest, on_tensor).write()
    value = helper.make_tensor_value_info
    cache_shape = [1, architecture.kv_heads, "capacity", architecture.head_size]
    caches = {
        when: [
            value(f"{when}.{layer}.{what}", TensorProto.FLOAT, cache_shape)
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
    logits = value("logits", TensorProto.FLOAT, [1, "wanted", architecture.vocabulary])
    writer.save(folder / "model.onnx", [*inputs, *caches["past_key_values"]], [logits, *caches["present"]])
