"""The data of GPTQ: activations of each matrix on real code, computed during the export.

The text is the standard library of the running Python: real, permissively licensed, and always present.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.architecture import ExportError
from export.sources import Floats, Source
from export.weights.forward import steps_of

# fmt: off
MODULES = (
    "argparse", "ast", "dataclasses", "doctest", "enum", "ftplib", "heapq", "inspect", "locale", "logging/__init__",
    "pathlib", "smtplib", "subprocess", "threading", "turtle", "unittest/mock",
)
# fmt: on
"""Modules that quantization is tuned on; measurements use other ones."""

_LENGTH = 256
_SKIPPED = 2000  # characters: the licence and the imports


class GptqData:
    """A forward pass that uses each product of the quantized matrices, in the order in which a graph is written."""

    def __init__(self, source: Source, tokens: NDArray[np.int64]) -> None:
        self._steps = steps_of(source, tokens)
        self._matrix, self._inputs = next(self._steps)

    def inputs(self, name: str) -> Floats:
        """The activations `[n, columns]` of the matrix."""
        assert name == self._matrix.name, f"{name} was asked for before {self._matrix.name}"
        return self._inputs

    def ends_with(self, name: str) -> bool:
        """Whether a matrix is the last one, whose product is not needed."""
        return name == "lm_head"

    def advance(self, product: Floats) -> None:
        """Continue with the product of the quantized matrix."""
        self._matrix, self._inputs = self._steps.send(product)


def gptq_tokens(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Tokens `[sequences, length]` of real code."""
    return code_tokens(tokenizer, MODULES, _LENGTH)


def code_tokens(tokenizer: Tokenizer, modules: Iterable[str], length: int) -> NDArray[np.int64]:
    """Take `length` tokens from each of some modules of the standard library that is long enough."""
    library = Path(sysconfig.get_path("stdlib"))
    sequences = []
    for module in modules:
        path = library / f"{module}.py"
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")[_SKIPPED:]
            sequences.append(tokenizer.encode(text[: 12 * length], add_special_tokens=False).ids[:length])
    whole = [sequence for sequence in sequences if len(sequence) == length]
    if not whole:
        raise ExportError(f"There is no source code in {library} to measure quantization on; install Python's library")
    return np.array(whole, np.int64)
