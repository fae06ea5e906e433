"""The matmul formats: for each, the nodes of a product with a matrix, and the weights that are streamed for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from export.graph.writer import MICROSOFT, GraphWriter
from export.quantization.gptq_data import GptqData
from export.quantization.quantize import BLOCK, error_order, to_int4, to_int8
from export.sources import Floats
from export.sources.slices import on_slices
from export.weights.matrices import Matrix

_INT4_SLICE_BYTES = 16 << 20  # rows are rounded input by input, and each step needs many of them

OnTensor = Callable[[str, float], None]
"""Called for every matrix written, with its name and its quantization error relative to the weights (both as root mean
squares)."""


class MatmulFormat(Protocol):
    """How one format multiplies."""

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write a matrix and its product with `activations` `[1, S, columns]`; returns `output`, `[1, S, rows]`."""


class PlainMatmul:
    """Floating-point weights, as the source has them."""

    def __init__(self, writer: GraphWriter, dtype: DTypeLike, on_tensor: OnTensor) -> None:
        self._writer, self._dtype, self._on_tensor = writer, np.dtype(dtype), on_tensor

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Leave weights as `[out, in]`: `FusedMatMul` transposes them, `MatMul` cannot."""
        error = _Error()

        def blocks() -> Iterator[NDArray[Any]]:
            for _, block in matrix.blocks():
                yield self._rounded(block, error)

        name = f"{matrix.name}.weight"
        self._writer.stream(name, self._dtype, (matrix.rows, matrix.columns), blocks())
        self._on_tensor(matrix.name, error.relative)
        return self._node(matrix, name, activations, output)

    def multiply_by(self, weights: str, matrix: Matrix, activations: str, output: str) -> str:
        """The same with weights that are written already, under the name `weights`."""
        self._on_tensor(matrix.name, 0.0)
        return self._node(matrix, weights, activations, output)

    def _node(self, matrix: Matrix, weights: str, activations: str, output: str) -> str:
        names = [activations, weights]
        return self._writer.node(
            "FusedMatMul", names, f"{matrix.name}.product", outputs=[output], domain=MICROSOFT, transB=1
        )

    def _rounded(self, block: Floats, error: _Error) -> NDArray[Any]:
        rounded = np.empty(block.shape, self._dtype)

        def cast(some: slice) -> None:
            rounded[some] = block[some]
            error.add(block[some], rounded[some])

        on_slices(cast, len(block), block.itemsize * block.shape[1])
        return rounded


class Int8Matmul:
    """Activations of 8 bits, one scale a token, times weights of 8 bits, one scale an output channel.

    With `unsigned`, 128 is added to the weights, and the product subtracts it: for processors on which sums of unsigned
    and signed products saturate (see `engine.devices.integer_sums`). There it measured 10 to 20% slower in prefill than
    signed weights of 7 bits, and as fast in decoding.
    """

    def __init__(self, writer: GraphWriter, unsigned: bool, on_tensor: OnTensor) -> None:
        self._writer, self._dtype, self._on_tensor = writer, np.dtype(np.uint8 if unsigned else np.int8), on_tensor
        writer.constant("one_127th", np.array(1 / 127, np.float32))
        writer.constant("zero_point", np.array(128, np.uint8))
        writer.constant("tiny", np.array(1e-8, np.float32))
        writer.constant("last_axis", np.array([-1], np.int64))

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Quantize the matrix and write it with its product."""
        writer, name, error = self._writer, matrix.name, _Error()
        values = np.empty((matrix.columns, matrix.rows), self._dtype)  # `[in, out]`, as the integer product wants it
        scales = np.empty(matrix.rows, np.float32)
        for rows, block in matrix.blocks():
            self._quantize(block, values[:, rows], scales[rows], error)
        writer.constant(f"{name}.int8", values)
        writer.constant(f"{name}.scales", scales)
        self._on_tensor(name, error.relative)
        return self.node(matrix, activations, output)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What weights are stored as: int8, or uint8 with 128 added."""
        return self._dtype

    def node(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write the product with a matrix whose weights are written already; returns `output`.

        Quantize the activations, multiply in integers, scale back.
        """
        writer, name = self._writer, matrix.name
        magnitudes = writer.node("Abs", [activations], f"{name}.magnitudes")
        largest = writer.node("ReduceMax", [magnitudes, "last_axis"], f"{name}.reduced", keepdims=1)
        largest = writer.node("Max", [largest, "tiny"], f"{name}.largest")
        scaled = writer.node("Div", [activations, largest], f"{name}.scaled")
        integers = writer.node("QuantizeLinear", [scaled, "one_127th", "zero_point"], f"{name}.quantized")
        zero_points = ["zero_point"] if self._dtype == np.int8 else ["zero_point", "zero_point"]
        unscaled = writer.node(
            "MatMulIntegerToFloat",
            [integers, f"{name}.int8", "one_127th", f"{name}.scales", *zero_points],
            f"{name}.unscaled",
            domain=MICROSOFT,
        )
        return writer.node("Mul", [unscaled, largest], f"{name}.product", outputs=[output])

    def _quantize(self, block: Floats, values: NDArray[Any], scales: Floats, error: _Error) -> None:
        """Quantize rows `[n, in]` into `values` `[in, n]` and `scales` `[n]`."""

        def quantize(some: slice) -> None:
            quantized = to_int8(block[some])
            signed = quantized.values.T
            values[:, some] = signed if values.dtype == np.int8 else signed.view(np.uint8) ^ 0x80
            scales[some] = quantized.scales
            error.add(block[some], quantized.restored())

        on_slices(quantize, len(block), block.itemsize * block.shape[1])


