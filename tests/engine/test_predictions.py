"""A graph for a card picks the likeliest tokens itself: tokens and probabilities equal those of its logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine import CompletionRequest, Engine
from engine.decoding.pickers import pick
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from evaluation.gpu.models import DEFAULT, make, planned


@pytest.fixture(params=["fp16", "int4"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small random model, exported for a card."""
    return make(planned(tmp_path, dry=True)[f"{DEFAULT} {request.param}"], tmp_path, None)


def test_what_the_graph_picks_is_what_its_logits_say(folder: Path) -> None:
    model = Model(folder, read_manifest(folder), provider="cpu")
    tokens = [300 + 7 * index for index in range(40)]
    model.picks = True
    slot = model.new_slot(64)
    predictions = model.predict(slot, tokens, range(len(tokens)))
    found = [predictions.likeliest(row) for row in range(len(tokens))]
    rows = np.array(predictions.logits)
    slot.keep(0)
    assert np.array_equal(model.run(slot, tokens, range(len(tokens))), rows)
    for row, logits in enumerate(rows):
        token, log_probability = pick(logits)
        assert found[row] == (token, pytest.approx(log_probability, abs=1e-4))


def test_a_suggestion_is_the_same_with_picks_as_with_all_logits(folder: Path) -> None:
    model = Model(folder, read_manifest(folder), provider="cpu")
    engine = Engine(model, Tokenizer(folder / TOKENIZER_FILE), prompt_tokens=256)
    request = CompletionRequest("a.py", "python", "def mean(values):\n    return ", 30, max_tokens=32)
    plain = engine.complete(request)
    model.picks = True
    picked = engine.complete(request)
    assert len(plain.tokens) > 1
    assert picked.tokens == plain.tokens
    assert np.allclose(picked.log_probabilities, plain.log_probabilities, atol=1e-4)
    assert picked.text == plain.text


def test_on_the_processor_logits_are_where_they_are_looked_through(engine: Engine) -> None:
    assert not engine._model.picks
    predictions = engine._model.predict(engine._model.new_slot(8), [100, 200], [0, 1])
    assert predictions.likeliest(0) is None
    assert predictions.logits.shape == (2, engine.manifest.vocabulary)
