"""What both engines do alike around their tokens: whether a suggestion is wanted, where its text ends, and its trim."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from engine.ending.assembly import Composition
from engine.ending.block_policy import BlockPolicy
from engine.ending.region import region_at
from engine.ending.trim import Trimmed, trim
from engine.request import CompletionRequest, StopReason, Suggestion
from syntax import Delimiters

MAX_TOKENS = 256
_WINDOW = 65_536  # code points on each side of the cursor; the largest part that a rule looks at is a quarter of it

NOT_WANTED = Suggestion("", 0, (), (), StopReason.PLACE, 0, 0)


def around(request: CompletionRequest) -> tuple[str, str]:
    """The text on both sides of the cursor, as much of it as anything looks at: a document may be large."""
    text, offset = request.text, request.offset
    return text[max(offset - _WINDOW, 0) : offset], text[offset : offset + _WINDOW]


def read_ahead(request: CompletionRequest) -> None:
    """Have a grammar read in the background what the block policy will ask about. Does not wait."""
    Delimiters.begin(around(request)[0], request.language)


def is_wanted(request: CompletionRequest) -> bool:
    """Whether a suggestion is wanted at this cursor; False in a comment or a string where the settings say so."""
    if request.explicit or not request.disabled_in:
        return True
    return region_at(around(request)[0], request.language) not in request.disabled_in


def compose(
    request: CompletionRequest,
    characters_of: Callable[[int], str],
    *,
    ends: Sequence[int],
    last_word: str = "",
    calibration: float = 1.0,
) -> Composition:
    """Begin the text of a suggestion: see `Composition`, which gets the place and the limits of the request."""
    before, after = around(request)
    return Composition(
        BlockPolicy(prefix=before, suffix=after, language=request.language),
        characters_of,
        ends=ends,
        last_word=last_word,
        gate=request.gate,
        max_tokens=min(request.max_tokens, MAX_TOKENS),
        calibration=calibration,
    )


def trimmed(request: CompletionRequest, composition: Composition) -> Trimmed:
    """Make the composed text fit the document."""
    before, after = around(request)
    return trim(composition.text, prefix=before, suffix=after, language=request.language)


class Clock:
    """Seconds between laps, by the name of the step that ended."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a step."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
