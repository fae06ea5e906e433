"""The arithmetic of quantization to 8 and 4 bits; `graph/matmul_formats.py` writes the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from export.sources import Floats

BLOCK = 32
"""The number of 4-bit weights that share a scale and a zero point."""

_LEVELS = 15
_BATCH = 4  # blocks
_SHARES = (1.0, 0.95, 0.9, 0.85)  # of a block's range, for its scale: clipping the ends can leave less error
_DAMPING = 0.01  # of the mean diagonal, as in GPTQ


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """`weight` is approximately `values * scales[:, None]`: one scale an output channel, round to nearest."""

    values: NDArray[np.int8]
    """`[out, in]`."""
    scales: Floats
    """`[out]`."""

    def restored(self) -> Floats:
        """Compute the weights that these numbers represent."""
        return self.values * self.scales[:, None]


def to_int8(weight: Floats) -> Int8Matrix:
    """Quantize `[out, in]` weights symmetrically."""
    scales = np.abs(weight).max(axis=1) / 127
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    return Int8Matrix(np.rint(weight / scales[:, None]).astype(np.int8), scales)


@dataclass(frozen=True, slots=True)
class Int4Matrix:
    """`weight` is approximately `(values - zero_points) * scales`, with one of the latter two for every block of 32."""

    values: NDArray[np.uint8]
    """`[out, blocks, 32]`, 0 to 15."""
    scales: Floats
    """`[out, blocks]`."""
    zero_points: NDArray[np.uint8]
    """`[out, blocks]`, 0 to 15."""

    def restored(self, columns: int) -> Floats:
        """Compute the weights that these numbers represent; the last block may be padded with zeros."""
        shifted = self.values.astype(np.float32) - self.zero_points[:, :, None]
        return (shifted * self.scales[:, :, None]).reshape(len(self.values), -1)[:, :columns]


def to_int4(weight: Floats, *, order: Floats | None = None, scale_type: DTypeLike = np.float32) -> Int4Matrix:
    """Quantize `[out, in]` weights in blocks of 32 inputs.

    With `order` (see `error_order`), the inputs after each input compensate for its error to the degree that they vary
    together (GPTQ, Frantar et al. 2022, arXiv 2210.17323); without it, each weight is rounded to the nearest.
    """
    rows, columns = weight.shape
    blocks = -(-columns // BLOCK)
    remaining = np.zeros((rows, blocks * BLOCK), np.float32)
    remaining[:, :columns] = weight
    values = np.empty((blocks, BLOCK, rows), np.uint8)
    scales, zero_points = np.empty((blocks, rows), np.float32), np.empty((blocks, rows), np.uint8)
    for first in range(0, blocks, _BATCH):
        last = min(first + _BATCH, blocks)
        batch = np.ascontiguousarray(remaining[:, first * BLOCK : last * BLOCK].T)  # an input's weights are contiguous
        errors = np.zeros_like(batch)
        for block in range(first, last):
            start, end = (block - first) * BLOCK, (block - first + 1) * BLOCK
            part = batch[start:end]
            scale, zero = _grid(part, scale_type)
            scales[block], zero_points[block] = scale, zero
            if order is None:
                values[block] = np.clip(np.rint(part / scale + zero), 0, _LEVELS)
                continue
            within = order[block * BLOCK : last * BLOCK, block * BLOCK : last * BLOCK]
            for index in range(BLOCK):
                values[block, index] = quantized = np.clip(np.rint(part[index] / scale + zero), 0, _LEVELS)
                error = (part[index] - (quantized - zero) * scale) / within[index, index]
                part[index + 1 :] -= within[index, index + 1 : BLOCK, None] * error
                errors[start + index] = error
            batch[end:] -= within[:BLOCK, BLOCK:].T @ errors[start:end]
        if order is not None:  # later inputs are adjusted for a whole batch, which is four times as fast
            remaining[:, last * BLOCK :] -= errors.T @ order[first * BLOCK : last * BLOCK, last * BLOCK :]
    return Int4Matrix(
        np.ascontiguousarray(values.transpose(2, 0, 1)),
        np.ascontiguousarray(scales.T),
        np.ascontiguousarray(zero_points.T),
    )


def error_order(inputs: Floats) -> Floats:
    """How inputs `[n, in]` vary together, as GPTQ needs it: the upper Cholesky factor of their moments' inverse.

    It is padded to whole blocks, with inputs that vary alone.
    """
    columns = inputs.shape[1]
    moments = np.zeros([-(-columns // BLOCK) * BLOCK] * 2, np.float32)
    np.matmul(inputs.T, inputs, out=moments[:columns, :columns])
    moments[np.diag_indices_from(moments)] += max(_DAMPING * float(np.mean(np.diag(moments))), 1e-12)
    _factor_of_inverse(moments)
    return moments


def _factor_of_inverse(matrix: Floats) -> None:
    """Replace a symmetric positive matrix A by the upper V with inverse(A) = V.T V, by halves.

    Written out because numpy would take float64, and three times the memory, for each of the two steps. With A = U U.T
    and U upper, V is the inverse of U.
    """
    half = len(matrix) // 2
    if half <= 128:
        matrix[:] = np.linalg.inv(np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1])
        return
    above, across, below = matrix[:half, :half], matrix[:half, half:], matrix[half:, half:]
    _factor_of_inverse(below)
    shared = across @ below.T  # U's
    above -= shared @ shared.T
    _factor_of_inverse(above)
    across[:] = -(above @ shared) @ below
    matrix[half:, :half] = 0


def _grid(part: Floats, scale_type: DTypeLike) -> tuple[Floats, Floats]:
    """Scale and zero point for each output of `[32, out]` weights: of a few ranges, the one with the least error."""
    low, high = np.minimum(part.min(axis=0), 0), np.maximum(part.max(axis=0), 0)
    least = np.full(low.shape, np.inf, np.float32)
    scales, zero_points = np.ones_like(low), np.zeros_like(low)
    for share in _SHARES:
        scale = ((high - low) * np.float32(share / _LEVELS)).astype(scale_type).astype(np.float32)
        scale = np.where(scale > 0, scale, np.float32(1.0))
        zero = np.clip(np.rint(-low * np.float32(share) / scale), 0, _LEVELS)
        errors = part / scale
        errors -= np.clip(np.rint(errors), -zero, _LEVELS - zero)
        error = np.einsum("ij,ij->j", errors, errors) * scale * scale
        better = error < least
        least = np.where(better, error, least)
        scales, zero_points = np.where(better, scale, scales), np.where(better, zero, zero_points)
    return scales, zero_points
