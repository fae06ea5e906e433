"""`mellum-lsp models recommend` as a user runs it: a few layers of each shape run on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from export.known_models import known_models
from tests.lsp_server.test_cli import run


def test_every_known_model_is_predicted_and_one_is_recommended(tmp_path: Path) -> None:
    done = run("models", "recommend", "--json", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [model["name"] for model in told["models"]] == [model.name for model in known_models()]
    by_name = {model["name"]: model for model in told["models"]}
    assert by_name[told["recommended"]]["against"] == "" or by_name[told["recommended"]]["name"] == "smollm2-135m"
    assert told["command"] == "mellum-lsp setup" or told["command"].startswith("mellum-lsp models get ")
    assert told["why"]
    for model in told["models"]:
        assert 0 < model["typing"] < model["typing_slow"]
        assert 0 < model["jump"] < model["first"]
        assert model["memory"] > model["parameters"] / 2
    small, large = by_name["smollm2-135m"], by_name["mellum-4b-base"]
    assert large["typing"] > 5 * small["typing"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_setup_offers_a_larger_model_in_a_sentence_and_takes_none(model_cache: Path) -> None:
    done = run("setup", cache=model_cache)
    assert done.returncode == 0, done.stderr
    assert "mellum-lsp models recommend" in done.stderr.splitlines()[-1]
    assert json.loads(run("models", "--json", cache=model_cache).stdout)[0]["in_use"]
