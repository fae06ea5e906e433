"""`mellum-lsp doctor`: what is installed, what really works, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from importlib import metadata

from engine import Engine, ModelError
from engine.calibrate import choose_threads
from engine.manifest import read_manifest
from engine.models import cache_folder, find_model
from engine.providers import Provider, available, try_provider
from syntax.children import QUIET

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
    libraries: dict[str, str] = field(default_factory=dict)
    """What the libraries of each execution provider that does not work have printed."""


def diagnose(model: str | None = None, provider: Provider = "auto") -> Diagnosis:
    """Look at everything that a suggestion needs; loads the model and measures it.

    Takes a few seconds; the number of threads that measures best is kept for servers that start from now on.
    """
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
    attempts = [try_provider(name) for name in available()]
    facts["execution providers"] = ", ".join(
        attempt.label + (f" (does not work here: {attempt.failure})" if attempt.failure else "") for attempt in attempts
    )
    diagnosis.libraries = {attempt.name: attempt.output for attempt in attempts if attempt.failure and attempt.output}
    if "cpu" not in [attempt.name for attempt in attempts if not attempt.failure]:
        problems.append("ONNX Runtime cannot run a graph on this CPU. Run: pip install --force-reinstall onnxruntime")
    facts["network"] = _network()
    facts["cache folder"] = str(cache_folder())
    try:
        folder = find_model(model)
        facts["model folder"] = str(folder)
        choice = choose_threads(folder, read_manifest(folder), again=True)
        engine = Engine.load(folder, provider=provider)
    except ModelError as error:
        problems.append(str(error))
        return diagnosis
    manifest = engine.manifest
    megabytes = sum((folder / name).stat().st_size for name in manifest.files) / 1e6
    facts["model"] = (
        f"{manifest.name}: {manifest.source}, {manifest.parameters / 1e6:,.1f}M parameters, {manifest.quantization}, "
        f"{megabytes:.0f} MB, prompt style '{manifest.prompt.style}', {manifest.license}"
    )
    used = engine.providers[0].removesuffix("ExecutionProvider")
    facts["runs on"] = f"{used}: {engine.opened.reason}"
    facts["threads"] = f"{engine.threads}" + (f": {choice.reason()}" if choice is not None else "")
    if engine.opened.fell_back:
        problems.append(f"{engine.opened.reason}.")
    facts["measured rate"] = f"prefill {engine.rates.prefill:,.0f} tokens/s, decode {engine.rates.decode:,.0f} tokens/s"
    facts["prompt"] = f"up to {engine.budget.prompt} tokens, {manifest.kv_bytes_per_token:,} bytes of KV state each"
    return diagnosis


def _network() -> str:
    """What leaves the machine, as this very process was set up."""
    left = [variable for variable in QUIET if os.environ.get(variable) != "1"]
    if left:
        return f"nothing is sent by this program, but dependencies may: {', '.join(left)} is not set"
    traced = "; Windows itself traces that it was loaded" if sys.platform == "win32" else ""
    return f"nothing is sent; ONNX Runtime's telemetry is off{traced}. Only setup and export of a hub model download"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
