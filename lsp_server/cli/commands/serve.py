"""`mellum-lsp serve`: the language server, on stdio or a socket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lsp_server.cli.console import failure


def serve(
    tcp: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="Listen there for one client, instead of stdio.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --tcp: a file with a token that the client must send as initializationOptions.token. Needed "
            "where other machines can connect. MELLUM_LSP_TOKEN does the same.",
        ),
    ] = None,
) -> None:
    """Run the language server on stdin and stdout. Editors start this."""
    from lsp_server.server import serve_stdio, serve_tcp  # a slow import that other commands do not need
    from lsp_server.wire.transport import ListenError

    if tcp is None:
        raise typer.Exit(serve_stdio())
    host, _, port = tcp.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter(f"{tcp!r} is not a port, nor HOST:PORT", param_hint="--tcp")
    try:
        raise typer.Exit(serve_tcp(host.strip("[]") or "127.0.0.1", int(port), _token(token_file)))
    except ListenError as error:
        raise failure(str(error)) from error


def _token(file: Path | None) -> str | None:
    """The token that clients must send, if there is one. Child processes do not get it."""
    from lsp_server.wire.introduction import SHORTEST_TOKEN
    from lsp_server.wire.transport import TOKEN_VARIABLE

    given = os.environ.pop(TOKEN_VARIABLE, None)
    if file is not None:
        try:
            given = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            raise failure(f"The token cannot be read from {file} ({error})") from error
    if given is not None and len(given) < SHORTEST_TOKEN:
        raise failure(f"The token is too short: give at least {SHORTEST_TOKEN} characters that are hard to guess")
    return given
