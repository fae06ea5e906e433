"""Fitting the mixture: observations equal what the engine sees, and the fit finds the numbers of drawn data."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.decoding.ngrams import LEVELS, SOURCES
from engine.fitting import Point
from engine.fitting.mixture import Moments, fitted
from engine.fitting.moments import Moment, Observer
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import NgramWeights, read_manifest, write_manifest

HOUSE = Path(__file__).parents[2]
SOURCE = Path(argparse.__file__).read_text(encoding="utf-8")


def moment(truth: float, likeliest: float, right: int, others: int, level: int) -> Moment:
    """A token that follows `right` of the places above the cursor that match at a level; `others` follow the rest."""
    counts = np.zeros((2, len(SOURCES), int(LEVELS.max()) + 1), np.float32)
    counts[0, 0, level], counts[1, 0, level] = right, others
    candidates = np.concatenate([counts, np.zeros((6, *counts.shape[1:]), np.float32)])
    return Moment(truth, likeliest, counts.sum(axis=0), counts[0], candidates)


def test_the_gain_is_that_of_the_formula() -> None:
    numbers = NgramWeights(above=0.5, below=0, elsewhere=0, growth=1, bias=-1, doubt=0.5, agreement=1, evidence=0.25)
    moments = Moments([moment(np.log(0.1), np.log(0.6), 3, 1, 2), moment(np.log(0.1), np.log(0.6), 0, 0, 2)])
    weight = 4 * np.exp(0.5 + 1 * 2)
    share = 1 / (1 + np.exp(-(-1 + 0.5 * np.log(0.4) + 1 * 0.75 + 0.25 * np.log(weight))))
    expected = np.log((1 - share) * 0.1 + share * 0.75) - np.log(0.1)
    gained = moments.gained(np.array(dataclasses.astuple(numbers)))
    assert gained.tolist() == pytest.approx([expected, 0.0])


def test_long_matches_that_are_right_get_their_share_and_short_ones_that_are_not_do_not() -> None:
    generator = np.random.default_rng(3)
    drawn = []
    for _ in range(3000):
        level = int(generator.choice([0, 5]))
        is_right = generator.random() < (0.9 if level else 0.05)
        drawn.append(moment(np.log(0.2), np.log(0.5), 2 * is_right, 2 * (not is_right), level))
    moments = Moments(drawn)
    numbers = fitted(moments)
    gained = moments.gained(np.array(dataclasses.astuple(numbers))).mean()
    shares = np.linspace(0, 1, 1000, endpoint=False)  # the best that a share by level can do
    right, wrong = np.log(shares + (1 - shares) * 0.2), np.log((1 - shares) * 0.2)
    best = np.mean([(chance * right + (1 - chance) * wrong).max() for chance in (0.9, 0.05)]) - np.log(0.2)
    assert float(gained) == pytest.approx(best, abs=0.03)


def test_numbers_are_fitted_on_ones_own_code(model_cache: Path, tmp_path: Path) -> None:
    """Into the manifest of a model that was exported without an adapter, such as Mellum-4b."""
    model, workspace = tmp_path / "model", tmp_path / "workspace"
    shutil.copytree(model_cache / "models" / DEFAULT_MODEL, model)
    write_manifest(model, dataclasses.replace(read_manifest(model), ngrams=None, calibration=1.0))
    for part in ("engine", "export", "indexer", "lsp_server"):
        shutil.copytree(HOUSE / part, workspace / part, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "training.fitting.ngrams", str(model), "--workspace", str(workspace)]
    told = subprocess.run(
        [*command, "--points", "16", "--held-out", "4"], check=True, cwd=HOUSE, capture_output=True, text=True
    ).stdout
    before, after = (float(number) for number in re.findall(r"fitted on: ([0-9.]+) -> ([0-9.]+)", told)[0])
    assert after < before
    assert read_manifest(model).ngrams is not None


def test_what_is_observed_of_a_place(model_cache: Path) -> None:
    observer = Observer(model_cache / "models" / DEFAULT_MODEL, threads=1)
    start = SOURCE.index("self.formatter_class(", 50_000) + len("self.form")
    end = SOURCE.index("\n", start)
    point = Point("lib", "argparse.py", "python", "line", SOURCE[:start] + SOURCE[end:], start, SOURCE[start:end])
    moments = list(observer.moments(point, (SOURCE[:20_000],), 256))
    assert len(moments) > 3
    for one in moments:
        assert one.truth <= one.likeliest <= 0
        assert (one.right <= one.all).all()
        assert (one.candidates.sum(axis=0) <= one.all).all()
    assert moments[0].right.sum() > 0  # the name stands above, and its first letters are typed
    assert moments[-1].right.sum() == 0  # where the middle ends, no text says so
    assert moments[1].all[SOURCES.index("elsewhere")].sum() > 0
