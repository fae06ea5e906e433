"""`mellum-lsp remote`: lists, allows and forbids servers that may have code, and keeps their tokens in the keyring."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from engine.remote.address import RemoteError, parse_address
from lsp_server.cli.console import failure, out
from lsp_server.configuration import remotes

app = typer.Typer(help="List, allow and forbid servers whose model suggests.", no_args_is_help=False)

_Url = Annotated[str, typer.Argument(help="The server's address, such as https://gpu.example:8000.")]


@app.callback(invoke_without_command=True)
def listing(context: typer.Context) -> None:
    """List the servers that you have allowed. One is used where your setting `remote.url` names it."""
    if context.invoked_subcommand is None:
        for base in remotes.allowed() or ["No server is allowed. Run: mellum-lsp remote allow URL"]:
            out.print(base, markup=False, soft_wrap=True)


@app.command()
def allow(
    url: _Url,
    token: Annotated[bool, typer.Option("--token", help="Ask for a token, or read it from stdin.")] = False,
) -> None:
    """Let a server have code from now on. Running editors see it within a minute."""
    base = _base(url)
    if token:
        is_asked = sys.stdin.isatty()
        given = (typer.prompt("Token", hide_input=True) if is_asked else sys.stdin.readline()).strip()
        if not given:
            raise failure("There is no token; nothing was changed")
        if base.startswith("http:") and not parse_address(base).is_loopback:
            raise failure(f"A token is sent to other machines encrypted only. Allow the server as https, not {base}")
        try:
            remotes.keep_token(base, given)
        except remotes.KeyringError as error:
            raise failure(str(error)) from error
    remotes.allow(base)
    out.print(f"{base} may have code. Let the setting remote.url name it.", markup=False, soft_wrap=True)


@app.command()
def forbid(url: _Url) -> None:
    """Let a server have no code any more, and remove its token. Running servers stop when they are restarted."""
    base = _base(url)
    was_there = remotes.forbid(base)
    remotes.keep_token(base, None)
    if not was_there:
        raise failure(f"{base} was not allowed")
    out.print(f"{base} gets no code any more.", markup=False, soft_wrap=True)


def _base(url: str) -> str:
    try:
        return parse_address(url).base
    except RemoteError as error:
        raise failure(str(error)) from error
