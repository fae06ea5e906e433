"""The decoder's forward pass in numpy, float32: the reference for graphs, and the source of GPTQ data.

Only one layer's weights are needed at a time, so it works for models that do not fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from export.architecture import Architecture
from export.sources import Floats, Source
from export.weights import matrices
from export.weights.matrices import Matrix
from export.weights.rope import rotary_caches

Steps = Generator[tuple[Matrix, Floats], Floats, None]
"""Yields each matrix with its inputs `[n, columns]`, and is sent their product `[n, rows]`, without the bias."""


def steps_of(source: Source, tokens: NDArray[np.int64]) -> Steps:
    """Run sequences `[sequences, length]` through the model; the caller multiplies the matrices."""
    architecture = source.architecture
    sequences, length = tokens.shape
    cosines, sines = rotary_caches(architecture, length)

    def norm(x: Floats, name: str) -> Floats:
        scale = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + architecture.norm_epsilon)
        return np.asarray(x * scale * source.tensor(name), np.float32)

    def biased(matrix: Matrix, product: Floats) -> Floats:
        return product + matrix.bias() if matrix.biased else product

    x = np.concatenate([source.tensor("model.embed_tokens.weight", slice(t, t + 1)) for t in tokens.ravel().tolist()])
    for layer in range(architecture.layers):
        matrix = matrices.qkv(source, layer)
        projected = biased(matrix, (yield matrix, norm(x, f"model.layers.{layer}.input_layernorm.weight")))
        attended = np.concatenate(
            [_attention(architecture, part, cosines, sines) for part in projected.reshape(sequences, length, -1)]
        )
        matrix = matrices.out(source, layer)
        x = x + biased(matrix, (yield matrix, attended))
        matrix = matrices.gate_up(source, layer)
        normed = norm(x, f"model.layers.{layer}.post_attention_layernorm.weight")
        gate, up = np.split(biased(matrix, (yield matrix, normed)), 2, axis=1)
        matrix = matrices.down(source, layer)
        x = x + biased(matrix, (yield matrix, gate / (1 + np.exp(-gate)) * up))
    yield matrices.head(source), norm(x, "model.norm.weight")


def head_inputs(source: Source, tokens: NDArray[np.int64]) -> Floats:
    """Run sequences `[sequences, length]` up to the head; returns its inputs, `[sequences, length, hidden]`."""
    steps = steps_of(source, tokens)
    matrix, inputs = next(steps)
    while matrix.name != "lm_head":
        matrix, inputs = steps.send(matrix.product(inputs))
    return inputs.reshape(*tokens.shape, -1)


def logits(source: Source, tokens: NDArray[np.int64]) -> Iterator[Floats]:
    """Yield the logits `[length, vocabulary]` of each of some sequences `[sequences, length]`."""
    for inputs in head_inputs(source, tokens):
        yield matrices.head(source).product(inputs)


def _attention(architecture: Architecture, projected: Floats, cosines: Floats, sines: Floats) -> Floats:
    """Causal attention of one sequence, from `[length, query + key + value]` to `[length, query]`."""
    length, size = len(projected), architecture.head_size
    q, k, v = np.split(projected, [architecture.query_size, architecture.query_size + architecture.kv_size], axis=1)

    def turned(x: Floats) -> Floats:
        first, second = np.split(x.reshape(length, -1, size).swapaxes(0, 1), 2, axis=-1)
        return np.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)

    group = architecture.heads // architecture.kv_heads
    queries, keys = turned(q), turned(k).repeat(group, axis=0)  # [heads, length, size]
    values = v.reshape(length, -1, size).swapaxes(0, 1).repeat(group, axis=0)
    scores = queries @ keys.swapaxes(1, 2) / np.float32(math.sqrt(size))
    scores = scores + np.triu(np.full((length, length), -np.inf, np.float32), 1)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.ascontiguousarray((shares @ values).swapaxes(0, 1).reshape(length, -1), np.float32)
