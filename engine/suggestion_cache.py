"""Cached suggestions: typing the text of one, or deleting back to where it was made, needs no run of the model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.request import CompletionRequest, Suggestion

_REMEMBERED = 250
_AROUND = 2000  # code points on each side of the cursor that have to be the same
_TYPED = 256  # code points after a suggestion's cursor in which it is looked for


@dataclass(frozen=True, slots=True)
class _Made:
    """A suggestion and the cursor it was made for."""

    document: tuple[str, str]
    offset: int
    length: int
    before: str
    after: str
    explicit: bool
    gate: float
    others: int
    """Identifies the texts of other files that it was made with."""
    suggestion: Suggestion

    def is_answer_to(self, request: CompletionRequest) -> bool:
        """Whether it may answer: explicit suggestions stay on screen, and explicit requests get ungated ones only.

        Those must also be made with what other files say now: a key is pressed again to get something better.
        """
        if request.explicit:
            return self.gate == 0 and bool(self.suggestion.text) and self.others == _others(request)
        return self.explicit or self.gate == request.gate

    def is_around(self, request: CompletionRequest, typed: str) -> bool:
        """Whether the text around the request's cursor is the text around this one with `typed` in it."""
        before, after = _around(request.text, request.offset)
        return after == self.after and before.endswith(self.before[-_AROUND // 2 :] + typed)


class Suggestions:
    """The last few suggestions, found again by their cursor. Thread-safe."""

    def __init__(self) -> None:
        self._made: deque[_Made] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def remember(self, request: CompletionRequest, suggestion: Suggestion) -> None:
        """Keep a suggestion."""
        before, after = _around(request.text, request.offset)
        made = _Made(
            document=_document(request),
            offset=request.offset,
            length=len(request.text),
            before=before,
            after=after,
            explicit=request.explicit,
            gate=request.gate,
            others=_others(request),
            suggestion=suggestion,
        )
        with self._lock:
            self._made.append(made)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._made.clear()

    def find(self, request: CompletionRequest) -> Suggestion | None:
        """Find the rest of a suggestion whose beginning was typed since it was made, the newest first; or None.

        An explicitly invoked request runs the model again where the suggestion was empty or cut by the gate, or where
        other files have changed.
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
        """What an earlier suggestion predicts for this cursor, shown or not; empty without one."""
        for made, typed in self._candidates(request):
            text = made.suggestion.text + made.suggestion.dropped
            if text.startswith(typed) and len(typed) < len(text) and made.is_around(request, typed):
                return text[len(typed) :]
        return ""

    def _candidates(self, request: CompletionRequest) -> Iterator[tuple[_Made, str]]:
        """Suggestions made at the cursor or shortly before it in the same document, each with the text between."""
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


def _others(request: CompletionRequest) -> int:
    return hash((request.context, request.neighbours))  # each text's own hash is computed once


def _around(text: str, offset: int) -> tuple[str, str]:
    return text[max(offset - _AROUND, 0) : offset], text[offset : offset + _AROUND]
