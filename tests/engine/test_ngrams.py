"""N-grams: what is looked up agrees with a plain search, the mixture with its formula, and the engine uses both."""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import CompletionRequest, Engine
from engine.decoding.ngrams import LEVELS, LONGEST, SOURCES, Ngrams, Passages, Source
from engine.decoding.passages import Lookup, text_around
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import NgramWeights, write_manifest
from engine.prompt.tokenizer import Tokenizer

SOURCE = Path(argparse.__file__).read_text(encoding="utf-8")
WEIGHTS = NgramWeights(
    above=-1.0, below=0.9, elsewhere=-2.6, growth=2.1, bias=-3.2, doubt=1.1, agreement=2.4, evidence=0.2
)


@pytest.fixture(scope="module")
def tokenizer(model_cache: Path) -> Tokenizer:
    return Tokenizer(model_cache / "models" / DEFAULT_MODEL / "tokenizer.json")


def followers(texts: list[list[int]], history: list[int]) -> Counter[tuple[int, int]]:
    """By plain search: how often each token follows a match of each length."""
    found: Counter[tuple[int, int]] = Counter()
    for text in texts:
        for place in range(len(text) - 1):
            length = 0
            while length < min(LONGEST, len(history), place + 1) and text[place - length] == history[-1 - length]:
                length += 1
            if length:
                found[text[place + 1], length] += 1
    return found


