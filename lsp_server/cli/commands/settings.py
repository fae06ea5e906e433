"""`mellum-lsp settings`: what can be set in an editor."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lsp_server.cli.console import out, print_json
from lsp_server.configuration.schema import schema as made


def show_settings(
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema of all settings, for tools.")] = False,
) -> None:
    """List what can be set in an editor, under `mellum`."""
    found = made()
    if schema:
        print_json(found)
        return
    table = Table("setting", "default", "", box=None, padding=(0, 2, 0, 0))
    for name, one in found["properties"].items():
        table.add_row(name, json.dumps(one["default"]), Text(one["description"]))
    out.print(table)
