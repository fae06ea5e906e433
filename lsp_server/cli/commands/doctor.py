"""`mellum-lsp doctor`: what is installed, what works, and the mend of each problem."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from engine import Engine, ModelError
from engine.devices import cuda, plugins
from engine.devices.providers import Provider, available, try_provider
from engine.model_folders.locations import cache_folder, find_model
from engine.model_folders.manifest import read_manifest
from engine.remote.address import RemoteError
from engine.remote.trial import try_out
from engine.runtime.benchmark import choose_threads
from lsp_server.cli.console import AsJson, ModelOption, ProviderOption, out, print_json
from lsp_server.completer import connect
from lsp_server.configuration.remotes import allowed
from lsp_server.configuration.settings import RemoteChoice
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


_ROOM_FOR_FP16 = 14_000_000_000
"""Bytes that Mellum-4b takes in 16 bits, with a few slots and the memory that a desktop needs on its card."""


@dataclass
class Diagnosis:
    """Facts in the order of their display, and problems; each problem is a sentence with its mend."""

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)
    """The output of the libraries of each execution provider that does not work."""


def diagnose(model: str | None = None, provider: Provider = "auto", remote: tuple[RemoteChoice, ...] = ()) -> Diagnosis:
    """Check everything that a suggestion needs; load the model and measure it; try servers.

    Takes a few seconds. Servers that start later use the best measured number of threads.
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
    facts["execution providers"] += "".join(
        f", {label} (a plugin{f'; does not work here: {failure}' if failure else ''})"
        for label, failure in plugins.tried()
    )
    _add_card(diagnosis, cuda.card())
    diagnosis.libraries = {attempt.name: attempt.output for attempt in attempts if attempt.failure and attempt.output}
    if "cpu" not in [attempt.name for attempt in attempts if not attempt.failure]:
        problems.append("ONNX Runtime cannot run a graph on this CPU. Run: pip install --force-reinstall onnxruntime")
    facts["network"] = _network()
    facts["cache folder"] = str(cache_folder())
    for server in remote:
        _add_remote(diagnosis, server)
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
    if manifest.ngrams is None:
        facts["fitted"] = (
            "no: n-grams of the project are off, and the gate trusts the model's probabilities as they are. "
            f"Run: mellum-lsp models fit {manifest.name}"
        )
    else:
        facts["fitted"] = f"to {manifest.fitted}" if manifest.fitted else "yes, with the adapter that it was made with"
    used = engine.providers[0].removesuffix("ExecutionProvider")
    facts["runs on"] = f"{used}: {engine.opened.reason}"
    facts["threads"] = f"{engine.threads}" + (f": {choice.reason()}" if choice is not None else "")
    if engine.opened.fell_back:
        problems.append(f"{engine.opened.reason}.")
    if engine.caution:
        problems.append(engine.caution)
    facts["measured rate"] = f"prefill {engine.rates.prefill:,.0f} tokens/s, decode {engine.rates.decode:,.0f} tokens/s"
    facts["drafts"] = (
        "change no bit of an answer here, as checked now"
        if engine.gives_same_bits()
        else "may change an answer by rounding: this processor computes a token's last digits by what runs beside it"
    )
    facts["prompt"] = (
        f"up to {engine.budget.prompt} tokens, the first at a new place {engine.first_budget.prompt}; "
        f"{manifest.kv_bytes_per_token:,} bytes of KV state each"
    )
    return diagnosis


def _add_remote(diagnosis: Diagnosis, choice: RemoteChoice) -> None:
    """A server that the user allows: whether it answers, and how fast."""
    name = f"remote {choice.url}"
    try:
        engine = connect(choice, None)
    except RemoteError as error:
        diagnosis.problems.append(str(error))
        return
    try:
        trial = try_out(engine)
    finally:
        engine.close()
    if trial.facts.state != "ready":
        diagnosis.problems.append(trial.facts.message)
        return
    parts = [f"{trial.facts.message}; {trial.protocol}"]
    for what, seconds in (("a round trip takes", trial.round_trip), ("its first token comes after", trial.first_token)):
        parts += [f"{what} {seconds * 1e3:,.0f} ms"] if seconds is not None else []
    parts += [f"it writes {trial.rate:,.0f} tokens a second"] if trial.rate is not None else []
    diagnosis.facts[name] = "; ".join(parts)


def _add_card(diagnosis: Diagnosis, card: cuda.Card | None) -> None:
    """The NVIDIA card, the CUDA version of its driver, and the libraries of CUDA that are installed."""
    facts, wanted = diagnosis.facts, cuda.wanted()
    if card is None:
        facts["NVIDIA card"] = "no NVIDIA card, or no driver for it"
        return
    facts["NVIDIA card"] = (
        f"{card.name}, {card.memory / 1e9:.0f} GB, of which {card.free / 1e9:.0f} are free; "
        f"driver {card.driver}, which runs CUDA up to {card.cuda}"
    )
    if not wanted:
        facts["CUDA"] = "this ONNX Runtime is built without it. Run: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        return
    if _major(card.cuda) < _major(wanted):
        diagnosis.problems.append(
            f"The NVIDIA driver {card.driver} runs CUDA up to {card.cuda}, and ONNX Runtime wants {wanted}. "
            "Install a newer driver from NVIDIA or your system"
        )
    libraries = cuda.load_libraries()
    found = [f"{one.name} ({one.path.parent if one.path else 'by the system'})" for one in libraries if one.loaded]
    missing = [one.name + ("" if one.required else " (not required)") for one in libraries if not one.loaded]
    facts["CUDA"] = f"{wanted} is wanted; found: {', '.join(found) or 'nothing'}"
    if missing:
        facts["CUDA"] += f"; not found: {', '.join(missing)}. Run: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    format = "fp16" if card.memory >= _ROOM_FOR_FP16 else "int4"
    facts["export for the card"] = f"mellum-lsp export ... --target cuda --format {format}"


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _network() -> str:
    """What leaves the machine, by the environment of this process."""
    left = [variable for variable in QUIET if os.environ.get(variable) != "1"]
    if left:
        return f"nothing is sent by this program, but dependencies may: {', '.join(left)} is not set"
    traced = "; Windows itself traces that it was loaded" if sys.platform == "win32" else ""
    sent = f"code is sent to {', '.join(allowed())} where your settings name it" if allowed() else "nothing is sent"
    return f"{sent}; ONNX Runtime's telemetry is off{traced}. Only setup, models get and export download"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def doctor(
    model: ModelOption = None,
    provider: ProviderOption = "auto",
    as_json: AsJson = False,
    remote: Annotated[str | None, typer.Option(help="A server to try. Default: those that you have allowed.")] = None,
    remote_model: Annotated[str | None, typer.Option(help="Which of its models.")] = None,
) -> None:
    """Say what is installed, what really works on this machine, and how fast; exit code 1 when something is broken."""
    urls = [remote] if remote is not None else allowed()
    diagnosis = diagnose(model, provider, tuple(RemoteChoice(url, remote_model) for url in urls))
    if as_json:
        print_json(asdict(diagnosis))
    else:
        table = Table.grid(padding=(0, 2))
        for name, fact in diagnosis.facts.items():
            table.add_row(Text(name, style="bold"), Text(fact))
        out.print(table)
        for problem in diagnosis.problems:
            out.print(Text(f"✗ {problem}", style="red"))
        if not diagnosis.problems:
            out.print(Text("✓ Everything works.", style="green"))
    raise typer.Exit(1 if diagnosis.problems else 0)
