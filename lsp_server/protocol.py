"""JSON-RPC as LSP wants it: the order of a session's life, and exactly one response to every request.

pygls answers nothing when parameters are malformed, when a request has none, or when the server is shutting down, and
loses the exit code; here is what comes before and around its handlers.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Generator
from concurrent.futures import Future
from enum import Enum
from typing import Any, TypeGuard

from cattrs import Converter
from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidRequest,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from lsp_server.documents import Documents
from lsp_server.status import STATUS

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\w/%.~:@!$&*+,;=#?-]*")

log = logging.getLogger(__name__)


class Life(Enum):
    """Whether `initialize` has come."""

    NEW = "new"
    INITIALIZED = "initialized"


class Protocol(LanguageServerProtocol):
    """pygls' protocol, made strict about order and lenient about damage."""

    def __init__(self, server: LanguageServer, converter: Converter) -> None:
        super().__init__(server, converter)
        self._life = Life.NEW
        self.on_exit: Callable[[int], None] = lambda code: None
        """Called when the client says `exit`, with the exit code that the protocol asks for."""
        self.freeze: dict[str, Callable[[Any], Any]] = {}
        """By method: what turns parameters into a snapshot, which the handler gets in their place.

        pygls starts a coroutine one turn of the event loop later, when the next edit may have been applied already.
        """

    @property
    def exit_code(self) -> int:
        """What the process has to end with if it ends now: 0 after a `shutdown`, else 1."""
        return 0 if self._shutdown else 1

    def receive(self, body: bytes) -> None:
        """Handle one message. Never raises: whatever is wrong with a message, the next one is read."""
        try:
            message = json.loads(body)
        except Exception as error:  # ValueError, and RecursionError for a hundred thousand brackets
            self._refuse(None, JsonRpcParseError(f"A message is not JSON: {error}"))
            return
        log.debug("Received %s", summary(message))
        try:
            self._dispatch(message)
        except Exception:
            log.exception("A message could not be handled: %s", summary(message))

    def _dispatch(self, message: Any) -> None:
        if not isinstance(message, dict):
            self._refuse(None, JsonRpcInvalidRequest("A message must be a JSON object"))
            return
        identifier, method = message.get("id"), message.get("method")
        is_request = "method" in message and "id" in message
        if (refusal := _malformed(message) or self._out_of_order(method)) is None:
            if method is not None and self.get_message_type(method) is None:
                message.setdefault("params", None)  # pygls' type for methods that are not in LSP must have them
            try:
                structured = self.structure_message(message)
            except JsonRpcException as error:
                refusal = error
        if refusal is None:
            if method == types.INITIALIZE:
                self._life = Life.INITIALIZED
            if method in self.freeze:
                structured.params = self.freeze[method](structured.params)
            self.handle_message(structured)
        elif is_request or not isinstance(method, str | None):
            self._refuse(identifier if _is_id(identifier) else None, refusal, message)
        elif method is None and _is_id(identifier) and (pending := self._request_futures.pop(identifier, None)):
            pending.set_exception(refusal)
        else:
            log.info("Ignored %s: %s", summary(message), refusal.message)

    def _refuse(self, identifier: int | str | None, error: JsonRpcException, message: Any = None) -> None:
        log.warning("Refused %s: %s", summary(message), error.message)
        # not a ResponseErrorMessage, which would leave out an `id` that is null
        response = {"jsonrpc": self.VERSION, "id": identifier, "error": error.to_response_error()}
        self._send_data(response)

    def _out_of_order(self, method: str | None) -> JsonRpcException | None:
        """Why a method cannot be handled at this point of the session, if it cannot."""
        if method is None or method == types.EXIT:
            return None
        if self._shutdown:
            return JsonRpcInvalidRequest("The server is shutting down")
        if self._life is Life.NEW and method != types.INITIALIZE:
            return JsonRpcServerNotInitialized("The first request must be 'initialize'")
        if self._life is Life.INITIALIZED and method == types.INITIALIZE:
            return JsonRpcInvalidRequest("The server is initialized already")
        return None

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        """Initialize as pygls does, then keep documents of our own kind."""
        result: types.InitializeResult = yield from super().lsp_initialize(params)
        workspace = self.workspace
        self._workspace = Documents(
            workspace.root_uri,
            types.TextDocumentSyncKind.Incremental,
            list(workspace.folders.values()),
            workspace.position_encoding,
        )
        return result

    def _run_generator(
        self, future: Future[Any] | None, *, gen: Generator[Any, Any, Any], result_future: Future[Any]
    ) -> None:
        """Go on after a handler as pygls does; what waits for one that was cancelled is cancelled with it.

        At Ctrl-C the event loop cancels them all. pygls lets that escape into the loop, which prints a traceback.
        """
        if future is not None and future.cancelled():
            gen.close()
            result_future.cancel()
        else:
            super()._run_generator(future, gen=gen, result_future=result_future)

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_: Any) -> None:  # type: ignore[override]
        """Say that the process has to end, instead of ending it inside a callback of the event loop."""
        self.on_exit(self.exit_code)


def summary(message: Any) -> str:
    """Name a message in the log: what was asked and where, never the text of a document.

    Damage puts any text anywhere, so each part is shown only if it is what it should be.
    """
    if not isinstance(message, dict):
        return "what is no message"
    method, identifier, params = message.get("method"), message.get("id"), message.get("params")
    is_known = isinstance(method, str) and (method in types.METHOD_TO_TYPES or method == STATUS)
    shown = [f"{method}" if is_known else "an unknown method" if "method" in message else "an answer"]
    if _is_id(identifier):
        shown.append(f"id {identifier}" if isinstance(identifier, int) else "id of characters")
    if isinstance(params, dict):
        document, position = params.get("textDocument"), params.get("position")
        uri = document.get("uri") if isinstance(document, dict) else None
        if isinstance(uri, str) and _URI.fullmatch(uri):
            shown.append(f"uri {uri:.200}")
        if isinstance(position, dict) and all(type(number) is int for number in position.values()):
            shown.append(f"position {position.get('line')}:{position.get('character')}")
    return ", ".join(shown)


def _is_id(value: Any) -> TypeGuard[int | str]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _malformed(message: dict[str, Any]) -> JsonRpcException | None:
    """Why an object is no JSON-RPC message, if it is none."""
    if message.get("jsonrpc") != Protocol.VERSION:
        return JsonRpcInvalidRequest(f"'jsonrpc' must be '{Protocol.VERSION}'")
    if "method" in message and not isinstance(message["method"], str):
        return JsonRpcInvalidRequest("'method' must be a string")
    if "method" in message and "id" in message and not _is_id(message["id"]):
        return JsonRpcInvalidRequest("'id' must be a string or an integer")
    return None
