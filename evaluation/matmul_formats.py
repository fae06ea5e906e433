"""What single products cost, which decides about the graph: `python -m evaluation.matmul_formats [--hidden N]`.

Prints ratios of medians for 1, 8 and 256 tokens, each pair in turns in one run: packed matrices against separate ones
(query with key and value, gate with up), unsigned 8-bit weights against signed ones, and zero points of 4-bit weights
against none. Defaults are SmolLM2-135M's sizes; `--hidden 3072 --inner 8256` are Mellum-4b's, with as many key-value
heads as query heads for either. As many copies of a matrix take turns as make it larger than a processor's cache: a
decoding model never finds its weights there.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engine.devices.onnx_runtime import onnxruntime
from engine.runtime.thread_count import default_threads
from export.graph.matmul_formats import Int4Matmul, Int8Matmul, MatmulFormat
from export.graph.writer import DATA_FILE, MICROSOFT, GraphWriter
from export.sources.random_weights import RandomSource
from export.weights.matrices import Matrix

_TOKENS = (1, 8, 256)
_ROUNDS = 101
_BYTES = 64 << 20  # of weights that take turns

Write = Callable[[GraphWriter, str], list[str]]
"""Writes products of the input `activations` under a name; returns their outputs."""


class _Random(RandomSource):
    """Weights of any shape."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def tensor(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Make rows of a tensor."""
        count = rows.stop - rows.start
        return np.random.default_rng(rows.start).standard_normal((count, self._columns)).astype(np.float32)


def main() -> None:
    """Compare pair after pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--inner", type=int, default=1536)
    arguments = parser.parse_args()
    hidden, inner = arguments.hidden, arguments.inner
    print(f"{'ratio of times, for tokens:':44}" + "".join(f"{tokens:>8}" for tokens in _TOKENS))
    for kind, products in (("int8", _int8(False)), ("int8 unsigned", _int8(True)), ("int4", _int4)):
        for what, rows in (("q, k, v", [hidden] * 3), ("gate, up", [inner] * 2)):
            packed, separate = _matrices(products, hidden, [sum(rows)]), _matrices(products, hidden, rows)
            _compare(f"{kind}: {what} packed / separate", hidden, packed, separate)
    signed, unsigned = (_matrices(_int8(is_unsigned), hidden, [2 * inner]) for is_unsigned in (False, True))
    _compare("int8: unsigned / signed weights", hidden, unsigned, signed)
    _compare("int4: with / without zero points", hidden, _bits4(hidden, inner, True), _bits4(hidden, inner, False))


def _int8(unsigned: bool) -> Callable[[GraphWriter], MatmulFormat]:
    return lambda writer: Int8Matmul(writer, unsigned, lambda name, error: None)


def _int4(writer: GraphWriter) -> MatmulFormat:
    return Int4Matmul(writer, np.float32, None, lambda name, error: None)


def _matrices(products: Callable[[GraphWriter], MatmulFormat], columns: int, rows: Sequence[int]) -> Write:
    """Products with matrices of some rows each."""

    def write(writer: GraphWriter, name: str) -> list[str]:
        kind = products(writer)
        names = [f"{name}.{index}" for index in range(len(rows))]
        for one, count in zip(names, rows, strict=True):
            kind.multiply(Matrix(_Random(columns), one, {one: count}, columns), "activations", f"{one}.output")
        return [f"{one}.output" for one in names]

    return write


def _bits4(columns: int, rows: int, has_zero_points: bool) -> Write:
    """The runtime's 4-bit product with made-up numbers."""

    def write(writer: GraphWriter, name: str) -> list[str]:
        random, blocks = np.random.default_rng(1), columns // 32
        weights = random.integers(0, 256, (rows, blocks, 16), np.uint8)
        inputs = ["activations", writer.constant(f"{name}.weights", weights)]
        inputs.append(writer.constant(f"{name}.scales", random.random((rows, blocks), np.float32)))
        if has_zero_points:
            zero_points = random.integers(0, 256, (rows, (blocks + 1) // 2), np.uint8)
            inputs.append(writer.constant(f"{name}.zero_points", zero_points))
        options = {"K": columns, "N": rows, "bits": 4, "block_size": 32, "accuracy_level": 4, "domain": MICROSOFT}
        return [writer.node("MatMulNBits", inputs, f"{name}.output", outputs=None, **options)]

    return write


def _compare(title: str, columns: int, first: Write, second: Write) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        sessions = [
            _sessions(write, columns, Path(temporary) / str(index)) for index, write in enumerate((first, second))
        ]
        ratios = []
        for tokens in _TOKENS:
            activations = np.random.default_rng(2).standard_normal((1, tokens, columns)).astype(np.float32)
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(_ROUNDS if tokens < 64 else 15):
                for copies, seconds in zip(sessions, times, strict=True):
                    started = time.perf_counter()
                    for session in copies:
                        session.run(None, {"activations": activations})
                    seconds.append((time.perf_counter() - started) / len(copies))
            ratios.append(statistics.median(times[0]) / statistics.median(times[1]))
        print(f"{title:44}" + "".join(f"{ratio:8.2f}" for ratio in ratios), flush=True)


def _sessions(write: Write, columns: int, folder: Path) -> list[onnxruntime.InferenceSession]:
    """As many copies of the products as fill the memory that is to be read in turns."""
    folder.mkdir()
    with (folder / DATA_FILE).open("wb") as data:
        writer = GraphWriter(data)
        outputs = write(writer, "product")
    value = helper.make_tensor_value_info
    given = [value("activations", TensorProto.FLOAT, [1, "tokens", columns])]
    writer.save(
        folder / "model.onnx", given, [value(name, TensorProto.FLOAT, [1, "tokens", "rows"]) for name in outputs]
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = default_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # as the engine does
    copies = max(_BYTES // (folder / DATA_FILE).stat().st_size, 2)
    path, providers = str(folder / "model.onnx"), ["CPUExecutionProvider"]
    return [onnxruntime.InferenceSession(path, options, providers=providers) for _ in range(copies)]


if __name__ == "__main__":
    main()
