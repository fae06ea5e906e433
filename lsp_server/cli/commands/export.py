"""`mellum-lsp export`: from published weights to a model that the server can use."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from engine.devices.providers import try_provider
from engine.model_folders.locations import DEFAULT_MODEL, models_folder
from engine.model_folders.manifest import Manifest, ModelError
from engine.runtime.benchmark import choose_threads
from lsp_server.cli.console import err, failure
from lsp_server.cli.progress_bar import progress_bar

Target = Literal["auto", "cpu", "cuda"]
Format = Literal["auto", "int8", "int4", "fp16", "fp32"]
Style = Literal["auto", "mellum", "psm", "plain"]
Via = Literal["mellum-lsp", "optimum"]


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A hub id such as JetBrains/Mellum-4b-base, a folder with its files, a GGUF file, or, to measure "
            "speed without any weights, random:mellum-4b or random:CONFIG.JSON.",
        ),
    ],
    target: Annotated[Target, typer.Option(help="What the model is to run on; auto: CUDA where it works.")] = "auto",
    format: Annotated[Format, typer.Option(help="How numbers are stored; auto: the fastest for the target.")] = "auto",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to make. Default: in the cache.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call it. Default: after the source and the format.")] = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A LoRA adapter to merge, as PEFT saves it.", exists=True)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A commit, tag or branch of a hub model.")] = None,
    style: Annotated[
        Style, typer.Option(help="The prompt it was trained on: suffix first, prefix first, or no suffix.")
    ] = "auto",
    via: Annotated[
        Via,
        typer.Option(
            help="Who writes the decoder. optimum knows more architectures, writes float32 only, and needs the extra "
            "mellum-lsp[export]."
        ),
    ] = "mellum-lsp",
    verify: Annotated[
        bool, typer.Option("--verify", help="Measure on real code what it lost against the published model.")
    ] = False,
) -> None:
    """Turn published weights into an ONNX model for this machine. Only a hub id downloads anything."""
    from export.architecture import ExportError  # the server and the other commands need none of it

    started = time.monotonic()
    with progress_bar() as progress:
        try:
            if via == "optimum":
                _refuse_with_optimum(target, format, adapter)
                folder, manifest = _export_via_optimum(source, out, name, revision, style, verify, progress)
            else:
                folder, manifest = _export(
                    source, target, format, out, name, adapter, revision, style, verify, progress
                )
            choose_threads(folder, manifest, say=lambda what: progress(what, 1.0))
        except (ExportError, ModelError) as error:
            raise failure(str(error)) from error
    err.print(Text(_summary(folder, manifest, time.monotonic() - started)), soft_wrap=True)


def _export(
    source: str,
    target: Target,
    format: Format,
    out: Path | None,
    name: str | None,
    adapter: Path | None,
    revision: str | None,
    style: Style,
    verify: bool,
    progress: Callable[[str, float], None],
) -> tuple[Path, Manifest]:
    """Open the source, then write the folder under its lock. Raises ExportError."""
    from export.architecture import ExportError
    from export.graph import decoder
    from export.make import export as write
    from export.sources import open_source
    from export.sources.adapter import calibration_of, ngrams_of

    device = _device(target, format)
    chosen = decoder.FORMATS[device][0] if format == "auto" else format
    if chosen not in decoder.FORMATS[device]:
        raise ExportError(f"{device} does not run {chosen!r}; choose one of: {', '.join(decoder.FORMATS[device])}")
    folder, name = _destination(source, chosen, out, name)
    with open_source(source, adapter=adapter, revision=revision, progress=progress) as opened, _alone(folder):
        manifest = write(
            opened,
            opened.tokenizer(),
            folder,
            style=style,
            command=_command(source, ["--target", device, "--format", chosen], adapter, opened.revision, style),
            progress=progress,
            format=chosen,
            device=device,
            name=name,
            calibration=calibration_of(adapter) if adapter else 1.0,
            ngrams=ngrams_of(adapter) if adapter else None,
        )
        if verify:
            from export.verify import verify as measure

            progress("Verifying", 0.0)
            manifest = measure(folder, opened)
    return folder, manifest


def _export_via_optimum(
    source: str,
    out: Path | None,
    name: str | None,
    revision: str | None,
    style: Style,
    verify: bool,
    progress: Callable[[str, float], None],
) -> tuple[Path, Manifest]:
    """Export with optimum's exporter. Raises ExportError."""
    from export.sources import open_checkpoint
    from export.via_optimum import export_via_optimum, verify_with_transformers

    folder, name = _destination(source, "optimum", out, name)
    checkpoint = open_checkpoint(source, revision=revision, progress=progress)
    with _alone(folder):
        command = _command(source, ["--via", "optimum"], None, checkpoint.revision, style)
        manifest = export_via_optimum(checkpoint, folder, style=style, command=command, progress=progress, name=name)
        if verify:
            progress("Verifying", 0.0)
            manifest = verify_with_transformers(folder, checkpoint)
    return folder, manifest


def _refuse_with_optimum(target: Target, format: Format, adapter: Path | None) -> None:
    from export.architecture import ExportError

    if target == "cuda" or format not in ("auto", "fp32"):
        raise ExportError("optimum's graph is float32 for the CPU; leave --target and --format out with --via optimum")
    if adapter is not None:
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


def _device(target: Target, format: Format) -> Literal["cpu", "cuda"]:
    """CUDA if it works and has the format, else the CPU."""
    if target != "auto":
        return target
    if format in ("int8", "fp32"):
        return "cpu"
    return "cuda" if format == "fp16" or not try_provider("cuda").failure else "cpu"


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


def _summary(folder: Path, manifest: Manifest, seconds: float) -> str:
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
