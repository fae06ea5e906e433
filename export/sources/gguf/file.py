"""Weights from a GGUF file, dequantized row by row under the names of transformers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np
from tokenizers import Tokenizer

from export.architecture import Architecture, ExportError, RopeScaling, tensor_shapes
from export.sources.files.flat_file import FlatFile, StoredTensor
from export.sources.files.tokenizer_file import read_tokenizer
from export.sources.gguf.header import READABLE, read_header
from export.sources.gguf.tokenizer import tokenizer_from_gguf
from export.sources.source import Floats, Opened, span

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""By a module's name in transformers, the one in GGUF files."""
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}

_COMPARED, _ALIKE = 256, 0.1  # rows; squared errors of two quantizations of one matrix, relative to it
_FEW_BITS = 7.5

_Value = TypeVar("_Value", int, float, str)


class GgufSource(Opened):
    """A GGUF file of the llama or qwen2 architecture. Tensors are read on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = FlatFile(path)
        try:
            header = read_header(self._file)
            self._metadata, self._tensors = header.metadata, header.tensors
            self._embeddings = "token_embd.weight"
            self.architecture = self._architecture()
            self._check()
            self._tie()
        except BaseException:
            self._file.close()
            raise
        self.license = self._value("general.license", str, "unknown")
        self.description = self._value("general.name", str, path.stem)
        self.revision: str | None = None

    @property
    def quantized(self) -> str:
        """The type of most matrices, if it has far fewer than 8 bits a weight; else empty."""
        kinds = Counter(one.dtype for one in self._tensors.values() if len(one.shape) == 2)
        most = kinds.most_common(1)[0][0]
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[most]]
        return most if 8 * size / block < _FEW_BITS else ""

    @property
    def finetune(self) -> str:
        """What it says that it was tuned for, such as `Instruct`."""
        return self._value("general.finetune", str, "")

    def field(self, key: str, default: Any = None) -> Any:
        """Read a metadata value; without a default a missing key is an error that names it."""
        value = self._metadata.get(key, default)
        if value is None:
            raise ExportError(f"The GGUF file has no {key!r}; it is incomplete, get it again")
        return value

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read and dequantize rows of a tensor; see `Source`."""
        if name == "lm_head.weight" and self.architecture.tied_embeddings:
            name = "model.embed_tokens.weight"
        stored = self._stored(name)
        heads = {"q_proj": self.architecture.heads, "k_proj": self.architecture.kv_heads}
        permuted = heads.get(name.split(".")[-2], 0) if self.architecture.name == "LlamaForCausalLM" else 0
        if len(stored.shape) == 1:
            values = self._rows(stored, 0, 1)[0]
            return (_unpermuted(values, self.architecture.head_size) if permuted else values)[rows]
        start, stop = span(rows, stored.shape[0])
        if not permuted:
            return self._rows(stored, start, stop)
        size = self.architecture.head_size
        first, last = start // size * size, -(-stop // size) * size  # rows move within their head only
        return _unpermuted(self._rows(stored, first, last), size)[start - first : stop - first]

    def tokenizer(self, reserved: tuple[str, ...] = ()) -> Tokenizer:
        """A `tokenizer.json` beside the file, else the file's own vocabulary; see `tokenizer_from_gguf`."""
        beside = self._path.with_name("tokenizer.json")
        if beside.is_file() and not reserved:
            return read_tokenizer(beside)
        return tokenizer_from_gguf(self.field, reserved=reserved)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rows(self, stored: StoredTensor, start: int, stop: int) -> Floats:
        """Rows `[stop - start, columns]`; a vector is one row."""
        data = self._file.read(stored.offset + start * stored.row_bytes, (stop - start) * stored.row_bytes)
        if not data.size:
            return np.zeros((stop - start, stored.shape[-1]), np.float32)
        kind = gguf.GGMLQuantizationType[stored.dtype]
        values: Floats = gguf.quants.dequantize(data.reshape(stop - start, stored.row_bytes), kind)
        return values.astype(np.float32, copy=False)

    def _stored(self, name: str) -> StoredTensor:
        prefix, kind = "", name.rsplit(".", 1)[-1]
        module = name.removesuffix(f".{kind}")
        if module.startswith("model.layers."):
            layer, module = module.removeprefix("model.layers.").split(".", 1)
            prefix = f"blk.{layer}."
        stored = self._embeddings if module == "model.embed_tokens" else f"{prefix}{NAMES[module]}.{kind}"
        if stored not in self._tensors:
            raise ExportError(f"The GGUF file has no tensor {stored!r}; it is incomplete, get it again")
        return self._tensors[stored]

    def _check(self) -> None:
        """Check that every tensor exists in the shape that the metadata say, and that its type can be read."""
        if self.architecture.layers > len(self._tensors):
            raise ExportError(
                f"{self._file.name} says it has {self.architecture.layers} layers but lacks their tensors"
            )
        for name, shape in tensor_shapes(self.architecture):
            stored = self._stored(name)
            if stored.shape != shape:
                raise ExportError(
                    f"{name} has the shape {list(stored.shape)} and the file's metadata say {list(shape)}; get it again"
                )
            if stored.dtype not in READABLE:
                raise ExportError(f"{name} is stored as {stored.dtype}; choose a file of: {', '.join(READABLE)}")
        if unknown := [
            name for name in self._tensors if name.endswith(("_norm.bias", "q_norm.weight", "k_norm.weight"))
        ]:
            raise ExportError(f"The tensor {unknown[0]!r} is none of a {self.architecture.name}; it cannot be exported")

    def _tie(self) -> None:
        """Find out whether the head repeats the embeddings, as converters write it, and then read both from one.

        They may be quantized differently; the one with more bits is read. Matrices that are not tied have nothing in
        common.
        """
        head, embeddings = self._tensors.get("output.weight"), self._tensors["token_embd.weight"]
        if head is None:
            return
        squares = differences = 0.0
        for row in np.linspace(0, head.shape[0] - 1, _COMPARED).astype(int).tolist():
            one, other = (self._rows(stored, row, row + 1).astype(np.float64) for stored in (head, embeddings))
            with np.errstate(over="ignore", invalid="ignore"):  # a damaged file may hold anything
                squares += float((one * one).sum())
                differences += float(((one - other) ** 2).sum())
        if differences <= _ALIKE * squares:
            self.architecture = replace(self.architecture, tied_embeddings=True)
            if head.row_bytes > embeddings.row_bytes:
                self._embeddings = "output.weight"

    def _architecture(self) -> Architecture:
        family = self._value("general.architecture", str)
        if family not in _CLASSES:
            raise ExportError(
                f"{self._file.name} holds the architecture {family!r:.40}; only 'llama' and 'qwen2' can be "
                "exported from GGUF; for others give the original safetensors and --via optimum"
            )

        def number(key: str, default: int | None = None) -> int:
            value = self._value(f"{family}.{key}", int, default)
            if not 1 <= value <= 1 << 24:
                raise ExportError(f"The GGUF file's {family}.{key} is {value}; get the file again")
            return value

        for key in ("expert_count", "attention.sliding_window"):
            if self._metadata.get(f"{family}.{key}"):
                kind = "a mixture of experts" if key == "expert_count" else "a model of sliding windows"
                raise ExportError(f"{self._file.name} is {kind}, which cannot be exported; choose a dense model")
        hidden, heads = number("embedding_length"), number("attention.head_count")
        head_size = number("attention.key_length", max(hidden // heads, 1))
        if number("rope.dimension_count", head_size) != head_size:
            raise ExportError(f"{self._file.name} turns only a part of each head, which cannot be exported")
        embeddings = self._tensors.get("token_embd.weight")
        if embeddings is None:
            raise ExportError("The GGUF file has no tensor 'token_embd.weight'; it is incomplete, get it again")
        return Architecture(
            name=_CLASSES[family],
            layers=number("block_count"),
            hidden=hidden,
            intermediate=number("feed_forward_length"),
            heads=heads,
            kv_heads=number("attention.head_count_kv", heads),
            head_size=head_size,
            vocabulary=embeddings.shape[0],
            context=number("context_length"),
            rope_theta=self._value(f"{family}.rope.freq_base", float, 10000.0),
            norm_epsilon=self._value(f"{family}.attention.layer_norm_rms_epsilon", float),
            tied_embeddings="output.weight" not in self._tensors,
            qkv_bias="blk.0.attn_q.bias" in self._tensors,
            output_bias="blk.0.attn_output.bias" in self._tensors,
            mlp_bias="blk.0.ffn_gate.bias" in self._tensors,
            rope_scaling=self._rope_scaling(family, head_size),
        )

    def _rope_scaling(self, family: str, head_size: int) -> RopeScaling | None:
        if factors := self._tensors.get("rope_freqs.weight"):
            if factors.shape != (head_size // 2,) or factors.dtype != "F32":
                raise ExportError("The GGUF file's rope_freqs.weight has an unexpected shape; get the file again")
            return RopeScaling("factors", factors=tuple(self._rows(factors, 0, 1)[0].tolist()))
        kind = self._value(f"{family}.rope.scaling.type", str, "none")
        factor = self._value(f"{family}.rope.scaling.factor", float, 1.0)
        factor = self._value(f"{family}.rope.scale_linear", float, factor)  # its name in older files
        if kind == "linear" or (kind == "none" and factor != 1.0):
            return RopeScaling("linear", factor=factor)
        if kind != "none":
            raise ExportError(
                f"{self._file.name} scales its rotary embedding by {kind!r:.40}, which cannot be exported"
            )
        return None

    def _value(self, key: str, kind: type[_Value], default: _Value | None = None) -> _Value:
        """Read one value of a known type."""
        value = self.field(key, default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (isinstance(value, float) and not np.isfinite(value)):
            raise ExportError(f"The GGUF file's {key} is {value!r:.40}; get the file again")
        return value


def _unpermuted(values: Floats, size: int) -> Floats:
    """Undo llama.cpp's reordering of query and key rows in heads of `size`: from rotary pairs back to two halves."""
    pairs = values.reshape(-1, size // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
