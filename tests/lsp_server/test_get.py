"""`mellum-lsp models get` against a server that answers as the hub does: from a name to a model in use."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model_folders.manifest import check_files, read_manifest
from export.architecture import Architecture
from export.known_models import known_model
from tests.export.small_models import VARIANTS, random_weights, write_folder
from tests.export.test_hub import COMMIT, NAME, Hub, serving, variables_for

DEADLINE = 120
HOUSE = Path(__file__).parents[2]
FOLDER = "mellum-small-int8"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(published(tmp_path / "repository"))) as server:
        yield server


def published(folder: Path, architecture: Architecture = VARIANTS["grouped and tied"]) -> Path:
    return write_folder(folder, architecture, random_weights(architecture))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lsp_server.cli", "models", *arguments]


def models(tmp_path: Path, hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = variables_for(tmp_path, hub.address)
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def weights_asked_for(hub: Hub) -> list[str]:
    return [path for path in hub.asked if "/resolve/" in path and path.endswith(".safetensors")]


def test_one_command_leads_from_a_name_to_a_model_in_use(hub: Hub, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(HOUSE / "engine" / "ending", workspace)
    done = models(tmp_path, hub, "get", NAME, "--workspace", str(workspace))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "cache/models" / FOLDER
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    assert (manifest.source, manifest.revision) == (NAME, COMMIT)
    assert manifest.verification["tokens"] > 0
    assert manifest.ngrams is not None
    assert "places of a workspace" in manifest.fitted
    assert "it loses" in said(done)
    assert "nats a token likelier" in said(done)
    for step in ("downloading", "writing", "verifying", "measuring", "fitting", "calibrating"):
        assert step in said(done).partition("Seconds by step:")[2]
    assert "To switch back: mellum-lsp models use smollm2-135m" in said(done)
    (listed,) = json.loads(models(tmp_path, hub, "--json").stdout)
    assert (listed["name"], listed["in_use"]) == (FOLDER, True)


def test_what_is_there_is_not_made_again(hub: Hub, tmp_path: Path) -> None:
    assert models(tmp_path, hub, "get", NAME, "--no-verify", "--no-fit", "--no-use").returncode == 0
    folder = tmp_path / "cache/models" / FOLDER
    made = (folder / "model.onnx").stat().st_mtime_ns
    assert not read_manifest(folder).verification
    hub.asked.clear()
    assert models(tmp_path, hub, "get", NAME, "--no-fit").returncode == 0
    assert (folder / "model.onnx").stat().st_mtime_ns == made
    assert read_manifest(folder).verification
    assert not weights_asked_for(hub)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_download_that_is_ended_goes_on_where_it_was(end: signal.Signals, tmp_path: Path) -> None:
    large = Architecture("LlamaForCausalLM", 2, 512, 1024, 8, 8, 64, 8192, 512, 10000.0, 1e-6, False)
    with serving(Hub(published(tmp_path / "repository", large))) as hub:
        hub.pauses = True
        process = subprocess.Popen(
            command("get", NAME, "--no-verify", "--no-fit"),
            env=variables_for(tmp_path, hub.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert hub.paused.wait(DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while not any(file.stat().st_size for file in (tmp_path / "hub").rglob("*.incomplete")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(end)
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode != 0
        assert b"Traceback" not in errors
        assert not (tmp_path / "cache/models" / FOLDER).exists()
        hub.pauses = False
        hub.goes_on.set()
        done = models(tmp_path, hub, "get", NAME, "--no-verify", "--no-fit")
        assert done.returncode == 0, done.stderr
        assert hub.ranges, "the second download begins where the first one ended"
        assert {path.name for path in (tmp_path / "cache/models").iterdir()} >= {FOLDER, ".chosen"}
        assert not [path for path in (tmp_path / "cache/models").iterdir() if "~" in path.name]


def test_a_known_name_must_be_the_model_that_is_known(tmp_path: Path) -> None:
    known = known_model("qwen2.5-coder-0.5b")
    assert known.revision
    with serving(Hub(published(tmp_path / "repository"), known.hub, known.revision)) as hub:
        done = models(tmp_path, hub, "get", "qwen2.5-coder-0.5b")
        assert done.returncode == 1
        assert "does not hold the model that is known here under this name" in said(done)
        assert "988 MB to download" in said(done)
        assert re.search(r"Format int[48]: (it loses least|as int8, )", said(done))
        assert all(known.revision in path for path in hub.asked), "the commit that is known, never the newest"
        assert not list((tmp_path / "cache/models").glob("[!.]*"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpt-9", "No model 'gpt-9' is known here; known are smollm2-135m"),
        ("smollm2-135m", "is the embedded model; to make it: mellum-lsp setup"),
        ("JetBrains/nothing", "The hub has no model JetBrains/nothing"),
    ],
)
def test_what_cannot_be_got_is_one_sentence(name: str, sentence: str, hub: Hub, tmp_path: Path) -> None:
    done = models(tmp_path, hub, "get", name)
    assert done.returncode == 1
    assert sentence in said(done)
    assert "Traceback" not in done.stderr
