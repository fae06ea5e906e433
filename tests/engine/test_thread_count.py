"""How many threads a model gets: chosen by measurement, and remembered for this model on this machine."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine import Engine
from engine.devices.onnx_runtime import onnxruntime
from engine.model_folders.locations import CACHE_VARIABLE, DEFAULT_MODEL
from engine.model_folders.manifest import Manifest, read_manifest
from engine.runtime.benchmark import Rates, choose_threads
from engine.runtime.thread_count import (
    READ,
    Measurement,
    candidates,
    choose,
    chosen,
    default_threads,
    is_current,
    is_worth_more,
    physical_cores,
    remember,
    remembered,
)


def times(seconds: dict[int, float]) -> list[Measurement]:
    """Measurements of so many seconds for what is read and written together, by threads."""
    return [Measurement(threads, total / 2, total / 2 / 16) for threads, total in seconds.items()]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 0.50, 2: 0.30}, 2),
        ({1: 0.31, 2: 0.30}, 1),  # nearly as fast
        ({1: 0.30, 2: 0.50}, 1),  # two wait for each other
        ({2: 0.40, 4: 0.25, 6: 0.24}, 4),
        ({2: 0.40, 4: 0.30, 6: 0.24}, 6),
        ({1: 0.5}, 1),
    ],
)
def test_the_fewest_threads_that_are_nearly_as_fast_as_any_are_chosen(seconds: dict[int, float], expected: int) -> None:
    assert choose(times(seconds)) == expected


def test_all_cores_are_measured_only_where_there_are_no_more_than_two() -> None:
    assert [candidates(cores) for cores in (1, 2)] == [(1,), (1, 2)]
    assert candidates(4) == (1, 2, 3)
    assert candidates(8) == (2, 4, 6)
    for cores in range(3, 129):
        assert all(1 <= threads < cores and threads <= 8 for threads in candidates(cores))


def test_more_threads_are_tried_only_while_they_help() -> None:
    assert is_worth_more(times({2: 0.4}))
    assert is_worth_more(times({2: 0.4, 4: 0.3}))
    assert not is_worth_more(times({2: 0.4, 4: 0.39}))
    assert not is_worth_more(times({2: 0.4, 4: 0.5}))


@pytest.fixture
def manifest(model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The default model's, with a cache folder in which nothing is remembered."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return read_manifest(model_cache / "models" / DEFAULT_MODEL)


def test_the_model_is_measured_once_and_what_was_chosen_is_used(
    manifest: Manifest, model_cache: Path, tmp_path: Path
) -> None:
    folder, said = model_cache / "models" / DEFAULT_MODEL, list[str]()
    assert chosen(manifest).threads == default_threads()
    choice = choose_threads(folder, manifest, say=said.append, least_share=0)
    assert choice is not None
    assert len(said) == 1
    assert choice.threads in candidates(physical_cores())
    assert all(one.prefill > one.step > 0 for one in choice.measured)
    assert choice.same_bits is not None
    assert f"{choice.measured[0].threads} in " in choice.reason()
    assert choose_threads(folder, manifest, say=said.append) == choice == chosen(manifest)
    assert len(said) == 1
    for threads in (None, 1):
        engine = Engine.load(folder, prompt_tokens=256, threads=threads)
        assert engine.threads == (threads or choice.threads)
        measured = next(one for one in choice.measured if one.threads == engine.threads)
        assert engine.rates == Rates(READ / measured.prefill, 1 / measured.step, measured.verify)
    assert [file.name for file in tmp_path.iterdir()] == ["threads.json"]


def test_rates_are_measured_at_load_where_they_are_not_known(
    manifest: Manifest, model_cache: Path, tmp_path: Path
) -> None:
    folder = model_cache / "models" / DEFAULT_MODEL
    impossible = Measurement(1, prefill=1e-9, step=1e-9, verify=(1.0, 1.0))
    remember(manifest, [replace(impossible, verify=())], same_bits=True)  # of a few layers
    assert Engine.load(folder, prompt_tokens=256).rates.decode < 1e6
    remember(manifest, [impossible], same_bits=True)
    assert Engine.load(folder, prompt_tokens=256).rates.decode > 1e6
    known = (tmp_path / "threads.json").read_text(encoding="utf-8")
    (tmp_path / "threads.json").write_text(known.replace(onnxruntime.__version__, "1.0"), encoding="utf-8")
    assert Engine.load(folder, prompt_tokens=256).rates.decode < 1e6


def test_a_choice_without_all_rates_is_made_again(manifest: Manifest, model_cache: Path, tmp_path: Path) -> None:
    remember(manifest, times({1: 0.3}), same_bits=True)
    choice = choose_threads(model_cache / "models" / DEFAULT_MODEL, manifest, least_share=0)
    assert choice is not None
    assert all(one.verify for one in choice.measured)


def test_what_a_busy_machine_measures_is_not_kept(manifest: Manifest, model_cache: Path, tmp_path: Path) -> None:
    folder, never = model_cache / "models" / DEFAULT_MODEL, 2.0
    choice = choose_threads(folder, manifest, least_share=never)
    assert choice is not None
    assert choice.threads == default_threads()
    assert "when it has nothing else to do" in choice.reason()
    assert not list(tmp_path.iterdir())
    before = remember(manifest, times({1: 0.3}), same_bits=True)
    assert choose_threads(folder, manifest, again=True, least_share=never) == before == remembered(manifest)


def test_another_model_another_machine_and_a_broken_file_are_nothing_measured(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = remember(manifest, times({1: 0.5}), same_bits=False)
    assert remembered(manifest) == choice
    assert remembered(replace(manifest, files={"model.onnx": "another"})) is None
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("engine.runtime.thread_count._processor", lambda: "another processor")
        assert remembered(manifest) is None
    file = tmp_path / "threads.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    for broken in ("", "[]", "{", json.dumps({key: {"threads": "many"} for key in kept})):
        file.write_text(broken, encoding="utf-8")
        assert chosen(manifest).threads == default_threads()
    assert "this machine has" in chosen(manifest).reason()
    file.write_text("[" * 200_000, encoding="utf-8")
    assert remembered(manifest) is None
    (key,) = kept
    whole = kept[key] | {"measured": [{"threads": 1, "prefill": 0.1, "step": 0.01, "verify": [1.0, 1.1]}]}
    for impossible in (
        {"threads": 10**40},
        {"threads": 0},
        {"measured": [whole["measured"][0] | {"step": 0}]},
        {"measured": [whole["measured"][0] | {"prefill": math.nan}]},
        {"measured": [whole["measured"][0] | {"verify": [1.0, -5.0]}]},
    ):
        file.write_text(json.dumps({key: whole | impossible}), encoding="utf-8")
        assert remembered(manifest) is None
    file.write_text(json.dumps({key: whole}), encoding="utf-8")
    assert remembered(manifest) is not None
    assert remember(manifest, times({1: 0.3}), same_bits=True) == remembered(manifest)


def test_after_an_update_of_the_runtime_a_choice_is_used_until_it_is_measured_again(manifest: Manifest) -> None:
    choice = remember(manifest, times({1: 0.3}), same_bits=True)
    assert is_current(choice)
    assert not is_current(replace(choice, runtime="1.0"))
    assert not is_current(replace(choice, same_bits=None))
    assert not is_current(None)
