"""`workspace/didChangeConfiguration`."""

from __future__ import annotations

from lsprotocol import types

from lsp_server.language_server import MellumServer


async def did_change(ls: MellumServer, params: types.DidChangeConfigurationParams) -> None:
    """Apply the settings that the client has sent; if it sent none, ask for them."""
    await ls.session.configure(params.settings)
