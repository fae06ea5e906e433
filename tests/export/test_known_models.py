"""The table of known models, and the advice that is given from what their layers cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine import engine
from engine.model_folders.manifest import PromptFormat
from engine.runtime.benchmark import choose_threads
from engine.runtime.thread_count import Measurement, chosen
from export.architecture import Architecture, ExportError
from export.known_models import (
    Advice,
    Limits,
    Machine,
    ShapeCosts,
    advise,
    known_model,
    known_models,
    measure_shape,
    predict,
    scaled,
    written_layers,
)
from export.known_models import predictions as predicted
from export.known_models.shape_costs import ServedFormat, layer_bytes
from export.make import manifest_of
from export.sources import name_for
from export.sources.random_weights import RandomSource
from tests.export.small_models import VARIANTS

PLAIN_PROMPT = PromptFormat("plain", None, None, None, None, (0,), False)
MACHINE = Machine(threads=2, memory=16e9, free_disk=100e9, hash_byte=1e-9)


def costs(read: float, byte: float) -> Callable[[Architecture, ServedFormat], ShapeCosts]:
    """A machine on which a token is read in `read` seconds a weight, and written in `byte` seconds a byte."""

    def measure(shape: Architecture, format: ServedFormat) -> ShapeCosts:
        weights, factor = layer_bytes(shape, "int8"), 1.0 if format == "int8" else 1.5
        return ShapeCosts(format, factor * read * weights, byte * layer_bytes(shape, format), 2.0, 1e-9, byte)

    return measure


def advised(read: float, byte: float, machine: Machine = MACHINE, language: str = "") -> Advice:
    return advise(known_models(), machine, costs(read, byte), limits=Limits(), language=language)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("smollm2-135m", 134_515_008),
        ("qwen2.5-coder-0.5b", 494_032_768),
        ("qwen2.5-coder-1.5b", 1_543_714_304),
        ("qwen2.5-coder-7b", 7_615_616_512),
        ("granite-3b-code-base-2k", 3_482_503_680),
        ("mellum-4b-dpo-all", 4_019_248_128),
    ],
)
def test_the_table_has_the_parameters_that_were_published(name: str, parameters: int) -> None:
    assert known_model(name).shape.parameters == parameters


def test_the_table_names_free_base_models_once_each() -> None:
    models = known_models()
    assert models[0].is_embedded
    assert [name_for(model.hub) for model in models if model.hub] == [model.name for model in models if model.hub]
    assert {model.licence for model in models} == {"apache-2.0"}
    assert all(re.fullmatch("[0-9a-f]{40}", model.revision) for model in models if model.revision)
    assert known_model("mellum-4b-base").revision
    assert len({model.name for model in models}) == len({model.hub for model in models}) == len(models)
    assert not [model.hub for model in models if "instruct" in model.hub.lower()]
    assert known_model("jetbrains/MELLUM-4b-base ") is known_model("mellum-4b-base")
    with pytest.raises(ExportError, match=r"No model 'gpt-9' is known here; known are smollm2-135m, .* models get"):
        known_model("gpt-9")


def test_the_limits_of_prompts_are_those_of_the_engine() -> None:
    limits = engine._ON_CPU
    assert (limits.prompt_seconds, limits.idle_seconds) == (predicted.FIRST_SECONDS, predicted.IDLE_SECONDS)
    assert limits.prompt == (predicted.LEAST_PROMPT, predicted.MOST_PROMPT)
    assert limits.idle_prompt == predicted.IDLE_PROMPT


@pytest.mark.parametrize(
    ("machine", "read", "byte", "chosen", "format"),
    [
        ("an old laptop", 1 / 40e9, 1 / 4e9, "smollm2-135m", "int8"),
        ("a laptop", 1 / 160e9, 1 / 20e9, "qwen2.5-coder-0.5b", "int8"),
        ("a fast laptop", 1 / 400e9, 1 / 60e9, "qwen2.5-coder-1.5b", "int8"),
        ("a workstation", 1 / 2000e9, 1 / 100e9, "mellum-4b-dpo-all", "int8"),
    ],
)
def test_the_best_model_that_is_fast_enough_is_recommended(
    machine: str, read: float, byte: float, chosen: str, format: str
) -> None:
    advice = advised(read, byte)
    assert (advice.chosen.model.name, advice.chosen.prediction.format) == (chosen, format), machine
    assert [one.model for one in advice.estimates] == list(known_models())


def test_what_is_in_the_way_of_a_better_one_is_told_in_numbers() -> None:
    assert "mellum-4b-base does not: a suggestion at a new place takes" in advised(1 / 400e9, 1 / 60e9).why
    little = replace(MACHINE, free_disk=2e9)
    assert "of disk, and 2.0 are free" in advised(1 / 400e9, 1 / 60e9, little).why
    assert "fast enough for it" in advised(1 / 2000e9, 1 / 100e9).why


def test_int4_is_used_where_memory_is_too_small_for_int8() -> None:
    small = replace(MACHINE, memory=8e9)
    chosen = advised(1 / 4000e9, 1 / 100e9, small).chosen
    assert chosen.prediction.format == "int4"
    assert chosen.why_format.startswith("as int8, it takes 5.")
    assert advised(1 / 4000e9, 1 / 100e9, replace(MACHINE, memory=4e9)).chosen.model.name == "qwen2.5-coder-1.5b"


def test_a_model_for_one_language_is_recommended_for_it_alone() -> None:
    fast = (1 / 2000e9, 1 / 100e9)
    by_language = {one: advised(*fast, language=one).chosen.model.name for one in ("", "python", "kotlin", "go")}
    assert by_language == {
        "": "mellum-4b-dpo-all",
        "python": "mellum-4b-sft-python",
        "kotlin": "mellum-4b-sft-kotlin",
        "go": "mellum-4b-dpo-all",
    }
    python = [one for one in advised(*fast, language="python").estimates if one.model.only_for == "python"]
    assert python
    assert not [one.against for one in python if one.against]
    assert all("alone" in one.against for one in advised(*fast).estimates if one.model.only_for)


def test_a_model_whose_quality_is_not_known_is_never_recommended() -> None:
    unknown = [one for one in advised(1 / 9000e9, 1 / 900e9).estimates if not one.model.quality]
    assert unknown
    assert {one.against for one in unknown} == {"how good it is was not measured"}


def test_a_small_model_is_measured_and_predicted_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MELLUM_LSP_CACHE", str(cache))
    shape = VARIANTS["grouped and tied"]
    for format in ("int8", "int4"):
        prediction = predict(shape, measure_shape(shape, format, 1), Machine.this_one())
        assert 0 < prediction.typing < prediction.typing_slow < prediction.jump < prediction.first < 60
    assert list(cache.iterdir()) == []


def test_other_shapes_are_scaled_from_the_default_model() -> None:
    default = known_model("smollm2-135m")
    measure = scaled(default, Measurement(2, prefill=0.2, step=0.0135))
    same = predict(default.shape, measure(default.shape, "int8"), MACHINE)
    assert same.prefill == pytest.approx(128 / 0.2)
    assert same.step == pytest.approx(0.0135)
    larger = known_model("qwen2.5-coder-0.5b").shape
    assert predict(larger, measure(larger, "int8"), MACHINE).step == pytest.approx(0.0135 * 494 / 134.5, rel=0.01)


def test_threads_of_a_large_model_are_counted_by_a_few_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the whole one is not even there, so nothing of it is loaded."""
    monkeypatch.setenv("MELLUM_LSP_CACHE", str(tmp_path))
    shape = replace(VARIANTS["grouped and tied"], layers=2)
    whole = manifest_of(
        RandomSource(replace(shape, layers=20)), PLAIN_PROMPT, name="large", command="", format="int8", device="cpu"
    )
    with written_layers(shape, "int8") as layers:
        choice = choose_threads(tmp_path / "nowhere", whole, least_share=0, layers=layers)
    assert choice is not None
    assert choice == chosen(whole)
    assert all(one.prefill > 0 for one in choice.measured)
