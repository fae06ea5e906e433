"""How each format multiplies activations with a matrix: the nodes, and the weights that are streamed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from export.calibrate import Calibration
from export.matrices import Matrix
from export.quantize import BLOCK, error_order, to_int4, to_int8
from export.sources import Floats
from export.writer import MICROSOFT, GraphWriter

OnTensor = Callable[[str, float], None]
"""Told of every matrix written: its name, and the error that quantization made, relative to the weights (both as roots
of mean squares)."""


class Products(Protocol):
    """One format's way to multiply."""

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write a matrix and its product with `activations` `[1, S, columns]`; returns `output`, `[1, S, rows]`."""


class PlainProducts:
    """Floating-point weights, as they are in the source."""

    def __init__(self, writer: GraphWriter, dtype: DTypeLike, on_tensor: OnTensor) -> None:
        self._writer, self._dtype, self._on_tensor = writer, np.dtype(dtype), on_tensor

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Leave weights `[out, in]`, as they are read: `FusedMatMul` transposes them, `MatMul` cannot."""
        error = _Error()

        def blocks() -> Iterator[NDArray[Any]]:
            for _, block in matrix.blocks():
                rounded = block.astype(self._dtype)
                error.add(block, rounded)
                yield rounded

        name = f"{matrix.name}.weight"
        self._writer.stream(name, self._dtype, (matrix.rows, matrix.columns), blocks())
        self._on_tensor(matrix.name, error.relative)
        return self._writer.node(
            "FusedMatMul", [activations, name], f"{matrix.name}.product", outputs=[output], domain=MICROSOFT, transB=1
        )


class Int8Products:
    """Activations of 8 bits, one scale a token, times weights of 8 bits, one scale an output channel."""

    def __init__(self, writer: GraphWriter, largest: int, on_tensor: OnTensor) -> None:
        self._writer, self._largest, self._on_tensor = writer, largest, on_tensor
        writer.constant("one_127th", np.array(1 / 127, np.float32))
        writer.constant("zero_point", np.array(128, np.uint8))
        writer.constant("tiny", np.array(1e-8, np.float32))
        writer.constant("last_axis", np.array([-1], np.int64))

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Quantize the activations, multiply in integers, scale back."""
        writer, name, error = self._writer, matrix.name, _Error()
        values = np.empty((matrix.columns, matrix.rows), np.int8)  # `[in, out]`, as the integer product wants it
        scales = np.empty(matrix.rows, np.float32)
        for rows, block in matrix.blocks():
            quantized = to_int8(block, largest=self._largest)
            values[:, rows], scales[rows] = quantized.values.T, quantized.scales
            error.add(block, quantized.restored())
        writer.constant(f"{name}.int8", values)
        writer.constant(f"{name}.scales", scales)
        self._on_tensor(name, error.relative)

        magnitudes = writer.node("Abs", [activations], f"{name}.magnitudes")
        largest = writer.node("ReduceMax", [magnitudes, "last_axis"], f"{name}.reduced", keepdims=1)
        largest = writer.node("Max", [largest, "tiny"], f"{name}.largest")
        scaled = writer.node("Div", [activations, largest], f"{name}.scaled")
        integers = writer.node("QuantizeLinear", [scaled, "one_127th", "zero_point"], f"{name}.quantized")
        unscaled = writer.node(
            "MatMulIntegerToFloat",
            [integers, f"{name}.int8", "one_127th", f"{name}.scales", "zero_point"],
            f"{name}.unscaled",
            domain=MICROSOFT,
        )
        return writer.node("Mul", [unscaled, largest], f"{name}.product", outputs=[output])


class Int4Products:
    """Weights of 4 bits in blocks of 32 (`MatMulNBits`); with a calibration, its activations guide the rounding."""

    def __init__(
        self, writer: GraphWriter, dtype: DTypeLike, calibration: Calibration | None, on_tensor: OnTensor
    ) -> None:
        self._writer, self._dtype, self._calibration = writer, np.dtype(dtype), calibration
        self._on_tensor = on_tensor

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Quantize, and let the calibration go on with what the quantized matrix makes of its activations."""
        writer, name, error = self._writer, matrix.name, _Error()
        inputs = self._calibration.inputs(name) if self._calibration else None
        order = None if inputs is None else error_order(inputs)
        groups = -(-matrix.columns // BLOCK)
        scales = np.empty((matrix.rows, groups), self._dtype)
        zero_points = np.empty((matrix.rows, -(-groups // 2)), np.uint8)
        last = self._calibration is None or self._calibration.ends_with(name)
        outputs = None if inputs is None or last else np.empty((len(inputs), matrix.rows), np.float32)

        def blocks() -> Iterator[NDArray[np.uint8]]:
            for rows, block in matrix.blocks():
                quantized = to_int4(block, order=order, scale_type=self._dtype)
                scales[rows], zero_points[rows] = quantized.scales, _pairs(quantized.zero_points)
                restored = quantized.restored(matrix.columns)
                error.add(block, restored)
                if inputs is not None and outputs is not None:
                    outputs[:, rows] = inputs @ restored.T
                yield _pairs(quantized.values)

        writer.stream(f"{name}.int4", np.uint8, (matrix.rows, groups, BLOCK // 2), blocks())
        writer.constant(f"{name}.scales", scales)
        writer.constant(f"{name}.zero_points", zero_points)
        self._on_tensor(name, error.relative)
        if self._calibration and outputs is not None:
            self._calibration.advance(outputs)
        return writer.node(
            "MatMulNBits",
            [activations, f"{name}.int4", f"{name}.scales", f"{name}.zero_points"],
            f"{name}.product",
            outputs=[output],
            domain=MICROSOFT,
            K=matrix.columns,
            N=matrix.rows,
            bits=4,
            block_size=BLOCK,
            accuracy_level=4 if self._dtype == np.float32 else 0,
        )


class _Error:
    """Squares of errors and weights, block by block."""

    def __init__(self) -> None:
        self._errors = self._weights = 0.0

    def add(self, exact: Floats, quantized: NDArray[Any]) -> None:
        difference = (quantized.astype(np.float32, copy=False) - exact).ravel()
        self._errors += float(difference @ difference)
        self._weights += float(exact.ravel() @ exact.ravel())

    @property
    def relative(self) -> float:
        return float(np.sqrt(self._errors / max(self._weights, 1e-20)))


def _pairs(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack 4-bit numbers two to a byte along the last axis, the first of a pair in the low half."""
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    packed: NDArray[Any] = values[..., ::2] | (values[..., 1::2] << 4)
    return packed
