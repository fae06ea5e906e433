"""Makes a model folder from a source: what `mellum-lsp export` and `mellum-lsp models get` share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from engine.devices.providers import try_provider
from engine.model_folders.locations import DEFAULT_MODEL, models_folder
from engine.model_folders.manifest import Manifest, read_manifest
from engine.runtime.benchmark import choose_threads
from lsp_server.cli.console import err
from lsp_server.cli.progress_bar import ended_at_once

if TYPE_CHECKING:
    from export.architecture import Architecture

Target = Literal["auto", "cpu", "cuda"]
Format = Literal["auto", "int8", "int4", "fp16", "fp32"]
Style = Literal["auto", "mellum", "psm", "plain"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to make of which source."""

    source: str
    target: Target = "auto"
    format: Format = "auto"
    out: Path | None = None
    name: str | None = None
    adapter: Path | None = None
    revision: str | None = None
    style: Style = "auto"
    verify: bool = False
    shape: Architecture | None = None
    """What the source must hold; None: anything."""
    keep: bool = False
    """Whether a whole model that the same command has made stays as it is."""


@dataclass(frozen=True, slots=True)
class Made:
    """A finished model folder, and the shape of its weights."""

    folder: Path
    manifest: Manifest
    shape: Architecture | None
    """None where another exporter wrote the graph."""


def make(order: Order, progress: Progress) -> Made:
    """Open the source, then write the folder under its lock. Raises ExportError."""
    from export.make import export as write
    from export.make import is_current
    from export.sources import cautions, open_source
    from export.sources.adapter import calibration_of, ngrams_of

    device, chosen = device_and_format(order.target, order.format)
    folder, name = _destination(order.source, chosen, order.out, order.name)
    adapter = order.adapter
    with ExitStack() as stack:
        with ended_at_once():  # a download's threads would go on to their end
            opened = stack.enter_context(
                open_source(order.source, adapter=adapter, revision=order.revision, progress=progress)
            )
        for caution in cautions(order.source, opened):
            err.print(Text(f"{caution}.", style="yellow"), soft_wrap=True)
        stack.enter_context(_alone(folder))
        if order.shape is not None:
            _refuse_another(order.source, opened.architecture, order.shape)
        command = _command(
            order.source, ["--target", device, "--format", chosen], adapter, opened.revision, order.style
        )
        if order.keep and is_current(folder) and read_manifest(folder).command == command:
            manifest = read_manifest(folder)
        else:
            manifest = write(
                opened,
                opened.tokenizer(),
                folder,
                style=order.style,
                command=command,
                progress=progress,
                format=chosen,
                device=device,
                name=name,
                calibration=calibration_of(adapter) if adapter else 1.0,
                ngrams=ngrams_of(adapter) if adapter else None,
            )
        if order.verify and not manifest.verification:
            from export.verify import verify

            progress("Verifying", 0.0)
            manifest = verify(folder, opened)
        return Made(folder, manifest, opened.architecture)


def _refuse_another(source: str, found: Architecture, known: Architecture) -> None:
    """Refuse a model whose matrices are not those of the known one. Raises ExportError."""
    from export.architecture import ExportError

    if (found.name, found.layers, found.parameters) != (known.name, known.layers, known.parameters):
        raise ExportError(
            f"{source} does not hold the model that is known here under this name (it has {found.parameters:,} "
            f"parameters in {found.layers} layers, and not {known.parameters:,} in {known.layers}); to export it all "
            f"the same: mellum-lsp export {source}"
        )


def make_via_optimum(order: Order, progress: Progress) -> Made:
    """Export with optimum's exporter. Raises ExportError."""
    from export.sources import open_checkpoint
    from export.via_optimum import export_via_optimum, verify_with_transformers

    _refuse_with_optimum(order)
    folder, name = _destination(order.source, "optimum", order.out, order.name)
    with ended_at_once():
        checkpoint = open_checkpoint(order.source, revision=order.revision, progress=progress)
    with _alone(folder):
        command = _command(order.source, ["--via", "optimum"], None, checkpoint.revision, order.style)
        manifest = export_via_optimum(
            checkpoint, folder, style=order.style, command=command, progress=progress, name=name
        )
        if order.verify:
            progress("Verifying", 0.0)
            manifest = verify_with_transformers(folder, checkpoint)
    return Made(folder, manifest, None)


