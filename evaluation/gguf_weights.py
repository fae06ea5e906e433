"""A GGUF file of adapted weights, so that llama.cpp can run what we run: the base's file with other numbers in it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from export.sources import Floats, GgufSource
from export.sources.adapter import AdaptedSource
from export.sources.gguf_file import NAMES

_OWN = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")


def merged(base: Path, adapter: Path, target: Path) -> None:
    """Write a GGUF file of float32 weights: those of `base` with an adapter merged, under the metadata of `base`."""
    reader = gguf.GGUFReader(base)
    family = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, family)
    for name, field in reader.fields.items():
        if not name.startswith(_OWN):
            kind = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=kind)
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


def permuted(values: Floats, size: int) -> Floats:
    """Put the rows of queries and keys in llama.cpp's order, in heads of `size`: from two halves to rotary pairs."""
    halves = values.reshape(-1, 2, size // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
