"""JSON-RPC with the rules of LSP: the order of a session, and exactly one response to every request.

pygls does not answer malformed parameters, a request without parameters, a notification that comes as a request, or a
request during the shutdown, and it loses the exit code. This module checks messages before pygls calls a handler.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from enum import Enum
from typing import Any, TypeGuard, TypeVar

from cattrs import Converter
from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from lsp_server.documents import Document, Documents, Edit
from lsp_server.reporting.feedback import DID_DISMISS, DID_PARTIALLY_ACCEPT, DID_SHOW
from lsp_server.reporting.status import STATUS
from lsp_server.wire.incoming import Unusable, read, uri_in
from lsp_server.wire.logs import is_shown, shown_uri

_AT_ARRIVAL = "_is_called_at_arrival"

log = logging.getLogger(__name__)

Params = TypeVar("Params")
Result = TypeVar("Result")
Work = Callable[[], Coroutine[Any, Any, Result]]
"""What is left to do for a request whose snapshot is taken."""


class Life(Enum):
    """Whether `initialize` has come."""

    NEW = "new"
    INITIALIZED = "initialized"


class Protocol(LanguageServerProtocol):
    """pygls' protocol, but strict about order and tolerant of damage."""

    def __init__(self, server: LanguageServer, converter: Converter) -> None:
        super().__init__(server, converter)
        self._life = Life.NEW
        self.on_exit: Callable[[int], None] = lambda code: None
        """Called with the exit code of the protocol when the client sends `exit`."""
        self.on_lost_step: Callable[[str, str], None] = lambda uri, reason: None
        """Called with the URI of a document that is out of step with the client's from now on, and the reason."""
        self.on_edit: Callable[[Document, str, Edit], None] = lambda document, before, edit: None
        """Called after each single change, with the document's text before it."""

    @property
    def exit_code(self) -> int:
        """The exit code if the process ends now: 0 after a `shutdown`, else 1."""
        return 0 if self._shutdown else 1

    def receive(self, body: bytes) -> None:
        """Handle one message. Never raises: the next message is read after any error."""
        try:
            message = json.loads(body)
        except Exception as error:  # ValueError, and RecursionError for a hundred thousand brackets
            self._refuse(None, JsonRpcParseError(f"A message is not JSON: {error}"))
            return
        log.debug("Received %s", summary(message))
        try:
            self._dispatch(message)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # also of a native library
            log.exception("A message could not be handled: %s", summary(message))
            if isinstance(message, dict) and "method" in message and _is_id(message.get("id")):
                self._refuse(message["id"], JsonRpcInternalError("The message could not be handled"), message)

    def _dispatch(self, message: Any) -> None:
        if not isinstance(message, dict):
            self._refuse(None, JsonRpcInvalidRequest("A message must be a JSON object"))
        elif "method" not in message:
            self._take_response(message)
        elif (refusal := _malformed(message) or self._out_of_order(message["method"])) is not None:
            self._decline(message, refusal)
        else:
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        """Handle a request or a notification that is allowed now."""
        method, params, wants_answer = message["method"], message.get("params"), "id" in message
        is_notification = method in _NOTIFICATIONS
        if method not in (types.CANCEL_REQUEST, *self.fm.builtin_features, *self.fm.features):
            self._decline(message, JsonRpcMethodNotFound.of(method))
            return
        if not wants_answer and not is_notification:
            self._decline(message, JsonRpcInvalidRequest(f"'{method}' must have an 'id'"))
            return
        used = {"jsonrpc": self.VERSION, "method": method} | ({} if is_notification else {"id": message["id"]})
        try:
            structured = self.structure_message({**used, "params": read(method, params)})
        except (Unusable, JsonRpcException) as error:
            if method == types.TEXT_DOCUMENT_DID_CHANGE and (uri := uri_in(params)) is not None:
                self.on_lost_step(uri, str(error))
            self._decline(message, error if isinstance(error, JsonRpcException) else JsonRpcInvalidParams(str(error)))
            return
        if method == types.INITIALIZE:
            self._life = Life.INITIALIZED
        self.handle_message(structured)
        if wants_answer and is_notification:  # a notification that was sent as a request: its result is null
            self._send_data({"jsonrpc": self.VERSION, "id": message["id"], "result": None})

    def _take_response(self, message: dict[str, Any]) -> None:
        """Give the client's answer to the request that waits for it; other answers are ignored."""
        identifier, future = message.get("id"), None
        if _is_id(identifier) and self._result_types.pop(identifier, None) is not None:
            future = self._request_futures.pop(identifier, None)
        if future is None or future.done():
            log.info("Ignored a response to what was not asked: %s", summary(message))
        elif (error := message.get("error")) is not None:
            future.set_exception(JsonRpcException(f"The client says: {error!r:.200}"))
        else:
            future.set_result(message.get("result"))

    def _decline(self, message: dict[str, Any], reason: JsonRpcException) -> None:
        """Answer a request with an error; log a notification."""
        if "id" in message or not isinstance(message["method"], str):
            self._refuse(message.get("id") if _is_id(message.get("id")) else None, reason, message)
        else:
            log.info("Ignored %s: %s", summary(message), _reason(reason))

    def _refuse(self, identifier: int | str | None, error: JsonRpcException, message: Any = None) -> None:
        log.warning("Refused %s: %s", summary(message), _reason(error))
        # a ResponseErrorMessage would leave out an `id` that is null
        response = {"jsonrpc": self.VERSION, "id": identifier, "error": error.to_response_error()}
        self._send_data(response)

    def _out_of_order(self, method: str | None) -> JsonRpcException | None:
        """Why a method is not allowed at this point of the session; None if it is."""
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
        """Initialize as pygls does, then replace its workspace by our `Documents`."""
        result: types.InitializeResult = yield from super().lsp_initialize(params)
        workspace = self.workspace
        self._workspace = Documents(
            workspace.root_uri,
            types.TextDocumentSyncKind.Incremental,
            list(workspace.folders.values()),
            workspace.position_encoding,
        )
        return result

    @lsp_method(types.SHUTDOWN)
    def lsp_shutdown(self, *_: Any) -> None:  # type: ignore[override]
        """Cancel all other requests; each is answered as cancelled."""
        for identifier, future in list(self._request_futures.items()):
            if identifier != self.msg_id:
                future.cancel()
        self._shutdown = True

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> Generator[Any, Any, None]:
        """Apply changes to an open document. After a change that fails, the document is out of step."""
        uri = params.text_document.uri
        documents = self.workspace
        assert isinstance(documents, Documents)
        if (document := documents.open_document(uri)) is None:
            log.info("Ignored a change of %s, which is not open", shown_uri(uri))
            return
        try:
            for change in params.content_changes:
                before = document.source
                if (edit := document.apply_change(change)) is not None:
                    self.on_edit(document, before, edit)
        except Exception as error:
            log.exception("A change of %s cannot be applied", shown_uri(uri))
            self.on_lost_step(uri, str(error))
            return
        document.version = params.text_document.version
        if document.is_out_of_step:
            return
        yield self.fm.features[types.TEXT_DOCUMENT_DID_CHANGE], (params,), None

    def _execute_handler(self, msg_id: int | str, handler: Callable[..., Any], *rest: Any, **options: Any) -> None:
        """Call a handler as pygls does, and drop its future once it is done: pygls keeps those of notifications."""
        if getattr(getattr(handler, "func", None), _AT_ARRIVAL, False):
            handler, options = handler(*options["args"]), {**options, "args": ()}
        super()._execute_handler(msg_id, handler, *rest, **options)
        if (future := self._request_futures.get(msg_id)) is not None:
            future.add_done_callback(lambda done: self._forget(msg_id, done))

    def _forget(self, identifier: int | str, future: Future[Any]) -> None:
        if self._request_futures.get(identifier) is future:
            del self._request_futures[identifier]

    def _run_generator(
        self, future: Future[Any] | None, *, gen: Generator[Any, Any, Any], result_future: Future[Any]
    ) -> None:
        """Continue after a handler as pygls does; a cancelled handler cancels the generator that waits for it.

        At Ctrl-C the event loop cancels all of them. In pygls that error reaches the loop, which prints a traceback.
        """
        if future is not None and future.cancelled():
            gen.close()
            result_future.cancel()
        else:
            super()._run_generator(future, gen=gen, result_future=result_future)

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_: Any) -> None:  # type: ignore[override]
        """Ask for the end of the process; pygls would end it inside a callback of the event loop."""
        self.on_exit(self.exit_code)


