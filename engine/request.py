"""What goes into the engine and what comes out: plain frozen values, in the words that every other room uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Cancelled(Exception):
    """The request is stale: its caller asked to stop, and the engine stopped between two steps."""


@dataclass(frozen=True, slots=True)
class ContextSnippet:
    """A piece of another file that stands in the prompt before the document."""

    path: str
    """Relative to the workspace, with forward slashes."""
    text: str


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A place in a document at which text is wanted."""

    path: str
    """Relative to the workspace, with forward slashes."""
    language: str
    """The LSP language id, such as `python`."""
    text: str
    """The whole document as the editor has it, newlines unchanged."""
    offset: int
    """The cursor, in code points from the start of `text`."""
    context: tuple[ContextSnippet, ...] = ()
    """Least relevant first: the most relevant stands nearest to the document."""
    neighbours: tuple[str, ...] = ()
    """Texts of files near it: n-grams are looked up in them, and nothing of them stands in the prompt."""
    explicit: bool = False
    """Asked for by a key, not by typing: whatever the model has to say is shown, however unsure it is."""
    candidates: int = 1
    """How many different suggestions are wanted at most."""
    max_tokens: int = 96
    deadline: float | None = None
    """Seconds after which the answer leaves with what is complete by then; None where nobody is in a hurry."""
    disabled_in: tuple[str, ...] = ()
    """Where nothing is wanted unless a key has asked: in a `comment`, in a `string`, or in both."""
    confidence: float = 0.0
    """The joint probability, calibrated, that shown text keeps, from 0 (all is shown) to 1."""
    document: str = ""
    """Which document it is, where several may have the same path: what was suggested in one is not said in another."""

    @property
    def gate(self) -> float:
        """The same, or 0 where a key has asked."""
        return 0.0 if self.explicit else self.confidence


class StopReason(StrEnum):
    """Why decoding ended."""

    END = "end"  # the model said so, by an end or FIM token
    BLOCK = "block"  # the block policy: statement or block complete
    GATE = "gate"  # with one more token the text would be less sure than `confidence`
    SUFFIX = "suffix"  # the text reached what already stands below
    DEADLINE = "deadline"  # time was up; more of it is being made
    LOOP = "loop"  # the model says the same over and over
    LENGTH = "length"  # max_tokens, or the context is full
    PLACE = "place"  # nothing is wanted there: see `disabled_in`


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another text for the same place, less likely than the suggestion."""

    text: str
    replaces: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is shown: text to insert at the cursor, with everything that is known about it."""

    text: str
    """What to insert at `offset`; empty when there is nothing to show."""
    replaces: int
    """How many code points right of the cursor the text takes the place of (they are repeated in it)."""
    tokens: tuple[int, ...]
    """Every token decoded, including those that the stop and the trim cut away."""
    log_probabilities: tuple[float, ...]
    """Natural logarithm of each decoded token's probability as the model has it, one for each of `tokens`."""
    stop: StopReason
    prompt_tokens: int
    reused_tokens: int
    """Prompt tokens whose KV state was still there from an earlier request."""
    probability: float = 1.0
    """The joint probability of the tokens that wrote the text, to the power of the manifest's `calibration`."""
    dropped: str = ""
    """What was decoded behind the text: not sure enough, or not complete."""
    is_first: bool = False
    """Whether the prompt was a short one, for a place of which the whole prompt was not computed."""
    alternatives: tuple[Alternative, ...] = ()
    """The likeliest first; each begins with another token."""
    steps: int = 0
    """Runs of the model that decoding took; drafts make them fewer than tokens."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step: `tokenize`, `prefill`, `decode`, `trim`, and `queue` where a scheduler ran it. Empty, like
    `tokens`, for what is left of an earlier suggestion."""

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that went through the model for this request."""
        return self.prompt_tokens - self.reused_tokens


IsCancelled = Callable[[], bool]
"""Asked between prefill chunks and decode steps; must be cheap and thread-safe."""
