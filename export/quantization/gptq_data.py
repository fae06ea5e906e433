"""Real code that runs through the model beside its export: what activations each matrix will meet.

The text is the standard library of the running Python: real, permissively licensed, and always there.
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
"""What quantization is tuned on; whoever measures it takes other ones."""

_LENGTH = 256
_SKIPPED = 2000  # characters: the licence and the imports


class GptqData:
    """A forward pass that takes each product from the quantized matrix, in the order in which a graph is written."""

    def __init__(self, source: Source, tokens: NDArray[np.int64]) -> None:
        self._steps = steps_of(source, tokens)
        self._matrix, self._inputs = next(self._steps)

    def inputs(self, name: str) -> Floats:
        """Activations `[n, columns]` that the matrix will meet."""
        assert name == self._matrix.name, f"{name} was asked for before {self._matrix.name}"
        return self._inputs

    def ends_with(self, name: str) -> bool:
        """Whether nothing comes behind a matrix, so that its product is not asked for."""
        return name == "lm_head"

    def advance(self, product: Floats) -> None:
        """Go on with what the quantized matrix made of its activations."""
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