def at_arrival(handler: Callable[[Any, Params], Work[Result]]) -> Callable[[Any, Params], Work[Result]]:
    """Mark a handler that is called while its message is handled, and returns a coroutine function: what is left to do.

    pygls starts a coroutine one turn of the event loop later, when the next edit may have been applied already: what
    the handler itself reads of a document is what the client saw when it sent the message.
    """
    setattr(handler, _AT_ARRIVAL, True)
    return handler


def summary(message: Any) -> str:
    """Describe a message for the log: its method, its document and position, never text of a document.

    Damage can put any text anywhere, so a part is shown only if it has the right form.
    """
    if not isinstance(message, dict):
        return "what is no message"
    method, identifier, params = message.get("method"), message.get("id"), message.get("params")
    is_known = isinstance(method, str) and (
        method in types.METHOD_TO_TYPES or method in _NOTIFICATIONS or method == STATUS
    )
    shown = [f"{method}" if is_known else "an unknown method" if "method" in message else "an answer"]
    if _is_id(identifier):
        shown.append(f"id {identifier}" if isinstance(identifier, int) else "id of characters")
    if isinstance(params, dict):
        document, position = params.get("textDocument"), params.get("position")
        uri = document.get("uri") if isinstance(document, dict) else None
        if isinstance(uri, str) and is_shown(uri):
            shown.append(f"uri {uri:.200}")
        if isinstance(position, dict) and all(type(number) is int for number in position.values()):
            shown.append(f"position {position.get('line')}:{position.get('character')}")
    return ", ".join(shown)


def _reason(error: JsonRpcException) -> str:
    """Why a message is refused, for the log. An unknown method is not named: damage can make any text of a name."""
    return error.MESSAGE if isinstance(error, JsonRpcMethodNotFound) else error.message


_NOTIFICATIONS = frozenset(
    [method for method, (_, response, *_) in types.METHOD_TO_TYPES.items() if response is None]
    + [DID_SHOW, DID_PARTIALLY_ACCEPT, DID_DISMISS]
)


def _is_id(value: Any) -> TypeGuard[int | str]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _malformed(message: dict[str, Any]) -> JsonRpcException | None:
    """Why an object is not a JSON-RPC message; None if it is one."""
    if message.get("jsonrpc") != Protocol.VERSION:
        return JsonRpcInvalidRequest(f"'jsonrpc' must be '{Protocol.VERSION}'")
    if "method" in message and not isinstance(message["method"], str):
        return JsonRpcInvalidRequest("'method' must be a string")
    if "method" in message and "id" in message and not _is_id(message["id"]):
        return JsonRpcInvalidRequest("'id' must be a string or an integer")
    return None
