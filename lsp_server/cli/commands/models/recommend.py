"""`mellum-lsp models recommend`: how fast each known model would be here, and which one to take."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from engine.model_folders.locations import models_folder
from lsp_server.cli.console import AsJson, out, print_json
from lsp_server.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from export.known_models import Advice, Estimate

_BUSY = 0.7  # share of the time that the measured threads had the processor
_COLUMNS = ("", "model", "parameters", "format", "while typing", "after a jump", "first", "memory", "disk", "download")


def recommend(
    language: Annotated[
        str,
        typer.Option(metavar="ID", help="Recommend for this language, such as python: models tuned for it count, too."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Predict how fast each known model would be on this machine, and say which one to take. Downloads nothing.

    A few layers of each shape run with random weights, which takes about half a minute. `while typing` is the time to
    a suggestion in the median and of one in ten, `after a jump` that at a new place in the code, `first` that from the
    editor's start. Then: mellum-lsp models get NAME
    """
    from export.known_models import Limits, Machine, ShapeCosts, advise, known_models, measure_shape

    started = time.time() - psutil.Process().create_time()  # a server imports about as much as a command
    models, machine = known_models(), Machine.this_one(started)
    shapes = len({model.shape for model in models})
    measured: dict[Any, ShapeCosts] = {}

    with progress_bar() as progress:

        def measure(shape: Any, format: Any) -> ShapeCosts:
            if (shape, format) not in measured:
                done = len({one for one, _ in measured})
                progress(
                    f"Measuring layers of {shape.parameters / 1e9:.1f} billion parameters, {format}", done / shapes
                )
                measured[shape, format] = measure_shape(shape, format, machine.threads)
            return measured[shape, format]

        advice = advise(models, machine, measure, limits=Limits(), language=language)
    share = sum(costs.share for costs in measured.values()) / len(measured)
    if as_json:
        print_json(_as_json(advice, share))
    else:
        _print(advice, share)


def _print(advice: Advice, share: float) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in _COLUMNS:
        left = column in ("", "model", "format")
        table.add_column(column, justify="left" if left else "right", no_wrap=column == "model")
    for one in advice.estimates:
        table.add_row(*_row(one, is_chosen=one is advice.chosen))
    out.print(table)
    if share < _BUSY:
        out.print(
            Text("Something else used the processor meanwhile: all are faster when it is idle. Measure again then.")
        )
    for one in advice.estimates:
        for known in one.model.quality:
            out.print(Text(f"{one.model.name}: {known.measure}: {known.value} ({known.source})", style="dim"))
    chosen = advice.chosen.model
    out.print(Text(f"Take {chosen.name} ({chosen.licence}; {chosen.languages}): {advice.why}.", style="bold"))
    out.print(Text(f"Run: {_command(advice.chosen)}"))


def _row(one: Estimate, *, is_chosen: bool) -> tuple[str, ...]:
    model, prediction = one.model, one.prediction
    return (
        "*" if is_chosen else "",
        model.name,
        f"{model.shape.parameters / 1e6:,.0f} M",
        prediction.format,
        f"{prediction.typing * 1e3:,.0f} / {prediction.typing_slow * 1e3:,.0f} ms",
        f"{prediction.jump:.1f} s",
        f"{prediction.first:.0f} s" if prediction.first >= 10 else f"{prediction.first:.1f} s",
        f"{prediction.memory / 1e9:.1f} GB",
        f"{prediction.disk / 1e9:.1f} GB",
        f"{model.download_megabytes / 1e3:.1f} GB",
    )


def _command(one: Estimate) -> str:
    """What makes the model, or takes it into use where it is there."""
    if one.model.is_embedded:
        return "mellum-lsp setup"
    made = f"{one.model.name}-{one.prediction.format}"
    if (models_folder() / made).is_dir():
        return f"mellum-lsp models use {made}"
    format = "" if one.prediction.format == "int8" else f" --format {one.prediction.format}"
    return f"mellum-lsp models get {one.model.name}{format}"


def _as_json(advice: Advice, share: float) -> dict[str, Any]:
    models = [
        {
            **asdict(one.model),
            "parameters": one.model.shape.parameters,
            **asdict(one.prediction),
            "against": one.against,
        }
        for one in advice.estimates
    ]
    return {
        "recommended": advice.chosen.model.name,
        "why": advice.why,
        "command": _command(advice.chosen),
        "share_of_processor": share,
        "models": models,
    }
