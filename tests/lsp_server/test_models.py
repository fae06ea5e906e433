"""`mellum-lsp export` and `models` as a user runs them: a process, its output, its exit code, its folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.model_folders.locations import CACHE_VARIABLE, find_model
from engine.model_folders.manifest import check_files, read_manifest
from export.sources.adapter import CALIBRATION_FILE
from tests.export.small_models import PLAIN, VARIANTS, random_weights, write_folder
from tests.export.test_sources import write_adapter
from tests.lsp_server.test_cli import run

DEADLINE = 120
HOUSE = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "Mellum-small", PLAIN, random_weights(PLAIN))


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def export(source: Path, *options: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Export for the processor; random weights have nothing to be fitted to."""
    return run("export", str(source), "--target", "cpu", "--no-fit", *options, cache=cache)


def test_a_model_is_exported_listed_chosen_verified_and_removed(cache: Path, source: Path) -> None:
    done = export(source, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "mellum-lsp models use mellum-small-int8" in said(done)
    (listed,) = json.loads(run("models", "--json", cache=cache).stdout)
    assert (listed["name"], listed["quantization"], listed["style"]) == ("mellum-small-int8", "int8", "mellum")
    assert (listed["license"], listed["in_use"]) == ("apache-2.0", False)
    assert listed["command"] == "mellum-lsp export Mellum-small --target cpu --format int8"
    assert run("models", "use", "mellum-small-int8", cache=cache).returncode == 0
    table = run("models", cache=cache).stdout
    assert "*" in table
    assert "mellum-small-int8" in table
    completed = run("complete", "--json", str(Path(__file__)), cache=cache)
    assert json.loads(completed.stdout)["model"] == "mellum-small-int8"
    assert "all 4 files" in run("models", "verify", "mellum-small-int8", cache=cache).stdout
    (cache / "models/mellum-small-int8/README.md").write_text("changed")
    damaged = run("models", "verify", "mellum-small-int8", cache=cache)
    assert damaged.returncode == 1
    assert "README.md is not the file that was exported" in said(damaged)
    removed = run("models", "remove", "mellum-small-int8", cache=cache)
    assert "smollm2-135m is in use again" in said(removed)
    assert json.loads(run("models", "--json", cache=cache).stdout) == []


def test_an_exported_model_is_fitted_to_ones_own_code_and_doctor_says_so(
    cache: Path, source: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(HOUSE / "engine" / "ending", workspace)
    assert export(source, cache=cache).returncode == 0
    folder = cache / "models/mellum-small-int8"
    assert (read_manifest(folder).ngrams, read_manifest(folder).calibration) == (None, 1.0)
    told = json.loads(run("doctor", "--model", folder.name, "--json", cache=cache).stdout)
    assert "Run: mellum-lsp models fit mellum-small-int8" in told["facts"]["fitted"]
    done = run("models", "fit", folder.name, "--workspace", str(workspace), "--seconds", "5", cache=cache)
    assert done.returncode == 0, done.stderr
    assert "nats a token likelier" in said(done)
    assert read_manifest(folder).ngrams is not None
    check_files(folder, read_manifest(folder))
    told = json.loads(run("doctor", "--model", folder.name, "--json", cache=cache).stdout)
    assert "places of a workspace" in told["facts"]["fitted"]
    (workspace / "empty").mkdir()
    refused = run("models", "fit", folder.name, "--workspace", str(workspace / "empty"), cache=cache)
    assert refused.returncode == 1
    assert "no function of a usual length" in said(refused)


def test_every_format_of_the_cpu_under_its_own_name(cache: Path, source: Path) -> None:
    for format in ("int8", "fp32"):
        assert export(source, "--format", format, cache=cache).returncode == 0
    names = {model["name"] for model in json.loads(run("models", "--json", cache=cache).stdout)}
    assert names == {"mellum-small-int8", "mellum-small-fp32"}


def test_an_adapter_brings_its_calibration(cache: Path, source: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "own"
    write_adapter(adapter)
    (adapter / CALIBRATION_FILE).write_text('{"calibration": 0.75}')
    done = run(
        "export", str(source), "--target", "cpu", "--no-fit", "--adapter", str(adapter), "--name", "own", cache=cache
    )
    assert done.returncode == 0, done.stderr
    assert read_manifest(cache / "models/own").calibration == 0.75
    (adapter / CALIBRATION_FILE).write_text('{"calibration": 0}')
    refused = run(
        "export", str(source), "--target", "cpu", "--no-fit", "--adapter", str(adapter), "--name", "other", cache=cache
    )
    assert refused.returncode == 1
    assert "must hold a positive number" in said(refused)


def test_what_is_wrong_is_one_sentence_and_an_exit_code(cache: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary.txt").write_text("Dear diary")
    for arguments, sentence in (
        (("export", "nowhere/at/all"), "There is no file or folder"),
        (("export", str(source), "--target", "cuda", "--format", "int8"), "cuda does not run 'int8'"),
        (("export", str(source), "--out", str(tmp_path / "notes")), "holds no model and will not be replaced"),
        (("export", str(source), "--out", str(tmp_path / "notes/diary.txt")), "is no folder"),
        (("export", str(source), "--name", "../outside"), "cannot name a model"),
        (("export", str(source), "--name", "smollm2-135m"), "choose another --name"),
        (("export", str(source), "--revision", "main"), "A revision belongs to a model on the hub"),
        (("export", "random:mellum-4b", "--style", "psm", "--adapter", str(tmp_path / "notes")), "adapter_config.json"),
        (("models", "use", "gpt-9"), "There is no model 'gpt-9'"),
        (("models", "use", ""), "the name is empty"),
        (("models", "verify", "gpt-9"), "There is no model 'gpt-9'"),
        (("models", "remove", "../models"), "There is no model"),
    ):
        options = () if arguments[0] == "models" or "--target" in arguments else ("--target", "cpu")
        done = run(*arguments, *options, cache=cache)
        assert done.returncode == (2 if arguments[1] == "use" else 1), arguments
        assert sentence in said(done)
        assert "Traceback" not in done.stderr
    assert (tmp_path / "notes/diary.txt").read_text() == "Dear diary"
    assert not [name for name in contents(cache / "models") if not name.endswith(".lock")]


def test_a_model_is_replaced_and_a_folder_elsewhere_is_made(cache: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere/my-model"
    for style in ("mellum", "psm"):
        assert (
            run(
                "export", str(source), "--target", "cpu", "--no-fit", "--out", str(out), "--style", style, cache=cache
            ).returncode
            == 0
        )
        assert read_manifest(out).prompt.style == style
    check_files(out, read_manifest(out))
    assert read_manifest(out).name == "my-model"
    assert contents(out.parent) == {"my-model"}
    assert run("models", "use", str(out), cache=cache).returncode == 0
    assert json.loads(run("complete", "--json", str(Path(__file__)), cache=cache).stdout)["model"] == "my-model"


def test_a_chosen_model_that_is_gone_is_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "models").mkdir(parents=True)
    (cache / "models/.chosen").write_text("gone\n")
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    with pytest.raises(Exception, match=r"models.gone is not there any more\. Run: mellum-lsp models use"):
        find_model()


@pytest.mark.parametrize(
    "command",
    [
        ("export",),
        ("models",),
        ("models", "use"),
        ("models", "remove"),
        ("models", "get"),
        ("models", "recommend"),
        ("models", "fit"),
    ],
)
def test_help_teaches(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_model_larger_than_the_disk_is_refused_before_anything_is_written(cache: Path, source: Path) -> None:
    shape = json.loads((source / "config.json").read_text()) | {"hidden_size": 1 << 20, "num_hidden_layers": 1 << 16}
    (source / "config.json").write_text(json.dumps(shape))
    done = run("export", f"random:{source / 'config.json'}", "--target", "cpu", cache=cache)
    assert done.returncode == 1
    assert "MB free and the model needs" in said(done)
    assert not [name for name in contents(cache / "models") if not name.endswith(".lock")]


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_file_that_cannot_be_written_is_one_sentence(cache: Path, source: Path) -> None:
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "lsp_server.cli", "export", str(source), "--target", "cpu", "--no-fit"],
        env={**os.environ, CACHE_VARIABLE: str(cache)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "The model cannot be written to" in said(done)
    assert "Traceback" not in done.stderr
    assert contents(cache / "models") == {".mellum-small-int8.lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_export_that_is_ended_leaves_nothing_that_lasts(end: signal.Signals, cache: Path, source: Path) -> None:
    """Ctrl-C leaves nothing; kill -9 a temporary folder, which the next export of that model sweeps."""
    shape = json.loads((source / "config.json").read_text()) | {
        "hidden_size": 1024,
        "vocab_size": 32768,
        "head_dim": 64,
    }
    (source / "tokenizer.json").unlink()
    (source / "config.json").write_text(json.dumps(shape | {"num_hidden_layers": 12, "intermediate_size": 4096}))
    command = [sys.executable, "-m", "lsp_server.cli", "export", f"random:{source / 'config.json'}", "--target", "cpu"]
    process = subprocess.Popen(
        command, env={**os.environ, CACHE_VARIABLE: str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + DEADLINE
    while not any(file.stat().st_size > 1 << 20 for file in (cache / "models").glob(".*~*/new/*.data")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(end)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode != 0
    assert b"Traceback" not in errors
    temporary = {name for name in contents(cache / "models") if "~" in name}
    assert "mellum-small-int8" not in contents(cache / "models")
    assert bool(temporary) == (end == signal.SIGKILL)
    small = write_folder(source, VARIANTS["grouped and tied"], random_weights(VARIANTS["grouped and tied"]))
    assert export(small, cache=cache).returncode == 0
    assert contents(cache / "models") == {"mellum-small-int8", ".mellum-small-int8.lock"}
