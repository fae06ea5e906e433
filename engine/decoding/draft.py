"""Drafts: tokens that are likely to come next, copied from what is there already, for the model to verify in one step.

Prompt lookup (Saxena 2023): where the last tokens stood before, what followed them then is proposed again. It is looked
up in the prompt and in more of the document than fits there, above all below the cursor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.runtime.session import LONGEST_DRAFT

_LONGEST_MATCH = 8
EXPECTED = 0  # how many tokens have matched, for a draft that was not looked up
_VOTES = 8  # places, the nearest of those that match equally well
_GAP = -1  # stands between two texts, where no token is
_FORGETTING = 0.98  # a token tried counts half as much 34 tokens later


class Speculation:
    """How long a draft should be, by what verifying costs on this machine and by how often drafts were right lately.

    What is known of a token's chance is by how many tokens before it match, those of the draft included.
    """

    def __init__(self, costs: Sequence[float]) -> None:
        """`costs[n]`: the time that a step of n + 1 tokens takes, in units of a step of one token."""
        self._costs = costs
        # tokens that were right, and that were wrong after right ones; at first, guesses
        self._right = [9.0, *(float(match) for match in range(1, _LONGEST_MATCH + 1))]
        self._wrong = [1.0, *(2.0 for _ in range(_LONGEST_MATCH))]

    def length(self, match: int) -> int:
        """The length with the most tokens a second, for a draft whose first token follows `match` tokens that match."""
        best, speed, gained, chance = 0, 1.0, 1.0, 1.0
        for length in range(1, len(self._costs)):
            level = _level(match, length - 1)
            chance *= self._right[level] / (self._right[level] + self._wrong[level])
            gained += chance
            if gained / self._costs[length] > speed:
                best, speed = length, gained / self._costs[length]
        if not best:
            self._wrong[match] *= 0.99  # nothing is learned of what is never tried: try it again some day
        return best

    def learn(self, match: int, *, right: int, offered: int) -> None:
        """Take note of a draft of `offered` tokens of which the first `right` were right."""
        for place in range(min(right + 1, offered)):
            level = _level(match, place)
            self._right[level] = self._right[level] * _FORGETTING + (place < right)
            self._wrong[level] = self._wrong[level] * _FORGETTING + (place >= right)


def _level(match: int, place: int) -> int:
    """How many tokens match before a place in a draft."""
    return EXPECTED if match == EXPECTED else min(match + place, _LONGEST_MATCH)


class Drafts:
    """The drafts for one suggestion."""

    def __init__(
        self,
        speculation: Speculation,
        prompt: Sequence[int],
        *,
        prefix_end: int,
        expected: Sequence[int] = (),
        around: Sequence[NDArray[np.int32]] = (),
    ) -> None:
        """`prefix_end`: where the text before the cursor ends in the prompt, which the suggestion goes on from;
        `expected`: what an earlier suggestion predicted for this cursor; `around`: tokens of other texts to copy from.
        """
        self.match = EXPECTED
        self.steps = 0
        """How often a draft was asked for."""
        self._speculation, self._expected = speculation, list(expected)
        self._written: list[int] = []
        self._before = list(prompt[max(prefix_end - _LONGEST_MATCH, 0) : prefix_end])
        gap = np.array([_GAP], np.int32)
        parts = [part for tokens in around for part in (tokens, gap)]
        self._text = np.concatenate([*parts, np.array(prompt, np.int32), np.empty(len(self._before) + 256, np.int32)])
        self._end = sum(len(part) for part in parts) + len(prompt)
        self._cursor = self._end - len(prompt) + prefix_end if prefix_end < len(prompt) else None

    def take(self, token: int) -> None:
        """Note the next token of the suggestion."""
        self._written.append(token)
        if self._end == len(self._text):
            self._text = np.concatenate([self._text, np.empty_like(self._text)])
        self._text[self._end] = token
        self._end += 1

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
        self._speculation.learn(self.match, right=right, offered=offered)

    def _look_up(self) -> tuple[int, list[int]]:
        """The longest match of the last tokens further up, and what follows it.

        Of places that match equally well, the nearest ones vote on the next token; a draw goes to the nearest.
        """
        text = self._text[: self._end]
        last = [*self._before, *self._written[-_LONGEST_MATCH:]][-_LONGEST_MATCH:]
        if not last:
            return EXPECTED, []
        found = np.flatnonzero(text[:-1] == last[-1])
        if self._cursor is not None:
            found = found[found != self._cursor - 1]  # the cursor itself, where the suffix or nothing follows
        matched, places = 0, found
        while places.size and matched < len(last):
            matched, found = matched + 1, places
            places = found[found >= matched]
            if matched < len(last):
                places = places[text[places - matched] == last[-1 - matched]]
        if not matched:
            return EXPECTED, []
        followers = text[found[: -_VOTES - 1 : -1] + 1].tolist()
        start = int(found[-1 - followers.index(max(followers, key=followers.count))]) + 1
        copied = text[start : start + LONGEST_DRAFT].tolist()
        return matched, copied[: copied.index(_GAP)] if _GAP in copied else copied
