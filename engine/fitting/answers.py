"""A model's answer at a point, and the probability of each beginning of the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.engine import Engine
from engine.fitting.place import Point
from engine.request import CompletionRequest, ContextSnippet, Suggestion

PROMPT_TOKENS = 768
"""Of the longest prompt: as most machines have it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A suggestion, and how probable each of its beginnings is."""

    text: str
    beginnings: tuple[tuple[str, float], ...]
    """After each token: the text up to there as it would be shown, and its joint probability."""

    def shown_at(self, gate: float) -> str:
        """The longest beginning that is at least so probable, without a part of a word: what the engine shows."""
        count = 0
        for text, probability in self.beginnings:
            if probability < gate:
                break
            count = len(text)
        if _is_word(self.text[count : count + 1]):
            while count and _is_word(self.text[count - 1]):
                count -= 1
        return self.text[:count].rstrip()

    @property
    def probability(self) -> float:
        """That of the whole text, as the model states it."""
        return next((stated for text, stated in self.beginnings if text == self.text), 1.0)


def answer_of(
    engine: Engine, point: Point, neighbours: tuple[str, ...] = (), context: tuple[ContextSnippet, ...] = ()
) -> Answer:
    """Ask the engine, and spell out its suggestion token by token."""
    request = CompletionRequest(
        point.path, point.language, point.text, point.offset, neighbours=neighbours, context=context
    )
    return spelled_out(engine, request, engine.complete(request))


def spelled_out(engine: Engine, request: CompletionRequest, suggestion: Suggestion) -> Answer:
    """A suggestion that the engine has made for a request, token by token."""
    healed = len(engine.lay_out(request).last_word)
    beginnings = []
    for count in range(1, len(suggestion.tokens) + 1):
        written = engine.tokenizer.decode(suggestion.tokens[:count])[healed:]
        common = common_length(suggestion.text, written)
        joint = engine.manifest.calibration * sum(suggestion.log_probabilities[:count])
        beginnings.append((suggestion.text[:common], math.exp(joint)))
        if common == len(suggestion.text):
            break
    return Answer(suggestion.text, tuple(beginnings))


def common_length(a: str, b: str) -> int:
    """How many code points two texts begin with alike."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
