"""Small models as real files: random weights as safetensors folders and as GGUF, written apart from our readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from evaluation.harness.checkpoint import config_of
from evaluation.harness.gguf_weights import add_shape, permuted
from export.architecture import Architecture, RopeScaling, tensor_shapes
from export.sources.random_weights import synthetic_tokenizer

Weights = dict[str, NDArray[np.float32]]

PLAIN = Architecture("LlamaForCausalLM", 2, 64, 128, 4, 4, 16, 320, 512, 10000.0, 1e-6, False)
VARIANTS: dict[str, Architecture] = {
    "ungrouped": PLAIN,
    "grouped and tied": Architecture("LlamaForCausalLM", 2, 64, 128, 4, 2, 16, 320, 512, 100000.0, 1e-5, True),
    "wide heads": Architecture("LlamaForCausalLM", 1, 64, 96, 2, 1, 64, 320, 512, 10000.0, 1e-6, False),
    "llama with biases": Architecture(
        "LlamaForCausalLM", 2, 64, 128, 4, 2, 16, 320, 512, 10000.0, 1e-6, False, True, True, True
    ),
    "qwen2": Architecture("Qwen2ForCausalLM", 2, 64, 128, 4, 2, 16, 320, 512, 1000000.0, 1e-6, True, True),
    "linear rope": Architecture(
        "LlamaForCausalLM",
        2,
        64,
        128,
        4,
        4,
        16,
        320,
        512,
        10000.0,
        1e-6,
        False,
        rope_scaling=RopeScaling("linear", 4.0),
    ),
    "llama3 rope": Architecture(
        "LlamaForCausalLM",
        *(2, 64, 128, 4, 2, 16, 320, 512, 500000.0, 1e-5, False),
        rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 64),
    ),
}


def random_weights(architecture: Architecture, seed: int = 1) -> Weights:
    """Draw weights whose activations neither vanish nor explode; all of them fit bfloat16 exactly."""
    random = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        values = random.standard_normal(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.1) + ("norm" in name)
        return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)

    return {name: draw(name, shape) for name, shape in tensor_shapes(architecture)}


def safetensors_bytes(weights: Mapping[str, NDArray[np.float32]], dtype: str = "BF16") -> bytes:
    """Spell tensors as a safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in weights.items():
        stored = {
            "F32": lambda values: values.tobytes(),
            "F16": lambda values: values.astype(np.float16).tobytes(),
            "BF16": lambda values: (values.view(np.uint32) >> 16).astype(np.uint16).tobytes(),
        }[dtype](np.ascontiguousarray(values))
        offsets = [len(data), len(data) + len(stored)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        data += stored
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def write_folder(
    folder: Path,
    architecture: Architecture,
    weights: Weights,
    *,
    shards: int = 1,
    dtype: str = "BF16",
    tokenizer: Tokenizer | None = None,
) -> Path:
    """Write a model's folder as the hub has it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(architecture)))
    (tokenizer or synthetic_tokenizer(architecture.vocabulary)).save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\n# A small model\n")
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(weights, dtype))
        return folder
    places: dict[str, str] = {}
    names = list(weights)
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        (folder / file).write_bytes(safetensors_bytes(part, dtype))
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def quantized(values: NDArray[np.float32], kind: gguf.GGMLQuantizationType) -> NDArray[np.generic]:
    """Quantize; the kinds that gguf only reads get random blocks of the right shape instead."""
    scales = {gguf.GGMLQuantizationType.Q4_K: slice(0, 4), gguf.GGMLQuantizationType.Q6_K: slice(-2, None)}
    if kind not in scales:
        return gguf.quants.quantize(values, kind)
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    rows, blocks = values.shape[0], values.shape[1] // block
    data = np.random.default_rng(rows).integers(0, 256, (rows, blocks, block_bytes), np.uint8)
    scale = np.array([0.001, 0.002], np.float16).view(np.uint8)
    data[..., scales[kind]] = scale[: 4 if kind == gguf.GGMLQuantizationType.Q4_K else 2]
    return data.reshape(rows, -1)


def write_gguf(
    path: Path,
    architecture: Architecture,
    weights: Weights,
    *,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    head_kind: gguf.GGMLQuantizationType | None = None,
    name: str = "A small model",
) -> Path:
    """Write a GGUF file as llama.cpp's converter does: query and key rows of Llama reordered, vectors in float32."""
    family = "qwen2" if architecture.name == "Qwen2ForCausalLM" else "llama"
    writer = gguf.GGUFWriter(str(path), family)
    writer.add_name(name)
    writer.add_license("apache-2.0")
    add_shape(writer, architecture)
    scaling = architecture.rope_scaling
    if scaling is not None and scaling.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
    if scaling is not None and scaling.kind == "llama3":
        from tests.export.forward import rotary_frequencies

        plain = architecture.rope_theta ** -(np.arange(0, architecture.head_size, 2) / architecture.head_size)
        writer.add_tensor("rope_freqs.weight", (plain / rotary_frequencies(architecture)).astype(np.float32))
    vocabulary = synthetic_tokenizer(architecture.vocabulary).get_vocab()
    tokens = ["Ġw" if token == "Ġw0" else token for token in sorted(vocabulary, key=vocabulary.__getitem__)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("mellum")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges(["Ġ w"])
    kinds = gguf.MODEL_ARCH.QWEN2 if family == "qwen2" else gguf.MODEL_ARCH.LLAMA
    names = gguf.get_tensor_name_map(kinds, architecture.layers)
    for tensor, values in weights.items():
        if family == "llama" and any(part in tensor for part in ("q_proj", "k_proj")):
            values = permuted(values, architecture.head_size)
        matrix_kind = head_kind if head_kind is not None and tensor.startswith("lm_head") else kind
        stored = matrix_kind if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        known = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        assert known is not None
        writer.add_tensor(known, quantized(np.ascontiguousarray(values), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
