"""The engine on the real model: state is reused without changing results, cancellations stop work."""

from __future__ import annotations

import argparse
import math
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import Cancelled, CompletionRequest, Engine, ModelError, StopReason
from engine.decoding.pickers import Required
from engine.ending.assembly import is_looping
from engine.model_folders.locations import DEFAULT_MODEL
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.kv_slots import Slots
from engine.runtime.predictions import Predictions

TEXTWRAP = Path(textwrap.__file__).read_text(encoding="utf-8")
ARGPARSE = Path(argparse.__file__).read_text(encoding="utf-8")


def request(text: str, offset: int | None = None, path: str = "lib/module.py") -> CompletionRequest:
    return CompletionRequest(path, "python", text, len(text) if offset is None else offset)


def places(text: str, count: int) -> list[int]:
    """Ends of the words `return` and `=` in a real file, spread evenly."""
    ends = [
        index + len(word) for word in ("return ", " = ") for index in range(len(text)) if text.startswith(word, index)
    ]
    return sorted(ends)[:: max(len(ends) // count, 1)][:count]


def test_it_completes_what_is_plainly_next(engine: Engine) -> None:
    text = "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + "
    suggestion = engine.complete(request(text))
    assert suggestion.text == "fibonacci(n - 2)"
    assert all(probability <= 0 for probability in suggestion.log_probabilities)
    assert len(suggestion.log_probabilities) == len(suggestion.tokens)


@pytest.mark.parametrize(
    ("typed", "begins"),
    [
        ("def fibonacci(n):\n    if n < 2:\n        retu", "rn "),
        ("def fibonacci(n):\n    if n < 2:\n        return n\n    return fibo", "nacci(n"),
        ("import os\nimport json\n\ndef load(path):\n    with open(path) as file:\n        return ", "json.load(file)"),
        (
            "class A:\n    def __init__(self, width, height):\n        self.width = width\n        self.he",
            "ight = height",
        ),
    ],
)
def test_the_middle_of_a_word_is_no_obstacle(engine: Engine, typed: str, begins: str) -> None:
    assert engine.complete(request(typed)).text.startswith(begins)


def test_a_reused_state_gives_the_same_suggestion_as_a_fresh_one(engine: Engine) -> None:
    """To the last bit, though the prompt was read in other chunks."""
    for offset in places(TEXTWRAP, 8):
        engine.complete(request(ARGPARSE, 30_000))  # something else in the slot
        fresh = engine.complete(request(TEXTWRAP, offset))
        engine.complete(request(TEXTWRAP, offset - 5))
        reused = engine.complete(request(TEXTWRAP, offset))
        assert reused.computed_tokens < 10 < fresh.computed_tokens
        assert (reused.text, reused.tokens) == (fresh.text, fresh.tokens)
        assert reused.log_probabilities == fresh.log_probabilities


def test_typing_computes_the_typed_tokens_only(engine: Engine) -> None:
    computed = []
    for offset in range(9000, 9060):
        computed.append(engine.complete(replace(request(TEXTWRAP[:offset]), max_tokens=1)).computed_tokens)
    assert sorted(computed)[len(computed) // 2] <= 3


def test_probabilities_are_those_of_the_model(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recompute each token's log probability in one pass over prompt and answer; n-grams have tests of their own."""
    monkeypatch.setattr(engine, "manifest", replace(engine.manifest, ngrams=None))
    memory = 4000 * engine.manifest.kv_bytes_per_token
    monkeypatch.setattr(engine, "_slots", Slots(engine._model, capacity=1280, memory=memory))  # no state is moved
    laid_out = engine.lay_out(request(TEXTWRAP, 9000))
    prompt, spelled = laid_out.tokens, laid_out.last_word_spelled
    suggestion = engine.complete(request(TEXTWRAP, 9000))
    slot = engine._model.new_slot(2048)
    everything = [*prompt, *suggestion.tokens]
    logits = engine._model.run(slot, everything[:-1], range(len(prompt) - 1, len(everything) - 1))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = log_probabilities[range(len(suggestion.tokens)), suggestion.tokens]
    required = Required(engine.tokenizer.vocabulary, spelled)
    first, log_probability, _ = required.pick(Predictions(lambda: logits), 0)
    assert (suggestion.tokens[0], suggestion.log_probabilities[0]) == (first, log_probability)
    assert np.allclose(expected[1:], suggestion.log_probabilities[1:], atol=1e-5)


def test_a_cancellation_stops_between_chunks_and_keeps_what_was_computed(engine: Engine) -> None:
    offset = len(ARGPARSE) * 2 // 3
    asked = 0

    def after_two_chunks() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    engine.complete(request(TEXTWRAP, 100))
    with pytest.raises(Cancelled):
        engine.complete(request(ARGPARSE, offset), after_two_chunks)
    again = engine.complete(request(ARGPARSE, offset))
    assert 2 * engine._chunk <= again.reused_tokens < again.prompt_tokens


def test_a_cancellation_stops_between_decode_steps(engine: Engine) -> None:
    asked = 0

    def during_decoding() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    text = "numbers = [1, 2, 3, 4, 5, 6,"
    engine.complete(request(text))
    with pytest.raises(Cancelled):
        engine.complete(request(text), during_decoding)
    assert asked == 5


@pytest.mark.parametrize(
    "text", ["", "\n", "\r\n\r\n", "🎉", "x" * 20_000, "\x00\x01", "<|endoftext|><fim_middle>", " " * 500, "\u2028"]
)
def test_odd_documents_get_an_answer(engine: Engine, text: str) -> None:
    suggestion = engine.complete(replace(request(text), max_tokens=8))
    assert isinstance(suggestion.text, str)
    assert suggestion.stop in StopReason


def test_a_loop_is_noticed_and_not_shown(engine: Engine) -> None:
    assert is_looping([1, 2, 3] * 6)
    assert is_looping([9, 8] + [7] * 16)
    assert not is_looping([7] * 15)
    assert not is_looping([1, 2, 3] * 5 + [1, 2, 4])
    assert not is_looping(list(range(100)))
    text = "zeros = [" + "0, " * 40
    suggestion = engine.complete(request(text))
    assert suggestion.stop is StopReason.LOOP
    assert suggestion.text == ""


def test_max_tokens_is_kept(engine: Engine) -> None:
    suggestion = engine.complete(replace(request("numbers = [\n    1,\n    2,\n    3,"), max_tokens=5))
    assert len(suggestion.tokens) <= 5


def test_a_five_megabyte_document_costs_no_more_than_its_window(engine: Engine) -> None:
    text = ARGPARSE * (5_000_000 // len(ARGPARSE))
    suggestion = engine.complete(replace(request(text, len(text) // 2), max_tokens=4))
    assert suggestion.timings["tokenize"] < 1
    assert suggestion.prompt_tokens <= engine.budget.prompt + 32


def test_candidates_begin_with_other_tokens_and_the_likeliest_comes_first(engine: Engine) -> None:
    several = 0
    for offset in places(TEXTWRAP, 3):
        asked = replace(request(TEXTWRAP[:offset]), explicit=True, max_tokens=8)
        alone = engine.complete(asked)
        suggestion = engine.complete(replace(asked, candidates=3))
        assert suggestion.tokens[0] == alone.tokens[0]
        texts = [suggestion.text, *(other.text for other in suggestion.alternatives)]
        assert len(texts) == len(set(texts)) <= 3
        assert all(texts[1:])
        several += len(texts) > 1
    assert several


@pytest.fixture
def copied_model(model_cache: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_cache / "models" / DEFAULT_MODEL, tmp_path / "model"))


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_a_changed_file_is_named(copied_model: Path, name: str) -> None:
    with (copied_model / name).open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ModelError, match=name):
        Engine.load(copied_model)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1, "name": "x"}'])
def test_a_broken_manifest_is_one_sentence(copied_model: Path, content: str) -> None:
    (copied_model / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"manifest\.json .*Run: mellum-lsp setup --force"):
        Engine.load(copied_model)


def test_kv_bytes_are_those_of_the_slot(engine: Engine, model_cache: Path) -> None:
    manifest = engine.manifest
    assert manifest.kv_bytes_per_token == 2 * 30 * 3 * 64 * 4
    assert manifest.parameters == 134_515_008
    assert math.isclose(manifest.kv_bytes_per_token * 1024 / 2**20, 45.0)


def test_the_tokenizer_names_mellums_tokens(model_cache: Path) -> None:
    tokenizer = Tokenizer(model_cache / "models" / DEFAULT_MODEL / "tokenizer.json")
    assert tokenizer.decode([8, 9, 10, 11]) == "<fim_prefix><fim_middle><fim_suffix><fim_pad>"
