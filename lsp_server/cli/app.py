"""The command line: `mellum-lsp serve | complete | context | index | setup | export | models | stats | ...`."""

from __future__ import annotations

import io
import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.text import Text

from engine import ModelError
from lsp_server.cli.commands import complete, doctor, export, index, remote, serve, settings, setup, stats
from lsp_server.cli.commands.models import listing
from lsp_server.cli.console import drop_output, err, error_sentence

app = typer.Typer(
    name="mellum-lsp",
    help="Local code completion: a language server with the model inside. Nothing leaves this machine, "
    "unless you allow a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.command(name="serve")(serve.serve)
app.command(name="setup")(setup.setup)
app.command(name="complete")(complete.complete)
app.command(name="context")(complete.context)
app.command(name="doctor")(doctor.doctor)
app.command(name="stats")(stats.stats)
app.command(name="settings")(settings.show_settings)
app.command(name="export")(export.export)
app.command(name="index")(index.index)
app.add_typer(listing.app, name="models")
app.add_typer(remote.app, name="remote")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"mellum-lsp {metadata.version('mellum-lsp')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Read the options before a command."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, and an error of the disk with a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be invalid text
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ModelError) as error:
        drop_output()
        err.print(Text(error_sentence(error), style="red"), soft_wrap=True)
        sys.exit(1)
