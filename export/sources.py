"""Where weights come from: a GGUF file, read tensor by tensor as float32 under the names of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
from numpy.typing import NDArray

from export.architecture import Architecture, ExportError

Floats = NDArray[np.float32]


class Source(Protocol):
    """What the pipeline needs of published weights."""

    architecture: Architecture
    license: str
    description: str

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read one tensor, float32, `[out, in]` for matrices, under its transformers name; or some of its rows.

        Where embeddings are tied, `lm_head.weight` is the same as `model.embed_tokens.weight`.
        """


_GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_GGUF_LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


class GgufSource:
    """A GGUF file of the llama architecture. Tensors stay on disk (mapped) until they are asked for."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = gguf.GGUFReader(str(path))
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise ExportError(f"{path.name} cannot be read as GGUF ({error}); get the file again") from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        family = self.field("general.architecture")
        if family != "llama":
            raise ExportError(f"{path.name} holds the architecture {family!r}; only 'llama' can be exported from GGUF")
        self.license = str(self.field("general.license", "unknown"))
        self.description = str(self.field("general.name", path.stem))
        hidden, heads = int(self.field("llama.embedding_length")), int(self.field("llama.attention.head_count"))
        self.architecture = Architecture(
            name="LlamaForCausalLM",
            layers=int(self.field("llama.block_count")),
            hidden=hidden,
            intermediate=int(self.field("llama.feed_forward_length")),
            heads=heads,
            kv_heads=int(self.field("llama.attention.head_count_kv", heads)),
            head_size=int(self.field("llama.attention.key_length", hidden // heads)),
            vocabulary=len(self.field("tokenizer.ggml.tokens")),
            context=int(self.field("llama.context_length")),
            rope_theta=float(self.field("llama.rope.freq_base", 10000.0)),
            norm_epsilon=float(self.field("llama.attention.layer_norm_rms_epsilon")),
            tied_embeddings="output.weight" not in self._tensors,
        )

    def field(self, key: str, default: Any = None) -> Any:
        """Read a metadata value; without a default a missing key is an error that names it."""
        field = self._reader.get_field(key)
        if field is not None:
            return field.contents()
        if default is None:
            raise ExportError(f"The GGUF file has no {key!r}; it is incomplete, get it again")
        return default

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read and dequantize one tensor; see `Source`."""
        if name == "lm_head.weight" and self.architecture.tied_embeddings:
            name = "model.embed_tokens.weight"
        if name in _GGUF_NAMES:
            stored = _GGUF_NAMES[name]
        else:
            layer, rest = name.removeprefix("model.layers.").split(".", 1)
            stored = f"blk.{layer}.{_GGUF_LAYER_NAMES[rest]}"
        if stored not in self._tensors:
            raise ExportError(f"The GGUF file has no tensor {stored!r}; it is incomplete, get it again")
        tensor = self._tensors[stored]
        permuted = name.endswith(("q_proj.weight", "k_proj.weight"))
        data = tensor.data if permuted else tensor.data[rows]
        values: Floats = gguf.quants.dequantize(data, tensor.tensor_type).astype(np.float32, copy=False)
        if permuted:
            heads = self.architecture.heads if "q_proj" in name else self.architecture.kv_heads
            return _unpermute(values, heads)[rows]
        return values

    def close(self) -> None:
        """Let go of the mapped file, so that it can be deleted (Windows refuses while it is mapped)."""
        self._tensors.clear()
        with suppress(AttributeError):
            del self._reader


def _unpermute(weight: Floats, heads: int) -> Floats:
    """Undo llama.cpp's reordering of query and key rows: from interleaved rotary pairs back to two halves."""
    size = weight.shape[0] // heads
    return weight.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def tensor_names(architecture: Architecture) -> Iterator[str]:
    """All tensors of a model, under the names of transformers."""
    yield "model.embed_tokens.weight"
    biased = {"q": architecture.qkv_bias, "k": architecture.qkv_bias, "v": architecture.qkv_bias}
    biased |= {"o": architecture.output_bias} | dict.fromkeys(("gate", "up", "down"), architecture.mlp_bias)
    for layer in range(architecture.layers):
        for rest in _GGUF_LAYER_NAMES:
            yield f"model.layers.{layer}.{rest}"
            if biased.get(rest.split(".")[1].removesuffix("_proj")):
                yield f"model.layers.{layer}.{rest.replace('weight', 'bias')}"
    yield "model.norm.weight"
    if not architecture.tied_embeddings:
        yield "lm_head.weight"
