"""What a run of the model says comes next: whole rows of logits, or only the likeliest token of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class Predictions:
    """The next token's distribution after some of a run's tokens. It holds until the model's next run.

    A card finds the likeliest tokens itself: two numbers a row leave it. Whole rows leave it when they are asked for.
    """

    def __init__(
        self,
        logits: Callable[[], NDArray[np.float32]],
        likeliest: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None,
    ) -> None:
        """`logits`: brings all rows, `[rows, vocabulary]`; `likeliest`: a token and its log probability for each."""
        self._bring = logits
        self._rows: NDArray[np.float32] | None = None
        self._likeliest = likeliest

    @property
    def logits(self) -> NDArray[np.float32]:
        """The rows, `[rows, vocabulary]`."""
        if self._rows is None:
            self._rows = self._bring()
        return self._rows

    def likeliest(self, row: int) -> tuple[int, float] | None:
        """The likeliest token with its log probability (natural); None where the rows have to be looked through."""
        if self._likeliest is None:
            return None
        tokens, log_probabilities = self._likeliest
        return int(tokens[row]), float(log_probabilities[row])