class Int4Matmul:
    """Weights of 4 bits in blocks of 32 (`MatMulNBits`); with GPTQ data, its activations guide the rounding."""

    def __init__(self, writer: GraphWriter, dtype: DTypeLike, gptq_data: GptqData | None, on_tensor: OnTensor) -> None:
        self._writer, self._dtype, self._gptq_data = writer, np.dtype(dtype), gptq_data
        self._on_tensor = on_tensor

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Quantize, and pass the quantized matrix's product on to the forward pass of the GPTQ data."""
        writer, name, error = self._writer, matrix.name, _Error()
        inputs = self._gptq_data.inputs(name) if self._gptq_data else None
        order = None if inputs is None else error_order(inputs)
        groups = -(-matrix.columns // BLOCK)
        scales = np.empty((matrix.rows, groups), self._dtype)
        zero_points = np.empty((matrix.rows, -(-groups // 2)), np.uint8)
        last = self._gptq_data is None or self._gptq_data.ends_with(name)
        outputs = None if inputs is None or last else np.empty((len(inputs), matrix.rows), np.float32)

        def blocks() -> Iterator[NDArray[np.uint8]]:
            for rows, block in matrix.blocks():
                values, restored = self._quantize(block, order, scales[rows], zero_points[rows])
                error.add(block, restored)
                if inputs is not None and outputs is not None:
                    outputs[:, rows] = inputs @ restored.T
                yield values

        writer.stream(f"{name}.int4", np.uint8, (matrix.rows, groups, BLOCK // 2), blocks())
        writer.constant(f"{name}.scales", scales)
        writer.constant(f"{name}.zero_points", zero_points)
        self._on_tensor(name, error.relative)
        if self._gptq_data and outputs is not None:
            self._gptq_data.advance(outputs)
        return self.node(matrix, activations, output)

    def node(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write the product with a matrix whose weights are written already; returns `output`."""
        name = matrix.name
        return self._writer.node(
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

    def _quantize(
        self, block: Floats, order: Floats | None, scales: NDArray[Any], zero_points: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], Floats]:
        """Quantize rows `[n, in]` and fill their scales and zero points; returns packed values and restored weights."""
        values = np.empty((*scales.shape, BLOCK // 2), np.uint8)
        restored = np.empty_like(block)

        def quantize(some: slice) -> None:
            quantized = to_int4(block[some], order=order, scale_type=self._dtype)
            scales[some], zero_points[some] = quantized.scales, _pairs(quantized.zero_points)
            values[some], restored[some] = _pairs(quantized.values), quantized.restored(block.shape[1])

        on_slices(quantize, len(block), block.itemsize * block.shape[1], slice_bytes=_INT4_SLICE_BYTES)
        return values, restored


class _Error:
    """Squares of errors and weights, block by block. Thread-safe."""

    def __init__(self) -> None:
        self._errors = self._weights = 0.0
        self._lock = threading.Lock()

    def add(self, exact: Floats, quantized: NDArray[Any]) -> None:
        difference = (quantized.astype(np.float32, copy=False) - exact).ravel()
        errors, weights = float(difference @ difference), float(exact.ravel() @ exact.ravel())
        with self._lock:
            self._errors += errors
            self._weights += weights

    @property
    def relative(self) -> float:
        return float(np.sqrt(self._errors / max(self._weights, 1e-20)))


def _pairs(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack 4-bit numbers two to a byte along the last axis, the first of a pair in the low half."""
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    packed: NDArray[Any] = values[..., ::2] | (values[..., 1::2] << 4)
    return packed
