"""`mellum-lsp export`: from published weights to a model that the server can use."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from engine.manifest import Manifest
from engine.models import DEFAULT_MODEL, models_folder
from engine.providers import try_provider

_err = Console(stderr=True, highlight=False)

Target = Literal["auto", "cpu", "cuda"]
Format = Literal["auto", "int8", "int4", "fp16", "fp32"]
Style = Literal["auto", "mellum", "psm", "plain"]


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
    verify: Annotated[bool, typer.Option("--verify", help="Measure what quantization cost, on real code.")] = False,
) -> None:
    """Turn published weights into an ONNX model for this machine. Only a hub id downloads anything."""
    from export.architecture import ExportError  # the server and the other commands need none of it

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=_err, transient=True) as bars:
        bar = bars.add_task("", total=1.0, visible=False)

        def progress(what: str, share: float) -> None:
            bars.update(bar, description=what, completed=share, visible=True)

        try:
            folder, manifest = _export(source, target, format, out, name, adapter, revision, style, verify, progress)
        except ExportError as error:
            _err.print(Text(str(error), style="red"), soft_wrap=True)
            raise typer.Exit(1) from error
    _err.print(Text(_summary(folder, manifest, time.monotonic() - started)), soft_wrap=True)


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
    from engine.manifest import read_manifest
    from export import graph
    from export.architecture import ExportError
    from export.pipeline import check_name
    from export.pipeline import export as write
    from export.place import check_replaceable, lock_for, sweep
    from export.sources import name_for, open_source

    device = _device(target, format)
    chosen = graph.FORMATS[device][0] if format == "auto" else format
    if chosen not in graph.FORMATS[device]:
        raise ExportError(f"{device} does not run {chosen!r}; choose one of: {', '.join(graph.FORMATS[device])}")
    name = check_name(name or (out.name if out is not None else f"{name_for(source)}-{chosen}"))
    folder = models_folder() / name if out is None else out.expanduser().absolute()
    if folder == models_folder() / DEFAULT_MODEL:
        raise ExportError(f"{DEFAULT_MODEL} is the model that mellum-lsp setup makes; choose another --name")
    check_replaceable(folder)
    with (
        open_source(source, adapter=adapter, revision=revision, progress=progress) as opened,
        lock_for(
            folder, lambda: _err.print("Another mellum-lsp is exporting to this folder; waiting for it to finish.")
        ),
    ):
        sweep(folder)
        manifest = write(
            opened,
            opened.tokenizer(),
            folder,
            style=style,
            command=_command(source, device, chosen, adapter, opened.revision, style),
            progress=progress,
            format=chosen,
            device=device,
            name=name,
        )
        if verify:
            from export.verify import verify as measure

            progress("Verifying", 0.0)
            measure(folder, opened)
            manifest = read_manifest(folder)
    return folder, manifest


def _device(target: Target, format: Format) -> Literal["cpu", "cuda"]:
    """CUDA only where it really works, and where the format is one of its own."""
    if target != "auto":
        return target
    if format in ("int8", "fp32"):
        return "cpu"
    return "cuda" if format == "fp16" or not try_provider("cuda").failure else "cpu"


def _command(source: str, device: str, format: str, adapter: Path | None, revision: str | None, style: str) -> str:
    """The command that makes the same model again, without this machine's folders."""
    path = Path(source.removeprefix("random:")).expanduser()
    shown = source
    if path.exists():
        shown = source[: -len(source.removeprefix("random:"))] + path.resolve().name
    words = ["mellum-lsp", "export", shown, "--target", device, "--format", format]
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
        lines.insert(
            1,
            f"Against float32 on real code it loses {manifest.verification['lost_nats']:.4f} nats a token and agrees "
            f"on {manifest.verification['agreement']:.1%} of the tokens",
        )
    if folder.parent == models_folder():
        lines.append(f"Use it: mellum-lsp models use {manifest.name}")
    return "\n".join(lines)
