"""Fits a finished model to real code within a given time: first how n-grams are mixed in, then its calibration."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.engine import Engine
from engine.fitting.answers import PROMPT_TOKENS, answer_of
from engine.fitting.calibration import Outcome, exponent_of, outcomes
from engine.fitting.mixture import Moments, fitted
from engine.fitting.moments import START, Moment, Observer
from engine.fitting.place import Place
from engine.model_folders.manifest import (
    TOKENIZER_FILE,
    Manifest,
    ModelError,
    NgramWeights,
    read_manifest,
    write_manifest,
)
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from engine.runtime.thread_count import chosen
from syntax import grammars

MOST_PLACES, LEAST_PLACES = 240, 12
"""Of each of both fits: more bring nothing that a user sees, fewer are too few on however slow a machine."""
_WRITTEN = 64  # tokens of the window for what follows the prompt


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted, and on how much."""

    ngrams: NgramWeights
    calibration: float
    gained: float
    """Nats a token of the truth that n-grams bring, on what they were fitted on."""
    tokens: int
    places: int


def fit(
    folder: Path,
    places: Iterable[Place],
    *,
    source: str,
    known: NgramWeights = START,
    seconds: float = 240.0,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Fit:
    """Fit the model in `folder`, and write the numbers to its manifest at the end, both at once.

    `places`: as many as are wanted, endless. `source`: what they are of, which the manifest names. `known`: numbers of
    other models, from which few places lead away little. `seconds`: about how long it may take. Raises ModelError.
    """
    manifest = read_manifest(folder)
    threads = chosen(manifest).threads
    longest = min(PROMPT_TOKENS, manifest.context - _WRITTEN)
    endless = iter(places)
    observer = Observer(folder, threads)
    moments: list[Moment] = []
    count = 0
    for place in _within(seconds / 2, endless, "Fitting n-grams", progress):
        moments += observer.moments(place.point, place.neighbours, longest)
        count += 1
    if not moments:
        raise ModelError(f"{manifest.name} cannot be fitted: no token of {source} can be observed with it")
    observed = Moments(moments)
    weights = fitted(observed, known)
    del observer
    fresh = replace(manifest, ngrams=weights, calibration=1.0)
    grammars.start()
    engine = Engine(Model(folder, fresh, threads=threads), Tokenizer(folder / TOKENIZER_FILE), prompt_tokens=longest)
    told: list[list[Outcome]] = []
    for place in _within(seconds / 2, endless, "Calibrating", progress):
        told.append(outcomes(place.point, answer_of(engine, place.point, place.neighbours)))
        count += 1
    told = [one for one in told if one]
    exponent = round(exponent_of(told), 3) if told else 1.0
    done: Manifest = replace(fresh, calibration=exponent, fitted=f"{count} places of {source}")
    write_manifest(folder, done)
    return Fit(weights, exponent, observed.mean_gain(weights), len(moments), count)


def _within(
    seconds: float, places: Iterator[Place], what: str, progress: Callable[[str, float], None]
) -> Iterator[Place]:
    """Places until the time is over: at least LEAST_PLACES, at most MOST_PLACES."""
    started = time.monotonic()
    for number, place in enumerate(itertools.islice(places, MOST_PLACES)):
        spent = (time.monotonic() - started) / max(seconds, 1e-9)
        if spent >= 1 and number >= LEAST_PLACES:
            return
        progress(what, min(max(number / MOST_PLACES, min(spent, number / LEAST_PLACES)), 1.0))
        yield place
