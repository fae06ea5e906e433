"""`mellum-lsp export`: from published weights to a model that the server can use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from engine.model_folders.manifest import ModelError, read_manifest
from lsp_server.cli.commands.models.fitting import NoFit, Workspace, fit_model, needs_fit, said
from lsp_server.cli.commands.models.making import (
    Format,
    Order,
    Style,
    Target,
    count_threads,
    make,
    make_via_optimum,
    summary,
)
from lsp_server.cli.console import err, failure
from lsp_server.cli.progress_bar import progress_bar

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
    no_fit: NoFit = False,
    workspace: Workspace = None,
) -> None:
    """Turn published weights into an ONNX model for this machine. Only a hub id downloads anything."""
    from export.architecture import ExportError  # the server and the other commands need none of it

    order = Order(source, target, format, out, name, adapter, revision, style, verify)
    started = time.monotonic()
    with progress_bar() as progress:
        try:
            made = (make_via_optimum if via == "optimum" else make)(order, progress)
            folder, manifest = made.folder, made.manifest
            count_threads(made, progress)
            fit = fit_model(folder, workspace, progress) if needs_fit(manifest) and not no_fit else None
        except (ExportError, ModelError) as error:
            raise failure(str(error)) from error
    err.print(Text(summary(folder, manifest, time.monotonic() - started)), soft_wrap=True)
    if fit is not None:
        err.print(Text(said(read_manifest(folder), fit)), soft_wrap=True)