def count_threads(made: Made, progress: Progress) -> None:
    """Measure with how many threads the model is fast here; a large one by a few layers, so that it is not loaded.

    Large ones of other formats are left to `mellum-lsp doctor`. Raises ModelError.
    """
    from export.known_models import LARGE, written_layers

    def say(what: str) -> None:
        progress(what, 1.0)

    format = made.manifest.quantization
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    if size < LARGE or made.shape is None:
        choose_threads(made.folder, made.manifest, say=say)
    elif not made.manifest.is_for_gpu and format in ("int8", "int4"):
        with written_layers(made.shape, "int8" if format == "int8" else "int4") as layers:
            choose_threads(made.folder, made.manifest, say=say, layers=layers)


def _refuse_with_optimum(order: Order) -> None:
    from export.architecture import ExportError

    if order.target == "cuda" or order.format not in ("auto", "fp32"):
        raise ExportError("optimum's graph is float32 for the CPU; leave --target and --format out with --via optimum")
    if order.adapter is not None:
        raise ExportError("--via optimum merges no adapter; merge it with peft, save the model, and give that folder")


def _destination(source: str, kind: str, out: Path | None, name: str | None) -> tuple[Path, str]:
    """The folder to make and the model's name. Raises ExportError."""
    from export.architecture import ExportError
    from export.folder.atomic_folder import check_replaceable
    from export.make import check_name
    from export.sources import name_for

    name = check_name(name or (out.name if out is not None else f"{name_for(source)}-{kind}"))
    folder = models_folder() / name if out is None else out.expanduser().absolute()
    if folder == models_folder() / DEFAULT_MODEL:
        raise ExportError(f"{DEFAULT_MODEL} is the model that mellum-lsp setup makes; choose another --name")
    check_replaceable(folder)
    return folder, name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock."""
    from export.folder.atomic_folder import lock_for

    waiting = "Another mellum-lsp is exporting to this folder; waiting for it to finish."
    with lock_for(folder, lambda: err.print(waiting)):
        yield


def device_and_format(
    target: Target, format: Format
) -> tuple[Literal["cpu", "cuda"], Literal["int8", "int4", "fp16", "fp32"]]:
    """What `auto` means here: CUDA if it works and has the format, and its fastest format. Raises ExportError."""
    from export.architecture import ExportError
    from export.graph import decoder

    device: Literal["cpu", "cuda"] = "cpu"
    if target != "auto":
        device = target
    elif format not in ("int8", "fp32"):
        device = "cuda" if format == "fp16" or not try_provider("cuda").failure else "cpu"
    chosen = decoder.FORMATS[device][0] if format == "auto" else format
    if chosen not in decoder.FORMATS[device]:
        raise ExportError(f"{device} does not run {chosen!r}; choose one of: {', '.join(decoder.FORMATS[device])}")
    return device, chosen


def _command(source: str, options: list[str], adapter: Path | None, revision: str | None, style: str) -> str:
    """The command that makes the same model again, without folders of this machine."""
    path = Path(source.removeprefix("random:")).expanduser()
    shown = source
    if path.exists():
        shown = source[: -len(source.removeprefix("random:"))] + path.resolve().name
    words = ["mellum-lsp", "export", shown, *options]
    words += ["--adapter", adapter.resolve().name] if adapter else []
    words += ["--revision", revision] if revision else []
    return shlex.join(words + (["--style", style] if style != "auto" else []))


def summary(folder: Path, manifest: Manifest, seconds: float) -> str:
    size = sum(path.stat().st_size for path in folder.iterdir())
    lines = [
        f"{manifest.name}: {manifest.parameters / 1e6:,.0f} million parameters as {manifest.quantization}, "
        f"{size / 1e6:,.0f} MB, prompt style '{manifest.prompt.style}', in {seconds:.0f} s",
        f"It is in {folder}",
    ]
    if manifest.verification:
        lost, agreement = manifest.verification["lost_nats"], manifest.verification["agreement"]
        lines.insert(
            1,
            f"Against the published weights in float32, on real code, it loses {lost:.4f} nats a token and agrees on "
            f"{agreement:.1%} of the tokens",
        )
    if folder.parent == models_folder():
        lines.append(f"Use it: mellum-lsp models use {manifest.name}")
    return "\n".join(lines)
