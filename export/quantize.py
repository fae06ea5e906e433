"""Weights to 8 bits: one scale an output channel, round to nearest. The arithmetic only; the graph is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """`weight` is approximately `values.T * scales[:, None]`."""

    values: NDArray[np.int8]
    """`[in, out]`, as the integer matrix product wants it."""
    scales: NDArray[np.float32]
    """`[out]`."""
    error: float
    """Root of the mean squared error, relative to the root mean square of the weights."""


def to_int8(weight: NDArray[np.float32], *, largest: int = 127) -> Int8Matrix:
    """Quantize `[out, in]` weights symmetrically; `largest` below 127 leaves headroom on CPUs whose sums saturate."""
    scales = np.abs(weight).max(axis=1) / largest
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    values = np.rint(weight / scales[:, None])
    error = np.sqrt(np.mean((values * scales[:, None] - weight) ** 2) / max(float(np.mean(weight**2)), 1e-20))
    return Int8Matrix(np.ascontiguousarray(values.astype(np.int8).T), scales, float(error))
