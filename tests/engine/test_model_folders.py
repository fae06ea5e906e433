"""Where a model is looked for (never in a workspace), and which files it may name (those of its own folder)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.devices.onnx_runtime import onnxruntime
from engine.model_folders.locations import (
    CACHE_VARIABLE,
    DEFAULT_MODEL,
    MEASURING,
    choose_model,
    find_model,
    mend_models,
)
from engine.model_folders.manifest import ModelError, check_files, is_plain, read_manifest

ELSEWHERE = ("../other", "/etc/passwd", "..", ".", "", "sub/model.onnx", "..\\other", "C:\\other", "C:other", "a\0b")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What looks like a model: a manifest of two files that are not read."""
    folder = tmp_path / "somewhere" / "model"
    folder.mkdir(parents=True)
    write(folder, {"model.onnx": b"graph", "tokenizer.json": b"{}"})
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        if is_plain(name):
            (folder / name).write_bytes(content)
    prompt = {"style": "plain", "stop": [0], "token_healing": False}
    prompt |= dict.fromkeys(("filename", "fim_prefix", "fim_middle", "fim_suffix"))
    numbers = ("parameters", "layers", "heads", "kv_heads", "head_size", "hidden", "vocabulary", "context", "recipe")
    words = ("name", "architecture", "quantization", "source", "license", "command")
    manifest = {**dict.fromkeys(numbers, 1), **dict.fromkeys(words, "x"), "format": 1, "prompt": prompt}
    manifest |= {"kv_bytes_per_token": 1, "quantization_errors": {}}
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def workspace(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with models in it, and an empty cache folder."""
    for name in (DEFAULT_MODEL, "other"):
        shutil.copytree(model, tmp_path / "workspace" / name)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


def test_a_name_is_never_looked_up_in_the_current_folder(workspace: Path) -> None:
    with pytest.raises(ModelError, match="Run: mellum-lsp setup"):
        find_model()
    with pytest.raises(ModelError, match=r"There is no model 'other'.*such as ./other\. Run: mellum-lsp models"):
        find_model("other")
    choose_model("other")
    with pytest.raises(ModelError, match=r"models.other is not there any more\. Run: mellum-lsp models use"):
        find_model()


def test_a_path_has_a_separator(workspace: Path, model: Path) -> None:
    assert find_model("./other").samefile(workspace / "other")
    assert find_model(str(model)) == model


@pytest.mark.parametrize(
    "name", ["~no-such-user/x", "~no-such-user", "/no/such/folder", "a\0b", "x" * 300, "x/" * 3000]
)
def test_what_is_not_there_is_one_sentence(workspace: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"There is no model .*(no such folder|write the|written as).*"):
        find_model(name)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_manifest_names_files_of_its_folder_only(model: Path, name: str) -> None:
    write(model, {"model.onnx": b"graph", "tokenizer.json": b"{}", name: b""})
    with pytest.raises(ModelError, match="which is not in its folder"):
        read_manifest(model)


def test_a_manifest_names_the_files_that_are_loaded(model: Path) -> None:
    check_files(model, read_manifest(model))
    write(model, {"model.onnx": b"graph"})
    with pytest.raises(ModelError, match=r"does not name tokenizer.json"):
        check_files(model, read_manifest(model))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "manifest.json", "data"])
def test_no_file_of_a_model_is_a_link_out_of_its_folder(model: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((model / name).read_bytes() if (model / name).exists() else b"")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(outside)
    with pytest.raises(ModelError, match=f"{name} is a link out of the model's folder"):
        check_files(model, read_manifest(model))


def test_a_link_to_nothing_is_refused(model: Path) -> None:
    (model / "loop").symlink_to("loop")
    with pytest.raises(ModelError, match="loop is a link out of the model's folder"):
        check_files(model, read_manifest(model))


def test_a_link_within_the_folder_is_fine(model: Path) -> None:
    (model / "model.onnx").rename(model / "graph")
    (model / "model.onnx").symlink_to("graph")
    check_files(model, read_manifest(model))


@pytest.mark.parametrize("location", ["../outside", "{outside}", "sub/../../outside", "link"])
def test_a_graph_reads_no_data_from_outside_of_its_folder(tmp_path: Path, location: str) -> None:
    """ONNX Runtime looks at this by itself; a version that no longer does fails here."""
    np.ones(1000, np.float32).tofile(tmp_path / "outside")
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "outside")
    graph = folder / "model.onnx"
    graph.write_bytes(adding(location.replace("{outside}", str(tmp_path / "outside"))))
    with pytest.raises(Exception, match=r"(?i)external data"):
        onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (folder / "inside").write_bytes((tmp_path / "outside").read_bytes())
    graph.write_bytes(adding("inside"))
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    assert session.run(None, {"a": np.zeros(1000, np.float32)})[0].sum() == 1000


def adding(location: str) -> bytes:
    """A graph that adds a tensor whose numbers are elsewhere."""
    weights = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1000])
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "4000"}.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1000]) for name in "ab"]
    node = onnx.helper.make_node("Add", ["a", "w"], ["b"])
    graph = onnx.helper.make_graph([node], "add", values[:1], values[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def test_what_a_killed_measurement_has_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    left = tmp_path / f"{MEASURING}{_ended_process()}~abc"
    running = tmp_path / f"{MEASURING}{os.getpid()}~abc"
    for folder in (left, running):
        folder.mkdir()
        (folder / "model.onnx.data").write_bytes(b"\0")
    mend_models(always=True)
    assert [path.name for path in tmp_path.iterdir()] == [running.name]


def _ended_process() -> int:
    """The number of a process that runs no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
