"""What a shape costs on this machine: a few of its layers, with random weights, are written and run for a moment.

The layers are timed as the engine times a model at load. What a whole model takes is a sum over its layers and its head
(see `export.known_models.predictions`); so nothing is downloaded, and no model is written as a whole.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.devices.integer_sums import int8_sums_saturate
from engine.model_folders.locations import MEASURING, cache_folder
from engine.model_folders.manifest import Manifest, PromptFormat
from engine.runtime.benchmark import benchmark
from engine.runtime.session import Model
from export.architecture import Architecture
from export.graph.decoder import write_graph
from export.graph.matmul_formats import Int4Matmul, Int8Matmul
from export.graph.writer import GraphWriter
from export.make import manifest_of
from export.quantization.quantize import BLOCK
from export.sources.random_weights import RandomSource
from export.weights.matrices import Matrix

ServedFormat = Literal["int8", "int4"]

BYTES = {"int8": 1.0, "int4": 0.5 + (4 + 0.5) / BLOCK}
"""Bytes of a weight in memory, with the scales (float32) and zero points (4 bits) of int4's blocks."""

LARGE = 600_000_000
"""Bytes of a model from which on a few layers are measured in its place, and the whole when it is first served."""

_VOCABULARY = 512  # of the layers that are run: the head is counted apart
_LEAST_BYTES = 100_000_000  # of their weights: far more than a processor's cache keeps from step to step
_PLAIN = PromptFormat("plain", None, None, None, None, (0,), False)
_RANDOM = np.random.default_rng(1)
_ROUNDS, _MOST_ROUNDS = 2, 3
_LEAST_SHARE = 0.8  # of the time that the threads have the processor, for the measurement to be enough


@dataclass(frozen=True, slots=True)
class ShapeCosts:
    """Measured of one layer of a shape in one format."""

    format: ServedFormat
    read: float
    """Seconds to read a token of a prompt."""
    step: float
    """Seconds to write a token."""
    verify: float
    """The time of the widest step that the engine takes, with a draft of 15 tokens, in units of a step of one token."""
    load_byte: float
    """Seconds to load a byte of weights."""
    byte: float
    """Seconds of a step for a byte of weights."""
    share: float = 1.0
    """Of the time, that the threads had the processor: far below 1, other work made all of this slower."""


def measure_shape(shape: Architecture, format: ServedFormat, threads: int) -> ShapeCosts:
    """Run a few layers of a shape. Takes one to three seconds on an idle machine."""
    with written_layers(shape, format) as (folder, manifest):
        started = time.perf_counter()
        model = Model(folder, manifest, threads=threads, provider="cpu")
        loaded = time.perf_counter() - started
        rates, share = [benchmark(model)], 0.0
        while len(rates) < _ROUNDS or (share < _LEAST_SHARE and len(rates) < _MOST_ROUNDS):
            started, computed = time.perf_counter(), time.process_time()
            rates.append(benchmark(model))
            passed = (time.perf_counter() - started) * threads
            share = max(share, (time.process_time() - computed) / passed)
        del model  # Windows cannot delete mapped files
    layer, layers = layer_bytes(shape, format), manifest.layers
    prefill, decode = max(one.prefill for one in rates), max(one.decode for one in rates)
    step = 1 / decode / layers
    return ShapeCosts(
        format=format,
        read=1 / prefill / layers,
        step=step,
        verify=min(one.verify[-1] for one in rates),
        load_byte=loaded / (layers * layer),
        byte=step / layer,
        share=share,
    )


@contextmanager
def written_layers(shape: Architecture, format: ServedFormat) -> Iterator[tuple[Path, Manifest]]:
    """A folder of a few layers of a shape, 100 MB or more, for as long as the block runs. Peak memory: one matrix."""
    layers = max(1, min(shape.layers, -int(-_LEAST_BYTES // layer_bytes(shape, format))))
    few = replace(shape, layers=layers, vocabulary=_VOCABULARY, tied_embeddings=True, context=1024)
    caches = cache_folder()
    caches.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=caches, prefix=f"{MEASURING}{os.getpid()}~", ignore_cleanup_errors=True
    ) as place:
        folder, source = Path(place), RandomSource(few)
        write_graph(
            source,
            folder,
            format=format,
            target="cpu",
            on_tensor=_ignore,
            matmul_format_of=_RandomInt8 if format == "int8" else _RandomInt4,
        )
        yield folder, manifest_of(source, _PLAIN, name="layers", command="", format=format, device="cpu")


def weight_bytes(shape: Architecture, format: ServedFormat) -> float:
    """Bytes of all matrices that a step reads, the head among them."""
    return shape.layers * layer_bytes(shape, format) + head_bytes(shape, format)


def head_bytes(shape: Architecture, format: ServedFormat) -> float:
    """Bytes of the matrix that gives the logits."""
    return shape.vocabulary * shape.hidden * BYTES[format]


def layer_bytes(shape: Architecture, format: ServedFormat) -> float:
    """Bytes of the matrices of one layer."""
    attention = shape.hidden * (2 * shape.query_size + 2 * shape.kv_size)
    return (attention + 3 * shape.hidden * shape.intermediate) * BYTES[format]


def _ignore(name: str, error: float) -> None:
    """No one asks how well random numbers are represented."""


class _RandomInt8:
    """Products of int8 whose weights are random bytes: as fast as those of a model."""

    def __init__(self, writer: GraphWriter) -> None:
        self._writer, self._format = writer, Int8Matmul(writer, int8_sums_saturate(), _ignore)

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write random weights `[in, out]` and their product."""
        values = _bytes(matrix.columns * matrix.rows).reshape(matrix.columns, matrix.rows)
        self._writer.constant(f"{matrix.name}.int8", values.view(self._format.dtype))
        self._writer.constant(f"{matrix.name}.scales", np.full(matrix.rows, _scale(matrix, 74), np.float32))
        return self._format.node(matrix, activations, output)


class _RandomInt4:
    """The same in int4."""

    def __init__(self, writer: GraphWriter) -> None:
        self._writer, self._format = writer, Int4Matmul(writer, np.float32, None, _ignore)

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write random weights in blocks of 32 and their product."""
        groups = -(-matrix.columns // BLOCK)
        values = _bytes(matrix.rows * groups * BLOCK // 2).reshape(matrix.rows, groups, BLOCK // 2)
        self._writer.constant(f"{matrix.name}.int4", values)
        self._writer.constant(f"{matrix.name}.scales", np.full((matrix.rows, groups), _scale(matrix, 4.6), np.float32))
        self._writer.constant(f"{matrix.name}.zero_points", np.full((matrix.rows, -(-groups // 2)), 0x88, np.uint8))
        return self._format.node(matrix, activations, output)


def _scale(matrix: Matrix, deviation: float) -> float:
    """What integers of that standard deviation are multiplied by, so that activations stay in bounds."""
    return float(matrix.columns**-0.5 / deviation)


def _bytes(count: int) -> NDArray[np.uint8]:
    return np.frombuffer(_RANDOM.bytes(count), np.uint8)
