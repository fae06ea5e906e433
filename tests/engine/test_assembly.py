"""A growing suggestion: the gate ends it at the first token below the threshold, and never within a word."""

from __future__ import annotations

import math
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CompletionRequest, Engine, StopReason
from engine.ending.assembly import Composition
from engine.ending.block_policy import BlockPolicy

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")


def written(engine: Engine, probabilities: list[tuple[str, float]], *, confidence: float = 0.7) -> Composition:
    """A composition of tokens with these spellings and probabilities, until it is complete."""
    tokenizer = engine.tokenizer
    composition = Composition(
        BlockPolicy(prefix="x = ", suffix="", language="python"),
        tokenizer.stream(),
        ends=engine.manifest.prompt.stop,
        last_word=" ",
        gate=confidence,
        max_tokens=96,
    )
    for text, probability in probabilities:
        (token,) = tokenizer.encode(text)
        if composition.add(token, math.log(probability)):
            break
    return composition


def test_the_gate_closes_before_the_token_that_breaks_it(engine: Engine) -> None:
    composition = written(engine, [(" self", 0.9), (".", 0.9), ("width", 0.5), (" *", 0.9)])
    assert (composition.text, composition.dropped, composition.stop) == ("self.", "width", StopReason.GATE)
    assert composition.probability == pytest.approx(0.81)
    assert len(composition.tokens) == 3


def test_what_is_cut_in_the_middle_of_a_word_goes_back_to_its_start(engine: Engine) -> None:
    composition = written(engine, [(" self", 0.9), (".", 0.9), ("wid", 0.95), ("get", 0.5)])
    assert (composition.text, composition.dropped) == ("self.", "widget")
    assert composition.probability == pytest.approx(0.81)
    assert written(engine, [(" wid", 0.95), ("get", 0.5)]).text == ""


def test_a_token_after_the_end_does_not_count(engine: Engine) -> None:
    composition = written(engine, [(" self", 0.9), ("\n", 0.1)])
    assert (composition.text, composition.stop) == ("self", StopReason.BLOCK)
    assert composition.probability == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        ([" self", ".", "width", " *", " wid"], "self.width"),
        ([" self", ".", "wid"], None),
        ([" self"], None),
        ([" (", "\n", " ", " one"], "("),
        (["\n", " ", " one"], None),
    ],
)
def test_when_time_is_up_only_what_is_whole_is_shown(engine: Engine, tokens: list[str], shown: str | None) -> None:
    composition = written(engine, [(text, 0.99) for text in tokens])
    assert composition.cut_short() is (shown is not None)
    assert composition.text == (shown or "")
    assert (composition.stop is StopReason.DEADLINE) is (shown is not None)


def test_without_confidence_everything_is_shown(engine: Engine) -> None:
    composition = written(engine, [(" self", 0.1), (".", 0.1), ("width", 0.1), ("\n", 0.1)], confidence=0)
    assert composition.text == "self.width"
    assert composition.probability == pytest.approx(0.001)


def test_suggestions_of_the_model_are_as_sure_as_was_asked_for_and_the_cut_is_final(engine: Engine) -> None:
    offsets = [index + 2 for index in range(len(SOURCE)) if SOURCE.startswith("= ", index)][::8]
    closed = shown = 0
    for offset in offsets:
        request = CompletionRequest("lib/textwrap.py", "python", SOURCE[:offset], offset, max_tokens=24)
        everything = engine.complete(request)
        for confidence in (0.2, 0.7):
            suggestion = engine.complete(replace(request, confidence=confidence))
            assert suggestion.probability >= confidence
            assert len(suggestion.tokens) <= len(everything.tokens)
            if suggestion.stop is StopReason.GATE:
                closed += 1
                power = engine.manifest.calibration
                joint = math.exp(power * sum(suggestion.log_probabilities))
                before = math.exp(power * sum(suggestion.log_probabilities[:-1]))
                assert joint < confidence <= before
            shown += bool(suggestion.text)
        asked = engine.complete(replace(request, confidence=0.7, explicit=True))
        assert asked.stop is not StopReason.GATE
    assert closed > len(offsets) / 2
    assert shown
