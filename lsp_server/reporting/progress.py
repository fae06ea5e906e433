"""A progress bar in the editor, for clients that show one."""

from __future__ import annotations

import asyncio
import logging
import uuid

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

_ANSWER_WITHIN = 5.0

log = logging.getLogger(__name__)


class ProgressBar:
    """Work-done progress that the server begins, if the client supports it. Used on the event loop's thread alone."""

    def __init__(self, server: LanguageServer, title: str) -> None:
        self._server = server
        self._title = title
        self._token: str | None = None
        self._is_over = False

    async def begin(self) -> None:
        """Ask the client for a bar and show it."""
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return
        token = str(uuid.uuid4())
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                await self._server.work_done_progress.create_async(token)
        except (TimeoutError, JsonRpcException) as error:
            log.info("The client gives no progress bar: %s", error)
            return
        if self._is_over:
            return
        self._token = token
        begin = types.WorkDoneProgressBegin(title=self._title, cancellable=False, percentage=0)
        self._server.work_done_progress.begin(token, begin)

    def report(self, message: str, share: float) -> None:
        """Show the progress: `share` from 0 to 1."""
        if self._token is not None:
            percentage = round(100 * min(max(share, 0.0), 1.0))
            report = types.WorkDoneProgressReport(message=message, percentage=percentage)
            self._server.work_done_progress.report(self._token, report)

    def end(self) -> None:
        """Remove the bar; if the client has not answered yet, never show it."""
        self._is_over = True
        if self._token is not None:
            self._server.work_done_progress.end(self._token, types.WorkDoneProgressEnd())
            self._token = None
