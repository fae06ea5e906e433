"""What followed the last tokens where they stand elsewhere in the project, mixed into what the model says.

A small model with a short prompt sees little of a project, and code repeats itself: looked up in the document and in
the files near it, n-grams tell names and calls that the model cannot know, at the price of a look-up a token. That such
local caches help most where the model is weakest is from Hellendoorn and Devanbu ("Are deep neural networks the best
choice for modeling source code?", 2017); mixing a model's distribution with one of looked-up followers, by a share that
depends on both, from Merity and others ("Pointer sentinel mixture models", 2016) and Grave and others ("Improving
neural language models with a continuous cache", 2017).

A place where the last `m` tokens stand weighs exp(source + growth * level(m)). The weights of the places that a token
follows, divided by the sum W of all, are its probability by look-up. The share of that in the mixture is the logistic
function of  bias + doubt * log(1 - p) + agreement * q + evidence * log(W),  where p is the probability of the model's
likeliest token and q that of the likeliest token by look-up. `python -m training.fitting.ngrams` fits the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from engine.model_folders.manifest import NgramWeights

LONGEST = 16
"""Tokens of a match that count."""
LEVELS = np.array([0, 0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7])  # of matches of 0 to 16 tokens
Source = Literal["above", "below", "elsewhere"]
SOURCES: tuple[Source, ...] = get_args(Source)
_GAP = -1  # stands between two texts, where no token is
SMALLEST_DOUBT = 1e-3


class Passages:
    """The tokens of texts, and where each token stands in them."""

    def __init__(self, texts: Sequence[Sequence[int] | NDArray[np.int32]]) -> None:
        """No match crosses from one text into the next."""
        parts = [part for tokens in texts for part in (np.asarray(tokens, np.int32), np.array([_GAP], np.int32))]
        self.tokens: NDArray[np.int32] = np.concatenate(parts) if parts else np.empty(0, np.int32)
        self._order = np.argsort(self.tokens, kind="stable").astype(np.int32)
        self._sorted = self.tokens[self._order]

    def __len__(self) -> int:
        return len(self.tokens)

    def places_of(self, token: int) -> NDArray[np.int32]:
        """The indices at which a token stands, in order; none for one that is negative."""
        if token < 0:
            return self._order[:0]
        first, last = np.searchsorted(self._sorted, np.array([token, token + 1], np.int32))
        return self._order[first:last]


class _Matches:
    """The places in passages that the last tokens match."""

    def __init__(self, passages: Passages, source: int, last: Sequence[int]) -> None:
        self.source = source
        self._passages = passages
        self._lengths = np.zeros(len(passages) + 1, np.int8)  # of the match that ends at each index; the last stays 0
        self._ends = passages.places_of(last[-1]) if last else np.empty(0, np.int32)
        places, length = self._ends, 0
        while places.size and length < min(len(last), LONGEST):
            length += 1
            self._lengths[places] = length
            if length < len(last):
                places = places[places >= length]
                places = places[passages.tokens[places - length] == last[-1 - length]]

    def take(self, token: int) -> None:
        ends = self._passages.places_of(token)
        lengths = np.minimum(self._lengths[ends - 1], LONGEST - 1) + 1  # index -1 is the one that stays 0
        self._lengths[self._ends] = 0
        self._lengths[ends] = lengths
        self._ends = ends

    def followers(self) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """What follows each place, and how many tokens match there."""
        followers = self._passages.tokens[self._ends + 1] if self._ends.size else self._ends
        known = followers >= 0
        return followers[known], self._lengths[self._ends][known]


class Ngrams:
    """The look-up for one suggestion: feed it the suggestion's tokens, ask it for the next one."""

    def __init__(self, weights: NgramWeights, last: Sequence[int], texts: Sequence[tuple[Source, Passages]]) -> None:
        """`last`: the tokens before the suggestion; `texts`: what is looked through, each with its source."""
        self._weights, self._table = weights, table_of(weights)
        last = list(last)[-LONGEST:]
        self._matches = [_Matches(passages, SOURCES.index(source), last) for source, passages in texts if len(passages)]

    def take(self, token: int) -> None:
        """Note the next token of the suggestion."""
        for matches in self._matches:
            matches.take(token)

    def followers(self) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int8]]]:
        """For each text: which of SOURCES it is, what follows each place, and how many tokens match there."""
        for matches in self._matches:
            yield matches.source, *matches.followers()

    def evidence(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The tokens that followed the last ones, each once, and what the places weigh together at which they did."""
        found = list(self.followers())
        followers = np.concatenate([tokens for _, tokens, _ in found]) if found else np.empty(0, np.int32)
        if not followers.size:
            return followers, np.empty(0, np.float64)
        weights = np.concatenate([self._table[source][lengths] for source, _, lengths in found])
        totals: NDArray[np.float64] = np.bincount(followers, weights).astype(np.float64)
        tokens = np.flatnonzero(totals)
        return tokens.astype(np.int32), totals[tokens]

    def pick(
        self,
        logits: NDArray[np.float32],
        token: int,
        log_probability: float,
        among: NDArray[np.int64] | None = None,
    ) -> tuple[int, float]:
        """Pick the likeliest token of the mixture; returns it with its log probability (natural).

        `token` is the model's likeliest one by float32[vocabulary] `logits`, and `log_probability` its own, of all
        tokens or of those `among` which it was picked.
        """
        tokens, weights = self.evidence()
        if among is not None:
            agreeing = np.isin(tokens, among)
            tokens, weights = tokens[agreeing], weights[agreeing]
        if not tokens.size:
            return token, log_probability
        evidence = float(weights.sum())
        by_look_up = weights / evidence
        share = share_of(self._weights, -math.expm1(log_probability), float(by_look_up.max()), evidence)
        by_model = np.exp(logits[tokens].astype(np.float64) - float(logits[token]) + log_probability)
        mixed = (1 - share) * by_model + share * by_look_up
        best = int(mixed.argmax())
        alone = math.log1p(-share) + log_probability  # where it follows somewhere, it is one of `tokens`, and likelier
        found = math.log(max(float(mixed[best]), 1e-300))
        return (int(tokens[best]), min(found, 0.0)) if found >= alone else (token, alone)


def table_of(weights: NgramWeights) -> NDArray[np.float64]:
    """What a place weighs, by source and by tokens that match: float64[3, 17]."""
    sources = np.array([getattr(weights, source) for source in SOURCES])
    table: NDArray[np.float64] = np.exp(sources[:, None] + weights.growth * LEVELS)
    return table


def share_of(weights: NgramWeights, doubt: float, likeliest: float, evidence: float) -> float:
    """The share of the look-up: `doubt` = 1 - p, `likeliest` = q, `evidence` = W > 0."""
    at = weights.bias + weights.doubt * math.log(max(doubt, SMALLEST_DOUBT))
    at += weights.agreement * likeliest + weights.evidence * math.log(evidence)
    return 1 / (1 + math.exp(-at)) if at > -700 else 0.0