def test_token_by_token_the_same_is_found_as_by_a_plain_search(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(SOURCE)
    texts, chance = [tokens[:3000], tokens[3000:5000]], random.Random(0)
    for start in chance.sample(range(5000, len(tokens) - 40), 12):
        history, coming = tokens[start - 30 : start], tokens[start : start + 12]
        ngrams = Ngrams(WEIGHTS, history, [("above", Passages(texts))])
        for token in coming:
            ((source, found, lengths),) = ngrams.followers()
            assert SOURCES[source] == "above"
            assert Counter(zip(found.tolist(), lengths.tolist(), strict=True)) == followers(texts, history)
            ngrams.take(token)
            history.append(token)


def test_the_mixture_is_that_of_the_formula_over_the_whole_vocabulary() -> None:
    size, chance = 50, np.random.default_rng(1)
    for seed in range(40):
        text = np.random.default_rng(seed).integers(0, 6, 60).tolist()
        ngrams = Ngrams(WEIGHTS, text[:20], [("above", Passages([text[:40]])), ("elsewhere", Passages([text[40:]]))])
        logits = chance.normal(0, 2, size).astype(np.float32)
        by_model = np.exp(logits.astype(np.float64))
        by_model /= by_model.sum()
        weights = np.zeros(size)
        for source, part in ((-1.0, text[:40]), (-2.6, text[40:])):
            for (token, length), count in followers([part], text[:20]).items():
                weights[token] += count * math.exp(source + 2.1 * LEVELS[length])
        by_look_up = weights / weights.sum()
        at = -3.2 + 1.1 * math.log(1 - by_model.max()) + 2.4 * by_look_up.max() + 0.2 * math.log(weights.sum())
        share = 1 / (1 + math.exp(-at))
        mixed = (1 - share) * by_model + share * by_look_up
        likeliest = int(logits.argmax())
        token, log_probability = ngrams.pick(logits, likeliest, math.log(by_model[likeliest]))
        assert token == int(mixed.argmax())
        assert log_probability == pytest.approx(math.log(mixed.max()), abs=1e-6)


def test_where_nothing_follows_the_model_is_left_alone() -> None:
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    for texts in ([], [("above", Passages([])), ("below", Passages([[0, 1, 2]]))]):
        assert Ngrams(WEIGHTS, [2], texts).pick(logits, 1, -0.4) == (1, -0.4)  # type: ignore[arg-type]
    assert Ngrams(WEIGHTS, [], [("above", Passages([[0, 1]]))]).pick(logits, 1, -0.4) == (1, -0.4)


def test_only_what_agrees_with_what_is_typed_is_looked_up() -> None:
    logits, last = np.array([1.0, 3.0, 2.5, 0.0], np.float32), [0, 9, 8, 7, 6]
    text: list[tuple[Source, Passages]] = [("below", Passages([[*([*last, 3] * 5), *last, 2]]))]
    assert Ngrams(WEIGHTS, last, text).pick(logits, 1, math.log(0.5))[0] == 3
    assert Ngrams(WEIGHTS, last, text).pick(logits, 1, math.log(0.6), np.array([1, 2]))[0] == 2


def test_typing_leaves_the_text_around_as_it_is() -> None:
    line = SOURCE.index("\n", 40_300) + 1
    above, near, below = text_around(SOURCE[:line] + SOURCE[line:], line)
    assert SOURCE.count(above + near) == SOURCE.count(below) == 1
    assert above.endswith("\n")
    assert near.endswith("\n")
    assert below.startswith("\n")
    typed = "value = 1"
    for count in range(len(typed)):
        edited = SOURCE[:line] + typed[:count] + SOURCE[line:]
        assert text_around(edited, line + count) == (above, near + typed[:count], below)
    assert text_around("", 0) == ("", "", "")
    assert text_around("x = ", 4) == ("", "x = ", "")


@pytest.fixture(scope="module")
def mixing(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The default model with known weights."""
    folder = tmp_path_factory.mktemp("models") / "mixing"
    folder.mkdir()
    for file in (model_cache / "models" / DEFAULT_MODEL).iterdir():
        if file.name != "manifest.json":
            (folder / file.name).hardlink_to(file)
    manifest = Engine.load(model_cache / "models" / DEFAULT_MODEL, threads=1, prompt_tokens=256).manifest
    write_manifest(folder, replace(manifest, ngrams=WEIGHTS))
    return Engine.load(folder, threads=1, prompt_tokens=256)


HEADER = "from shop.parcels import Parcel\n\n\ndef send(parcel: Parcel) -> None:\n"
NEIGHBOUR = (
    "class Parcel:\n    def __init__(self, weight_in_grams, destination_zone):\n"
    "        self.weight_in_grams = weight_in_grams\n        self.destination_zone = destination_zone\n\n"
    "    def price(self, parcel):\n        tariff = self.tariffs[parcel.destination_zone]\n"
    "        return tariff.of(parcel.weight_in_grams, parcel.destination_zone)\n"
)


@pytest.mark.parametrize(
    ("typed", "name"), [("    print(tariff.of(parcel.", "weight_in_grams"), ("    grams = parcel.wei", "ght_in_grams")]
)
def test_names_of_a_file_near_by_are_known_to_the_last_letter(mixing: Engine, typed: str, name: str) -> None:
    text = HEADER + typed
    alone = mixing.complete(CompletionRequest("shop/send.py", "python", text, len(text)))
    told = mixing.complete(CompletionRequest("shop/send.py", "python", text, len(text), neighbours=(NEIGHBOUR,)))
    assert not alone.text.startswith(name)
    assert told.text.startswith(name)


def test_drafts_change_nothing_of_it(mixing: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = [SOURCE.index("self._", at) + len("self._") for at in range(20_000, 60_000, 8_000)]
    requests = [
        CompletionRequest("argparse.py", "python", SOURCE[:at] + SOURCE[at + 80 :], at, neighbours=(SOURCE[:9000],))
        for at in offsets
    ]
    with_drafts = [mixing.complete(request) for request in requests]
    monkeypatch.setattr("engine.decoding.draft.Speculation.length", lambda self, match: 0)
    without = [mixing.complete(request) for request in requests]
    assert any(len(one.tokens) > one.steps for one in with_drafts)
    assert [(one.tokens, one.log_probabilities) for one in with_drafts] == [
        (one.tokens, one.log_probabilities) for one in without
    ]


def test_the_place_of_a_last_word_that_begins_further_up(tokenizer: Tokenizer) -> None:
    text = "x = 1\n" * 400
    request = CompletionRequest("a.py", "python", text, 2000, neighbours=("y = 2\n",))
    ngrams = Lookup(tokenizer).ngrams(request, text[1990:2000], WEIGHTS)
    assert sum(found.size for _, found, _ in ngrams.followers()) > 100


def test_of_a_long_line_only_what_is_near_the_cursor_is_looked_at() -> None:
    text = "word = 1; " * 100_000
    above, near, below = text_around(text, 500_005)
    assert (above + near, below) == (text[500_005 - len(above + near) : 500_005], "")
    assert len(near) <= 1_000 < len(above) <= 16_000
