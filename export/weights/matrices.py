"""The matrices of a decoder: tensors of a source that share an input, multiplied as one and read in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from export.sources import Floats, Source

_BLOCK_BYTES = 64 << 20  # of float32: the part of a matrix in memory, of which quantization makes a few copies


@dataclass(frozen=True, slots=True)
class Matrix:
    """Tensors stacked to `[rows, columns]`; a product takes `[n, columns]` to `[n, rows]`."""

    source: Source
    name: str
    parts: Mapping[str, int]
    """Rows of each tensor, by its name without `.weight`."""
    columns: int
    biased: bool = False

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(self.parts.values())

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Read the matrix from its first to its last row, with the rows' numbers."""
        step, done = max(_BLOCK_BYTES // (4 * self.columns), 1), 0
        for part, rows in self.parts.items():
            for start in range(0, rows, step):
                values = self.source.tensor(f"{part}.weight", slice(start, min(start + step, rows)))
                yield slice(done + start, done + start + len(values)), values
            done += rows

    def bias(self) -> Floats:
        """Read the biases of all rows."""
        return np.concatenate([self.source.tensor(f"{part}.bias") for part in self.parts])

    def product(self, inputs: Floats) -> Floats:
        """Multiply `[n, columns]` in float32, without the bias."""
        return np.concatenate([inputs @ block.T for _, block in self.blocks()], axis=1)


def qkv(source: Source, layer: int) -> Matrix:
    """Query, key and value projection."""
    architecture, prefix = source.architecture, f"model.layers.{layer}.self_attn"
    sizes = {"q": architecture.query_size, "k": architecture.kv_size, "v": architecture.kv_size}
    parts = {f"{prefix}.{which}_proj": size for which, size in sizes.items()}
    return Matrix(source, f"layer{layer}.qkv", parts, architecture.hidden, architecture.qkv_bias)


def out(source: Source, layer: int) -> Matrix:
    """Output projection of the attention."""
    architecture = source.architecture
    parts = {f"model.layers.{layer}.self_attn.o_proj": architecture.hidden}
    return Matrix(source, f"layer{layer}.out", parts, architecture.query_size, architecture.output_bias)


def gate_up(source: Source, layer: int) -> Matrix:
    """Gate and up projection of the MLP."""
    architecture = source.architecture
    parts = {f"model.layers.{layer}.mlp.{which}_proj": architecture.intermediate for which in ("gate", "up")}
    return Matrix(source, f"layer{layer}.gate_up", parts, architecture.hidden, architecture.mlp_bias)


def down(source: Source, layer: int) -> Matrix:
    """Down projection of the MLP."""
    architecture = source.architecture
    parts = {f"model.layers.{layer}.mlp.down_proj": architecture.hidden}
    return Matrix(source, f"layer{layer}.down", parts, architecture.intermediate, architecture.mlp_bias)


def head(source: Source) -> Matrix:
    """From the last norm to the logits."""
    return Matrix(source, "lm_head", {"lm_head": source.architecture.vocabulary}, source.architecture.hidden)


def embeddings(source: Source) -> Matrix:
    """One row for each token; read in blocks like the others, but never multiplied."""
    rows = {"model.embed_tokens": source.architecture.vocabulary}
    return Matrix(source, "embeddings", rows, source.architecture.hidden)
