"""The cost of suggestions in this session, with the names of the log and of `mellum-lsp complete`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine import Suggestion


@dataclass(slots=True)
class Statistics:
    """Sums over all requests that were answered; cancelled requests are not in them."""

    answered: int = 0
    remembered: int = 0
    """Those that were answered from the cache, without the model."""
    prompt_tokens: int = 0
    computed_tokens: int = 0
    """Prompt tokens that the model computed; the state of the others was cached."""
    decoded_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """By step: `queue`, `tokenize`, `prefill`, `decode`, `trim`."""
    problem: str | None = None
    """Why events cannot be written now, a sentence."""

    def add(self, suggestion: Suggestion) -> None:
        """Count one answer."""
        self.answered += 1
        if not suggestion.timings:
            self.remembered += 1
            return
        self.prompt_tokens += suggestion.prompt_tokens
        self.computed_tokens += suggestion.computed_tokens
        self.decoded_tokens += len(suggestion.tokens)
        for step, seconds in suggestion.timings.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds
