"""The interface of published weights of any origin."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.architecture import Architecture

Floats = NDArray[np.float32]

Progress = Callable[[str, float], None]
"""Takes the present step and the share of it that is done, 0 to 1."""


class Source(Protocol):
    """A model's numbers, read in slices of rows so that no large matrix has to lie in memory whole."""

    architecture: Architecture
    license: str
    """An identifier such as `apache-2.0`, or `unknown`."""
    description: str
    """The origin of the weights, for the manifest and the model card. It names no folder of this machine."""
    revision: str | None
    """The version of the origin: a commit of a hub repository."""

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read some rows of a tensor, float32, `[out, in]` for matrices, under its transformers name.

        Where embeddings are tied, `lm_head.weight` is the same as `model.embed_tokens.weight`. Raises ExportError.
        """

    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer. Raises ExportError where there is none."""


class Opened:
    """A source that holds files open; a `with` statement closes them (Windows cannot delete open files)."""

    def close(self) -> None:
        """Close all files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def span(rows: slice, count: int) -> tuple[int, int]:
    """First and last row, exclusive, of a slice without steps."""
    start, stop, step = rows.indices(count)
    if step != 1:
        raise ValueError(f"rows are read one after the other, not in steps of {step}")
    return start, max(start, stop)
