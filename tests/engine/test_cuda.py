"""CUDA: libraries that are found are named, missing ones raise no exception, and a full memory gives one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine import Engine
from engine.devices import cuda
from engine.devices.providers import is_out_of_memory
from engine.engine import _fitting
from engine.runtime.session import OutOfMemory


def test_libraries_are_looked_for_beside_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("nvidia/cudnn/lib", "nvidia/cu13/lib", "torch/lib")]
    for folder in folders:
        folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", "relative"])
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    found = [folder for folder in cuda.library_folders() if folder.is_relative_to(tmp_path)]
    assert sorted(found) == sorted(folders)
    assert found[0] == tmp_path / "nvidia/cu13/lib"  # CUDA's own come before those that need them


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are loaded one by one on Linux only")
def test_a_library_that_is_no_library_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "libcublas.so.13").write_bytes(b"no library")
    library = cuda._load("libcublas.so.13", [tmp_path], required=True)
    assert library.path is None


def test_every_library_says_whether_it_was_loaded() -> None:
    libraries = cuda.load_libraries()
    assert libraries == cuda.load_libraries()
    assert {library.loaded for library in libraries} <= {True, False}
    if cuda.wanted() and sys.platform == "linux":
        assert {library.name for library in libraries if library.required} >= {"libcublas.so.13", "libcudart.so.13"}


@pytest.mark.skipif(cuda.card() is not None, reason="a card answers otherwise: `evaluation.gpu` asks it")
def test_without_a_card_there_is_nothing_to_copy_or_to_ask() -> None:
    assert cuda.card() is None
    assert cuda.free_memory() is None
    assert not cuda.copy_rows([(cuda.Block(0, 8), cuda.Block(0, 8))], width=8, rows=1)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=here",
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 107374182400",
        "std::bad_alloc",
    ],
)
def test_every_way_to_run_out_of_memory_is_recognized(said: str) -> None:
    assert is_out_of_memory(said)
    assert not is_out_of_memory("Load model from model.onnx failed: Protobuf parsing failed")


def test_a_state_that_no_memory_holds_is_refused_in_a_sentence(engine: Engine) -> None:
    with pytest.raises(OutOfMemory, match=r"has no memory left for the state of \d+ tokens of smollm2-135m .* MB are"):
        engine._model.new_slot(1 << 40)


def test_prompts_are_as_long_as_a_card_has_room_for(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    token = engine.manifest.kv_bytes_per_token
    assert _fitting(4096, 10_000 * token, engine.manifest, 256) == 4096
    assert not caplog.records
    assert _fitting(4096, 2_256 * token, engine.manifest, 256) == 1000
    assert "so prompts have 1000 tokens and not 4096; close what else uses the card's memory" in caplog.text
    assert _fitting(4096, 0, engine.manifest, 256) == 256
