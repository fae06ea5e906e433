"""What the lines below and other files are worth: the loss is the model's own, and every side is scored."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CompletionRequest, ContextSnippet, Engine
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import TOKENIZER_FILE
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from evaluation.worth import SIDES, Column, MiddleLoss, lost, place, shares, table
from training.data.examples import Teacher
from training.data.sources import SourceFile

HOUSE = Path(__file__).parents[2]


def test_the_loss_is_what_decoding_says_of_its_tokens(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "manifest", replace(engine.manifest, ngrams=None))  # the loss is the model's own
    text = "import json\n\n\ndef load(path):\n    with open(path) as file:\n"
    request = CompletionRequest("load.py", "python", text, len(text), max_tokens=8)
    prompt, suggestion = engine.lay_out(request), engine.complete(request)
    # the first token's probability is stated among those that go on with the word before the cursor
    tokens, told = list(suggestion.tokens), -sum(suggestion.log_probabilities[1:])
    after = lost(engine._model, prompt, tokens) * len(tokens) - lost(engine._model, prompt, tokens[:1])
    assert len(tokens) > 2
    assert after == pytest.approx(told, abs=1e-2)


def test_a_place_is_scored_from_every_side(engine: Engine, model_cache: Path) -> None:
    tokenizer = Tokenizer(model_cache / "models" / DEFAULT_MODEL / TOKENIZER_FILE)
    files = [
        SourceFile("engine", path.name, "python", path.read_text(encoding="utf-8"), held_out=True)
        for path in sorted((HOUSE / "engine").rglob("*.py"))
    ]
    teacher, chance = Teacher(files, tokenizer, engine.manifest.prompt), random.Random(5)
    columns = {side: Column(Budget(256), *parts) for side, parts in SIDES.items()}
    places: list[MiddleLoss] = []
    while len(places) < 3:
        if found := place(engine._model, tokenizer, teacher, chance, columns, above=200):
            places.append(found)
    for one in places:
        assert set(one.nats) == set(SIDES)
        assert len({round(nats, 6) for nats in one.nats.values()}) > 1, "the model sees no difference"
        assert all(0 < nats < 12 for nats in one.nats.values())
    assert "3 places" in table("engine", places)


def test_shares_leave_other_files_more_or_less_room(engine: Engine) -> None:
    above = "def one():\n    return 1\n\n\n" * 80
    snippets = tuple(ContextSnippet(f"{name}.py", f"def {name}():\n    return 2\n" * 4) for name in "abcdefgh")
    request = CompletionRequest("some.py", "python", above, len(above), snippets)
    taken = {}
    for name, column in shares(Budget(512)).items():
        files = request.context if column.files is None else request.context[len(snippets) - column.files :]
        prompt = lay_out(replace(request, context=files), engine.tokenizer, engine.manifest.prompt, column.budget)
        assert len(prompt.tokens) <= 512
        taken[name] = prompt.snippet_tokens
    assert taken["no files"] == taken["as served"] == 0, "there are enough lines above"
    assert 0 < taken["12.5% files"] < taken["25.0% files"] < taken["50.0% files"] <= 256
