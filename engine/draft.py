"""Drafts: tokens that are likely to come next, copied from what is there already, for the model to verify in one step.

Prompt lookup (Saxena 2023): where the last tokens stood before, what followed them then is proposed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LONGEST_MATCH = 8
LONGEST = 15  # tokens of a draft
EXPECTED = 0  # how many tokens have matched, for a draft that was not looked up


class Speculation:
    """How long a draft should be, by what verifying costs on this machine and by how often drafts were right lately."""

    def __init__(self, costs: Sequence[float]) -> None:
        """`costs[n]`: the time that a step of n + 1 tokens takes, in units of a step of one token."""
        self._costs = costs
        # by the length of the match: tokens that were right, and drafts that ended with a wrong one; at first, guesses
        self._right = {EXPECTED: 9.0} | {length: float(length) for length in range(1, _LONGEST_MATCH + 1)}
        self._wrong = {EXPECTED: 1.0} | dict.fromkeys(range(1, _LONGEST_MATCH + 1), 2.0)

    def length(self, match: int) -> int:
        """The length with the most tokens a second: n tokens are right with the n-th power of the chance of one."""
        chance = self._right[match] / (self._right[match] + self._wrong[match])
        best, speed, gained = 0, 1.0, 1.0
        for length in range(1, len(self._costs)):
            gained += chance**length
            if gained / self._costs[length] > speed:
                best, speed = length, gained / self._costs[length]
        if not best:
            self._wrong[match] *= 0.99  # nothing is learned of what is never tried: try it again some day
        return best

    def learn(self, match: int, *, right: int, is_all: bool) -> None:
        """Take note of a draft of which so many tokens were right, or all."""
        self._right[match] = self._right[match] * 0.95 + right
        self._wrong[match] = self._wrong[match] * 0.95 + (not is_all)


class Drafts:
    """The drafts for one suggestion."""

    def __init__(
        self, speculation: Speculation, prompt: Sequence[int], *, prefix_end: int, expected: Sequence[int] = ()
    ) -> None:
        """`prefix_end`: where the text before the cursor ends in the prompt, which the suggestion goes on from;
        `expected`: what an earlier suggestion had in mind for this place.
        """
        self.match = EXPECTED
        self.steps = 0
        """How often a draft was asked for."""
        self._speculation, self._expected = speculation, list(expected)
        self._written: list[int] = []
        self._before = list(prompt[max(prefix_end - _LONGEST_MATCH, 0) : prefix_end])
        self._tokens = np.array(prompt, np.int32)
        self._prompt_tokens, self._prefix_end = len(prompt), prefix_end

    def take(self, token: int) -> None:
        """Note the next token of the suggestion."""
        self._written.append(token)

    def propose(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next; `match` says where they are from."""
        self.steps += 1
        count = len(self._written)
        if count < len(self._expected) and self._expected[:count] == self._written:
            self.match, found = EXPECTED, self._expected[count:]
        else:
            self.match, found = self._look_up()
        return found[: min(self._speculation.length(self.match), most)] if found else []

    def learn(self, right: int, offered: int) -> None:
        """Take note of how many of the tokens that were proposed last were right."""
        if offered:
            self._speculation.learn(self.match, right=right, is_all=right == offered)

    def _look_up(self) -> tuple[int, list[int]]:
        """The longest match of the last tokens further up, the nearest of equals, and what follows it."""
        text = np.append(self._tokens, np.array(self._written, np.int32))
        last = [*self._before, *self._written][-_LONGEST_MATCH:]
        if not last:
            return EXPECTED, []
        found = np.flatnonzero(text[:-1] == last[-1])
        if self._prefix_end < self._prompt_tokens:
            found = found[found != self._prefix_end - 1]  # the cursor itself, where the suffix or nothing follows
        matched, places = 0, found
        while places.size and matched < len(last):
            matched, found = matched + 1, places
            places = found[found >= matched]
            if matched < len(last):
                places = places[text[places - matched] == last[-1 - matched]]
        if not matched:
            return EXPECTED, []
        start = int(found[-1]) + 1
        return matched, text[start : start + LONGEST].tolist()
