"""Small random models of every kind that can be exported, as sources."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from export.architecture import Architecture
from export.sources import Floats, tensor_names

LLAMA = Architecture("LlamaForCausalLM", 3, 96, 160, 6, 2, 16, 320, 512, 10000.0, 1e-6, True)
UNGROUPED = dataclasses.replace(LLAMA, heads=4, kv_heads=4, head_size=32, tied_embeddings=False)
QWEN = dataclasses.replace(LLAMA, name="Qwen2ForCausalLM", rope_theta=1e6, qkv_bias=True)
BIASED = dataclasses.replace(LLAMA, qkv_bias=True, output_bias=True, mlp_bias=True)
KINDS = {"grouped": LLAMA, "ungrouped": UNGROUPED, "qwen2": QWEN, "biased": BIASED}


class RandomSource:
    """Weights that follow from their names, with a few large channels, as real models have them."""

    license, description, revision = "none", "random", None

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.read: list[tuple[str, int]] = []
        """Tensors that were asked for, with the rows that were read."""

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        if name == "lm_head.weight" and self.architecture.tied_embeddings:
            name = "model.embed_tokens.weight"
        random = np.random.default_rng(zlib.crc32(name.encode()))
        shape = self._shape(name)
        values = random.standard_normal(shape).astype(np.float32)
        if "norm" in name:
            values = 1 + values / 4
        elif len(shape) == 2:
            values[:, 3] *= 6
            values /= np.sqrt(shape[1]) if "embed" not in name else 1
        self.read.append((name, len(values[rows])))
        return values[rows]

    def _shape(self, name: str) -> tuple[int, ...]:
        a = self.architecture
        matrices = {
            "embed_tokens": (a.vocabulary, a.hidden),
            "lm_head": (a.vocabulary, a.hidden),
            "q_proj": (a.query_size, a.hidden),
            "k_proj": (a.kv_size, a.hidden),
            "v_proj": (a.kv_size, a.hidden),
            "o_proj": (a.hidden, a.query_size),
            "gate_proj": (a.intermediate, a.hidden),
            "up_proj": (a.intermediate, a.hidden),
            "down_proj": (a.hidden, a.intermediate),
        }
        for kind, shape in matrices.items():
            if kind in name:
                return shape if name.endswith("weight") else shape[:1]
        return (a.hidden,)


def parameters_of(source: RandomSource) -> int:
    return sum(source.tensor(name).size for name in tensor_names(source.architecture))
