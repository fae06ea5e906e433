"""`initialize` and `initialized`: the session begins, and ends with its editor."""

from __future__ import annotations

import asyncio
import contextlib

from lsprotocol import types

from lsp_server.language_server import MellumServer
from lsp_server.wire import editor_watch


def initialize(ls: MellumServer, params: types.InitializeParams) -> None:
    """Keep the settings that came along, and end the server when its editor dies."""
    ls.session.client_settings.take_initial(params.initialization_options)
    if params.process_id is not None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends already
                loop.call_soon_threadsafe(ls.protocol.on_exit, ls.protocol.exit_code)

        editor_watch.watch(params.process_id, end)


async def initialized(ls: MellumServer, _: types.InitializedParams) -> None:
    """Read the settings, then load the model and the index in the background."""
    await ls.session.start()
