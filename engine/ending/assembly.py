"""A suggestion while it is decoded: token by token to text, until a stop, the gate, a loop or the length ends it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import eq

from engine.ending.block_policy import BlockPolicy
from engine.ending.expressions import end_of_expression
from engine.request import Place, StopReason


class Composition:
    """The text of one suggestion as it grows. Feed it tokens until `add` says that it is complete."""

    def __init__(
        self,
        policy: BlockPolicy,
        characters_of: Callable[[int], str],
        *,
        ends: Sequence[int],
        last_word: str,
        gate: float,
        max_tokens: int,
        calibration: float = 1.0,
    ) -> None:
        """Begin with nothing.

        `ends`: tokens that end it; `last_word`: what the text begins with that stands in the document already;
        `gate`: the joint probability that the text keeps; `calibration`: the manifest's.
        """
        self.tokens: list[int] = []
        self.log_probabilities: list[float] = []
        self.generated = ""
        """All text so far, after the last word."""
        self.stop = StopReason.LENGTH
        self._policy, self._characters_of, self._ends = policy, characters_of, ends
        self._max_tokens, self._calibration = max_tokens, calibration
        self._gate = math.log(gate) if gate > 0 else -math.inf
        self._ahead = last_word  # what is still to come of it
        self._certainty = [0.0]  # logarithm of the joint probability, calibrated, before each token and after the last
        self._offsets = [0]  # where each token's text starts in `generated`, and the end
        self._end = 0

    @property
    def text(self) -> str:
        """What may be shown: the rest is not complete, not sure enough, or not wanted."""
        return self.generated[: self._end]

    @property
    def dropped(self) -> str:
        """What was decoded after that."""
        return self.generated[self._end :]

    @property
    def place(self) -> Place:
        """What the cursor stands in."""
        return self._policy.place

    @property
    def probability(self) -> float:
        """The joint probability of all tokens that have a part in the text, calibrated."""
        return math.exp(self._certainty[self._tokens_in(self._end)])

    def add(self, token: int, log_probability: float) -> bool:
        """Take the next token; True once the suggestion is complete."""
        self.tokens.append(token)
        self.log_probabilities.append(log_probability)
        if token in self._ends:
            return self._finish(StopReason.END, len(self.generated))
        self._append(self._characters_of(token))
        self._certainty.append(self._certainty[-1] + self._calibration * log_probability)
        self._offsets.append(len(self.generated))
        end = self._policy.end_of(self.generated)
        if end is not None and self._certainty[self._tokens_in(end)] >= self._gate:
            return self._finish(self._policy.reason, end)
        if self._certainty[-1] < self._gate:
            return self._finish(StopReason.GATE, self._whole_words(self._offsets[-2]))
        if is_looping(self.tokens):
            return self._finish(StopReason.LOOP, self._whole_lines())
        if len(self.tokens) >= self._max_tokens:
            return self.reach_length()
        return False

    def reach_length(self) -> bool:
        """There are no more tokens for it: end it with its last whole line, or with what its first one has."""
        return self._finish(StopReason.LENGTH, self._whole_lines() if "\n" in self.generated else None)

    def cut_short(self) -> bool:
        """Time is up: end it with its last whole line, or the last whole expression of the first; False without one."""
        end = self._whole_lines() if "\n" in self.generated else end_of_expression(self.generated)
        return bool(self.generated[:end].strip()) and self._finish(StopReason.DEADLINE, end)

    def _append(self, characters: str) -> None:
        common = min(len(characters), len(self._ahead))
        self._ahead = self._ahead[common:]
        self.generated += characters[common:]

    def _finish(self, reason: StopReason, end: int | None) -> bool:
        self.stop, self._end = reason, len(self.generated) if end is None else end
        return True

    def _tokens_in(self, end: int) -> int:
        """How many tokens it takes to write the text up to `end`."""
        return next(count for count, offset in enumerate(self._offsets) if offset >= end)

    def _whole_lines(self) -> int:
        return max(self.generated.rfind("\n"), 0)

    def _whole_words(self, end: int) -> int:
        """The last offset up to `end` that does not cut a word of the text in two."""
        is_inside = end < len(self.generated) and _is_word(self.generated[end])
        return self._before_word(end) if is_inside else end

    def _before_word(self, end: int) -> int:
        while end and _is_word(self.generated[end - 1]):
            end -= 1
        return end


def is_looping(tokens: Sequence[int], *, longest: int = 8, times: int = 4, least: int = 16) -> bool:
    """Whether the last tokens are a unit of at most `longest` tokens, `times` times in a row, `least` tokens in all."""
    for unit in range(1, longest + 1):
        tail = tokens[-max(unit * times, least) :]
        if len(tail) >= max(unit * times, least) and all(map(eq, tail[unit:], tail)):
            return True
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
