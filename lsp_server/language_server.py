"""pygls' language server with our protocol and a session; what every handler gets as its first argument."""

from __future__ import annotations

import logging
from typing import Any

from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter

from lsp_server.session import VERSION, Session
from lsp_server.wire.protocol import Protocol

log = logging.getLogger(__name__)


class MellumServer(LanguageServer):
    """One server for one client. Errors go to the log; pygls would show them on the user's screen."""

    protocol: Protocol

    def __init__(self) -> None:
        super().__init__("mellum-lsp", VERSION, protocol_cls=Protocol, converter_factory=default_converter)
        self.session = Session(self)
        self.protocol.on_lost_step = self.session.lose_step
        self.protocol.on_edit = self.session.edited

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log an error, with its traceback if it is one of ours. pygls would show it as a message box."""
        is_ours = not isinstance(error, JsonRpcException) or isinstance(error, JsonRpcInternalError)
        log.log(logging.ERROR if is_ours else logging.INFO, "%s: %s", source.__name__, error, exc_info=is_ours)
