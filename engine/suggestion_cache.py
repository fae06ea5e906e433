"""Suggestions that were made already: typing what one says, or deleting back to where it was made, asks no model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.request import CompletionRequest, Suggestion

_REMEMBERED = 250
_AROUND = 2000  # code points on each side of a place that have to be the same
_TYPED = 256  # code points behind the place of a suggestion in which it is looked for


@dataclass(frozen=True, slots=True)
class _Made:
    """A suggestion and the place it was made for."""

    document: tuple[str, str]
    offset: int
    length: int
    before: str
    after: str
    explicit: bool
    gate: float
    suggestion: Suggestion

    def is_answer_to(self, request: CompletionRequest) -> bool:
        """What was asked for by a key stays on screen; and who asks by a key wants all that there is."""
        if request.explicit:
            return self.gate == 0 and bool(self.suggestion.text)
        return self.explicit or self.gate == request.gate

    def is_around(self, request: CompletionRequest, typed: str) -> bool:
        """Whether the text around a place is that of this one with `typed` in it."""
        before, after = _around(request.text, request.offset)
        return after == self.after and before.endswith(self.before[-_AROUND // 2 :] + typed)


class Suggestions:
    """The last few suggestions, found again by their place. Thread-safe."""

    def __init__(self) -> None:
        self._made: deque[_Made] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def remember(self, request: CompletionRequest, suggestion: Suggestion) -> None:
        """Keep a suggestion."""
        before, after = _around(request.text, request.offset)
        length, gate = len(request.text), request.gate
        made = _Made(_document(request), request.offset, length, before, after, request.explicit, gate, suggestion)
        with self._lock:
            self._made.append(made)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._made.clear()

    def find(self, request: CompletionRequest) -> Suggestion | None:
        """What is left of a suggestion whose beginning was typed since it was made, the newest first; None without one.

        Where a suggestion was empty or cut by the gate, asking again by a key asks the model again.
        """
        for made, typed in self._candidates(request):
            text = made.suggestion.text
            is_left = text.startswith(typed) and (len(typed) < len(text) or not typed)
            if is_left and made.is_answer_to(request) and made.is_around(request, typed):
                return replace(
                    made.suggestion,
                    text=text[len(typed) :],
                    tokens=(),
                    log_probabilities=(),
                    alternatives=made.suggestion.alternatives if not typed else (),
                    reused_tokens=made.suggestion.prompt_tokens,
                    timings={},
                )
        return None

    def expected(self, request: CompletionRequest) -> str:
        """What the model had in mind for this place when it was asked shortly before it, shown or not; or nothing."""
        for made, typed in self._candidates(request):
            text = made.suggestion.text + made.suggestion.dropped
            if text.startswith(typed) and len(typed) < len(text) and made.is_around(request, typed):
                return text[len(typed) :]
        return ""

    def _candidates(self, request: CompletionRequest) -> Iterator[tuple[_Made, str]]:
        """Those of the same document that were made at the cursor or shortly before it, and what stands between."""
        with self._lock:
            newest_first = list(reversed(self._made))
        for made in newest_first:
            typed = request.offset - made.offset
            if (
                made.document == _document(request)
                and 0 <= typed <= _TYPED
                and len(request.text) - typed == made.length
            ):
                yield made, request.text[made.offset : request.offset]


def _document(request: CompletionRequest) -> tuple[str, str]:
    return request.document, request.path


def _around(text: str, offset: int) -> tuple[str, str]:
    return text[max(offset - _AROUND, 0) : offset], text[offset : offset + _AROUND]
