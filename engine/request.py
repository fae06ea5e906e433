"""What goes into the engine and what comes out: plain frozen values, in the words that every other room uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict, Unpack

from syntax import Cursor


class Cancelled(Exception):
    """The request is stale: its caller asked to stop, and the engine stopped between two steps."""


class Unavailable(Exception):
    """The engine cannot answer now; its text is one sentence that names the thing and the mend."""


@dataclass(frozen=True, slots=True)
class ContextSnippet:
    """A piece of another file that stands in the prompt before the document."""

    path: str
    """Relative to the workspace, with forward slashes."""
    text: str


class RequestOptions(TypedDict, total=False):
    """What a request says apart from its cursor: see the fields of `CompletionRequest`."""

    context: tuple[ContextSnippet, ...]
    neighbours: tuple[str, ...]
    explicit: bool
    candidates: int
    max_tokens: int
    deadline: float | None
    disabled_in: tuple[str, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A cursor at which a suggestion is wanted, and the settings that it is made with.

    The server makes one from a `Cursor`, by `at`. The parts of the cursor are fields, because training and evaluation
    ask about texts that are no document and have only a path.
    """

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
    """Explicitly invoked by a key, not by typing: the suggestion is shown at any probability."""
    candidates: int = 1
    """How many different suggestions are wanted at most."""
    max_tokens: int = 96
    deadline: float | None = None
    """Seconds after which the answer leaves with what is complete by then; None for no deadline."""
    disabled_in: tuple[str, ...] = ()
    """Where only explicitly invoked requests get a suggestion: in a `comment`, in a `string`, or in both."""
    confidence: float = 0.0
    """The joint probability, calibrated, that shown text keeps, from 0 (all is shown) to 1."""
    document: str = ""
    """The document's URI: several documents may have the same path, and cached suggestions belong to one document."""
    project: str = ""
    """The name of the workspace folder, for models that are told it; empty outside of all."""

    @classmethod
    def at(cls, cursor: Cursor, **options: Unpack[RequestOptions]) -> CompletionRequest:
        """Ask for a suggestion at a cursor. Options have the names of the fields."""
        return cls(
            path=cursor.document.shown,
            language=cursor.language,
            text=cursor.text,
            offset=cursor.offset,
            document=cursor.document.uri,
            project=cursor.document.project,
            **options,
        )

    @property
    def gate(self) -> float:
        """The same, or 0 where the request was explicitly invoked."""
        return 0.0 if self.explicit else self.confidence


class StopReason(StrEnum):
    """Why decoding ended."""

    END = "end"  # the model said so, by an end or FIM token
    BLOCK = "block"  # the block policy: statement or block complete
    GATE = "gate"  # with one more token the text would be less sure than `confidence`
    SUFFIX = "suffix"  # the text reached lines that the document has already
    DEADLINE = "deadline"  # time was up; the rest is made in idle time
    LOOP = "loop"  # the model repeats itself
    LENGTH = "length"  # max_tokens, or the context is full
    PLACE = "place"  # nothing is wanted there: see `disabled_in`


class Place(StrEnum):
    """What the cursor stands in."""

    STATEMENT = "statement"
    ARGUMENT = "argument"  # inside of round or square brackets
    STRING = "string"
    COMMENT = "comment"


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
    """How many code points after the cursor the text replaces; it repeats them."""
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
    """What was decoded after the text: below the gate, or not complete."""
    is_provisional: bool = False
    """Whether idle time should compute the prompt: it was a short one, or much of its state was moved together."""
    alternatives: tuple[Alternative, ...] = ()
    """The likeliest first; each begins with another token."""
    place: Place | None = None
    """What the cursor stood in; None where nothing was decoded."""
    steps: int = 0
    """Runs of the model that decoding took; drafts make them fewer than tokens."""
    model: str = ""
    """The model that said it, where it is another than the one in memory."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step: `tokenize`, `prefill`, `decode`, `trim`, and `queue` where the inference thread ran it. Empty,
    like `tokens`, for the rest of a cached suggestion."""

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that went through the model for this request."""
        return self.prompt_tokens - self.reused_tokens


IsCancelled = Callable[[], bool]
"""Asked between prefill chunks and decode steps; must be cheap and thread-safe."""
