"""`mellum-lsp doctor`: what is installed, what really works, and what to do about the rest."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata

import onnxruntime
from onnx import TensorProto, helper

from engine import Engine, ModelError
from engine.models import cache_folder, find_model

_PACKAGES = (
    "mellum-lsp",
    "pygls",
    "lsprotocol",
    "onnxruntime",
    "onnxruntime-gpu",
    "tokenizers",
    "numpy",
    "tree-sitter",
)


@dataclass
class Diagnosis:
    """Facts in the order to show them, and what is wrong; each problem is a sentence with its mend."""

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def diagnose(model: str | None = None) -> Diagnosis:
    """Look at everything that a suggestion needs; loads the model and measures it. Takes a few seconds."""
    diagnosis = Diagnosis()
    facts, problems = diagnosis.facts, diagnosis.problems
    facts["python"] = f"{platform.python_version()} ({sys.executable})"
    facts["system"] = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    facts["packages"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    if {"onnxruntime", "onnxruntime-gpu"} <= versions.keys():
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other. "
            "Run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install --force-reinstall onnxruntime-gpu"
        )
    available = onnxruntime.get_available_providers()
    working = [name for name in available if _works(name)]
    facts["execution providers"] = ", ".join(
        name.removesuffix("ExecutionProvider") + ("" if name in working else " (built in, does not load here)")
        for name in available
    )
    if "CPUExecutionProvider" not in working:
        problems.append("ONNX Runtime cannot run a graph on this CPU. Run: pip install --force-reinstall onnxruntime")
    facts["cache folder"] = str(cache_folder())
    try:
        folder = find_model(model)
        facts["model folder"] = str(folder)
        engine = Engine.load(folder)
    except ModelError as error:
        problems.append(str(error))
        return diagnosis
    manifest = engine.manifest
    megabytes = sum((folder / name).stat().st_size for name in manifest.files) / 1e6
    facts["model"] = (
        f"{manifest.name}: {manifest.source}, {manifest.parameters / 1e6:,.1f}M parameters, {manifest.quantization}, "
        f"{megabytes:.0f} MB, prompt style '{manifest.prompt.style}', {manifest.license}"
    )
    facts["runs on"] = f"{engine.providers[0].removesuffix('ExecutionProvider')}, {engine.threads} threads"
    facts["measured rate"] = f"prefill {engine.rates.prefill:,.0f} tokens/s, decode {engine.rates.decode:,.0f} tokens/s"
    facts["prompt"] = f"up to {engine.budget.prompt} tokens, {manifest.kv_bytes_per_token:,} bytes of KV state each"
    return diagnosis


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _works(provider: str) -> bool:
    """Whether a provider really runs a graph: being listed means only that it was compiled in."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "a"], ["sum"])],
        "probe",
        [value("a", TensorProto.FLOAT, [1])],
        [value("sum", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        with _silent_stderr():
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=[provider], enable_fallback=0
            )
    except Exception:  # the runtime's own exception classes share no base
        return False
    return provider in session.get_providers()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep native libraries from printing to the terminal that they could not be loaded: the answer says it."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
