"""`mellum-lsp models get NAME`: from a model's name to a server that uses it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from engine.model_folders.locations import choose_model, chosen_model, models_folder
from engine.model_folders.manifest import ModelError, read_manifest
from lsp_server.cli.commands.models.fitting import NoFit, Workspace, fit_model, needs_fit, said
from lsp_server.cli.commands.models.making import Order, count_threads, device_and_format, make, summary
from lsp_server.cli.console import err, failure
from lsp_server.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from export.known_models import KnownModel

ServedFormat = Literal["auto", "int8", "int4"]


def get(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name that mellum-lsp models recommend prints, such as qwen2.5-coder-0.5b, or a hub id, OWNER/NAME.",
        ),
    ],
    format: Annotated[
        ServedFormat,
        typer.Option(help="How weights are stored; auto: int8, or int4 if this machine is too small or slow for it."),
    ] = "auto",
    revision: Annotated[
        str | None, typer.Option(help="A commit, tag or branch of it. Default: the newest, which is written down.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Measure on real code what it lost against the published model."),
    ] = True,
    no_fit: NoFit = False,
    workspace: Workspace = None,
    use: Annotated[bool, typer.Option("--use/--no-use", help="Use it, also in servers that run.")] = True,
) -> None:
    """Download a model, export it, verify it, fit it to real code, and use it. Only the download needs the network.

    It can be interrupted at any time: the same command goes on with what is missing, and the model is never half made.
    """
    from export.architecture import ExportError
    from export.known_models import known_model

    started, steps = time.monotonic(), _Steps()
    try:
        known = None if "/" in name and not _is_known(name) else known_model(name)
        if known is not None and known.is_embedded:
            raise ExportError(f"{known.name} is the embedded model; to make it: mellum-lsp setup")
        source = name if known is None else known.hub
        if known is not None:
            err.print(Text(f"{known.name}: {source}, {known.licence}, {known.download_megabytes:,.0f} MB to download."))
            if format == "auto" and device_and_format("auto", "auto")[0] == "cpu":
                format = _format_of(known)
        order = Order(
            source,
            format=format,
            revision=revision or (known.revision if known else None),
            verify=verify,
            shape=known.shape if known else None,
            keep=True,
        )
        with progress_bar() as progress:
            told = steps.watching(progress)
            made = make(order, told)
            folder, manifest = made.folder, made.manifest
            count_threads(made, told)
            fit = fit_model(folder, workspace, told) if needs_fit(manifest) and not no_fit else None
    except (ExportError, ModelError) as error:
        raise failure(str(error)) from error
    before = chosen_model()
    if use:
        choose_model(manifest.name)
    lines = summary(folder, manifest, time.monotonic() - started).splitlines()
    err.print(Text("\n".join(lines if not use else lines[:-1])), soft_wrap=True)
    if fit is not None:
        err.print(Text(said(read_manifest(folder), fit)), soft_wrap=True)
    err.print(Text(f"Seconds by step: {steps}"), soft_wrap=True)
    if use:
        back = f". To switch back: mellum-lsp models use {before}" if before != manifest.name else ""
        err.print(
            Text(f"{manifest.name} is in use; servers that run take it at their next request{back}"), soft_wrap=True
        )


def _format_of(model: KnownModel) -> Literal["int8", "int4"]:
    """The format that it has here already; else the one that `models recommend` would use, and why."""
    for format in ("int8", "int4"):
        if (models_folder() / f"{model.name}-{format}").is_dir():
            return format
    from export.known_models import Limits, Machine, advise, measure_shape

    machine = Machine.this_one(0.0)
    estimate = advise(
        (model,), machine, lambda shape, format: measure_shape(shape, format, machine.threads), limits=Limits()
    ).chosen
    chosen = estimate.prediction.format
    err.print(Text(f"Format {chosen}: {estimate.why_format}."), soft_wrap=True)
    if estimate.against:
        err.print(Text(f"As measured on a few layers, {estimate.against}.", style="yellow"), soft_wrap=True)
    return chosen


def _is_known(name: str) -> bool:
    from export.known_models import known_models

    return name.lower() in {model.hub.lower() for model in known_models()}


class _Steps:
    """How long each step took, by what its progress is called."""

    def __init__(self) -> None:
        self._began: list[tuple[str, float]] = []

    def watching(self, progress: Callable[[str, float], None]) -> Callable[[str, float], None]:
        """Pass progress on, and note when each step began."""

        def told(what: str, share: float) -> None:
            step = what.split(" ", 1)[0].rstrip(".")
            if not self._began or self._began[-1][0] != step:
                self._began.append((step, time.monotonic()))
            progress(what, share)

        return told

    def __str__(self) -> str:
        ends = [began for _, began in self._began[1:]] + [time.monotonic()]
        spans = zip(self._began, ends, strict=True)
        return ", ".join(f"{step.lower()} {end - began:.1f}" for (step, began), end in spans)
