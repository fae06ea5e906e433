"""A model's card has a table for each kind of figures that there is, and only for those."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.fitting.answers import Answer
from engine.fitting.place import Point
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import Manifest, read_manifest
from evaluation.card import card
from evaluation.harness.report import figures
from evaluation.replay import at_confidence, calibration
from lsp_server.configuration.settings import CONFIDENCES


@pytest.fixture(scope="module")
def manifest(model_cache: Path) -> Manifest:
    return read_manifest(model_cache / "models" / DEFAULT_MODEL)


def test_all_figures_stand_in_the_card(manifest: Manifest) -> None:
    pairs = [
        (
            Point("package", "a.py", "python", "function", "", 0, "return self.size\n"),
            Answer("return", (("return", 0.9),)),
        ),
        (Point("package", "a.py", "python", "function", "", 0, "pass\n"), Answer("x", (("x", 0.7),))),
    ]
    typed = {
        "characters": 10,
        "keys": 7,
        "keys_alone": 10,
        "superseded": 1,
        "seconds": [0.02, 0.03],
        "waits": [0.02],
        "computed": {"arrival": [9], "character": [1], "enter": [], "accept": []},
        "taken": {"whole": 1, "line": 0, "word": 0},
        "wrong": 0.5,
        "on_screen": 2.0,
        "flickers": 0,
        "cpu_seconds": 0.4,
    }
    text = card(
        manifest,
        {
            "replay": {
                "model": {
                    "eagerness": {name: at_confidence(pairs, confidence) for name, confidence in CONFIDENCES.items()},
                    "calibration": calibration(pairs),
                }
            },
            "infilling": {"model": [{"kind": "single", "passes": True, "exact": False}]},
            "typing": {"figures": {"mellum-lsp": figures([typed])}, "functions": {"mellum-lsp": [typed]}},
            "latency": {"resident memory, MB": 490.25, "typing: time to suggestion p99, ms": 99.0},
        },
    )
    rows = text.splitlines()
    assert rows[0] == f"# {DEFAULT_MODEL}"
    assert "| `quiet` | 50.0% | 100.0% | 0.0% | 3.00 | 0.00 |" in rows
    assert "| `always` | 100.0% | 50.0% | 50.0% | 3.00 | 0.50 |" in rows
    assert "| 0.9 | 100% | 1 |" in rows
    assert "| one line | 1 | 100.0% | 0.0% |" in rows
    assert "| keystrokes saved, % | 30.0 |" in rows
    assert "| wrong from the first word, % of time on screen | 25.0 |" in rows
    assert rows[-1] == "| resident memory, MB | 490.25 |"


def test_what_was_not_measured_is_left_out(manifest: Manifest) -> None:
    text = card(manifest, {"latency": {"resident memory, MB": 490.25}})
    assert "490.25" in text
    assert "eagerness" not in text
    assert "HumanEval" not in text
