"""Calibration: which tokens count, the exponent that fits them, and how it reaches the gate."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CompletionRequest, Engine
from engine.fitting.calibration import Outcome, exponent_of, outcomes, standard_error
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import NgramWeights, read_manifest, write_manifest
from export.architecture import ExportError
from export.sources.adapter import CALIBRATION_FILE, NGRAMS_FILE, calibration_of, ngrams_of
from tests.evaluation.test_replay import answer, point

HOUSE = Path(__file__).parents[2]
TRUTH = "return self.size\n"


def test_tokens_count_up_to_the_first_wrong_one() -> None:
    told = outcomes(point(TRUTH), answer(("return", 0.5), (" self", 0.8), (".area", 0.25), ("()", 0.9)))
    assert [one.is_right for one in told] == [True, True, False]
    assert [math.exp(one.log_probability) for one in told] == pytest.approx([0.5, 0.8, 0.25])
    assert outcomes(point(TRUTH), answer()) == []


@pytest.mark.parametrize("power", [0.5, 1.0, 1.6])
def test_the_exponent_is_found_under_which_outcomes_were_drawn(power: float) -> None:
    chance = random.Random(7)
    answers = []
    for _ in range(2000):
        told = []
        while len(told) < 20:
            stated = chance.uniform(0.05, 1)
            told.append(Outcome(math.log(stated), chance.random() < stated**power))
            if not told[-1].is_right:
                break
        answers.append(told)
    error = standard_error(answers)
    assert 0 < error < 0.1 * power
    assert abs(exponent_of(answers) - power) < 4 * error


def test_a_model_is_calibrated_on_ones_own_code_and_again_the_same(model_cache: Path, tmp_path: Path) -> None:
    """A model that is calibrated already states other probabilities: what is written has to be the same."""
    model, workspace = tmp_path / "model", tmp_path / "workspace"
    shutil.copytree(model_cache / "models" / DEFAULT_MODEL, model)
    shutil.copytree(HOUSE / "engine", workspace / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "training.fitting.confidence", str(model), "--workspace", str(workspace)]
    found = []
    for before in (1.0, 0.5):
        write_manifest(model, replace(read_manifest(model), calibration=before))
        subprocess.run([*command, "--points", "12", "--out", str(tmp_path)], check=True, cwd=HOUSE)
        found.append(read_manifest(model).calibration)
        assert calibration_of(tmp_path) == found[-1]
    assert found[1] == pytest.approx(found[0], rel=0.02)


@pytest.mark.parametrize("command", ["confidence", "eagerness", "ngrams"])
def test_the_help_needs_no_torch(command: str) -> None:
    module = f"training.fitting.{command}"
    started = (
        f"import runpy, sys; sys.modules['torch'] = None; sys.argv = [{module!r}, '--help']; "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", started], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert "--points" in done.stdout


def test_an_adapter_says_its_calibration(tmp_path: Path) -> None:
    assert calibration_of(tmp_path) == 1.0
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps({"calibration": 0.625}))
    assert calibration_of(tmp_path) == 0.625
    for wrong in ("high", -0.5, 0.0, None, True):
        (tmp_path / CALIBRATION_FILE).write_text(json.dumps({"calibration": wrong}))
        with pytest.raises(ExportError, match="positive number"):
            calibration_of(tmp_path)


def test_the_gate_and_what_is_stated_follow_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is right more often than it says shows more at the same gate; its own probabilities stay."""
    text = "def area(width, height):\n    return "
    request = CompletionRequest("area.py", "python", text, len(text), max_tokens=12)

    def stated(calibration: float) -> tuple[float, tuple[float, ...]]:
        monkeypatch.setattr(engine, "manifest", replace(engine.manifest, calibration=calibration))
        suggestion = engine.complete(request)
        return suggestion.probability, suggestion.log_probabilities

    (plain, tokens), (half, same) = stated(1.0), stated(0.5)
    assert same == tokens
    assert half == pytest.approx(plain**0.5)
    between = replace(request, confidence=math.sqrt(plain * half))  # above the one, below the other
    monkeypatch.setattr(engine, "manifest", replace(engine.manifest, calibration=1.0))
    short = engine.complete(between)
    monkeypatch.setattr(engine, "manifest", replace(engine.manifest, calibration=0.5))
    assert len(short.text) < len(engine.complete(between).text)


def test_an_adapter_says_how_ngrams_are_mixed_in(tmp_path: Path) -> None:
    assert ngrams_of(tmp_path) is None
    numbers = dict.fromkeys(("above", "below", "elsewhere", "growth", "bias", "doubt", "agreement", "evidence"), 0.5)
    (tmp_path / NGRAMS_FILE).write_text(json.dumps(numbers))
    assert ngrams_of(tmp_path) == NgramWeights(**numbers)
    for wrong in ({**numbers, "bias": "high"}, {"above": 1.0}):
        (tmp_path / NGRAMS_FILE).write_text(json.dumps(wrong))
        with pytest.raises(ExportError, match=r"ngrams\.json is incomplete"):
            ngrams_of(tmp_path)
