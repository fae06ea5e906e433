"""Reads from each message the values that the server uses, and checks only these.

Clients send values of later versions of the protocol, or leave values out. A value that the server does not use cannot
be wrong. A used value of the wrong form counts as left out if the server can do without it; else the message is refused
with a sentence that names the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from lsprotocol import types
from pygls.uris import urlparse

from lsp_server.reporting.feedback import DID_DISMISS, DID_PARTIALLY_ACCEPT, DID_SHOW
from lsp_server.reporting.status import STATUS

Reader = Callable[[Any], Any]
"""Takes a JSON value and returns the part that is used. Raises Unusable."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x1f]*")
_LARGEST = 2**31 - 1  # of the protocol's whole numbers; no line and no document is longer


class Unusable(ValueError):
    """A value has the wrong form; the text names its place in the message and its type."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where or 'the value'} {reason}")
        self.reason, self.where = reason, where

    def inside(self, name: str) -> Unusable:
        """The same error, seen from the object that has the value under this name."""
        return Unusable(self.reason, f"{name}.{self.where}" if self.where else name)


def read(method: str, params: Any) -> Any:
    """Read the used part of a message's parameters. Raises Unusable."""
    try:
        return _READERS[method](params) if method in _READERS else params
    except RecursionError:
        raise Unusable("is nested too deeply") from None


def uri_in(params: Any) -> str | None:
    """The URI of the document in parameters that cannot be used; None if there is none."""
    document = params.get("textDocument") if isinstance(params, Mapping) else None
    uri = document.get("uri") if isinstance(document, Mapping) else None
    return uri if isinstance(uri, str) else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unusable(f"must be a string, not {type(value).__name__}")
    return value


def _uri(value: Any) -> str:
    """A URI that can be parsed, and shown in the log. Damage may have put other text there."""
    try:
        if _URI.fullmatch(_text(value)) and urlparse(value):
            return value  # type: ignore[no-any-return]
    except ValueError as error:
        if isinstance(error, Unusable):
            raise
    raise Unusable("is no URI")


def _flag(value: Any) -> bool:
    return value is True


def _whole(value: Any) -> int:
    """A whole number; a client may write 3 as 3.0."""
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    raise Unusable(f"must be a whole number, not {type(value).__name__}")


def _count(value: Any) -> int:
    """A whole number from 0: lines and characters."""
    if (number := _whole(value)) < 0:
        raise Unusable("must not be negative")
    return min(number, _LARGEST)


def _version(value: Any) -> int:
    """A document's version. Nothing depends on it, so a wrong one counts as 0."""
    try:
        return max(min(_whole(value), _LARGEST), -_LARGEST)
    except Unusable:
        return 0


def _identifier(value: Any) -> int | str:
    return value if isinstance(value, str) else _whole(value)


def _anything(value: Any) -> Any:
    return value


def _nothing(_: Any) -> None:
    return None


def _none_of_it(_: Any) -> dict[str, Any]:
    return {}


def _process(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _one_of(allowed: range, otherwise: int) -> Reader:
    def reader(value: Any) -> int:
        return value if type(value) is int and value in allowed else otherwise

    return reader


def _if_usable(reader: Reader, otherwise: Any = None) -> Reader:
    """An unusable value counts as left out."""

    def lenient(value: Any) -> Any:
        try:
            return reader(value)
        except Unusable:
            return otherwise

    return lenient


def _each(reader: Reader) -> Reader:
    """The usable items of a list; a value that is no list counts as an empty one."""

    def read_list(value: Any) -> list[Any]:
        found = []
        for item in value if isinstance(value, list) else ():
            try:
                found.append(reader(item))
            except Unusable:
                continue
        return found

    return read_list


def _object(**fields: Reader) -> Reader:
    """These fields of an object; one that is missing is read as null."""

    def read_object(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Unusable(f"must be an object, not {type(value).__name__}")
        found = {}
        for name, reader in fields.items():
            try:
                found[name] = reader(value.get(name))
            except Unusable as error:
                raise error.inside(name) from None
        return found

    return read_object


def _capabilities(value: Any) -> dict[str, Any]:
    """The capabilities of a client that the server uses; extend this with each new use."""
    dynamic = _if_usable(_object(dynamicRegistration=_flag))
    found: dict[str, Any] = _object(
        general=_if_usable(_object(positionEncodings=_each(_text))),
        window=_if_usable(_object(workDoneProgress=_flag)),
        workspace=_if_usable(
            _object(configuration=_flag, didChangeConfiguration=dynamic, didChangeWatchedFiles=dynamic)
        ),
    )(value if isinstance(value, Mapping) else {})
    if found["general"] is not None and not found["general"]["positionEncodings"]:
        found["general"] = None  # no usable encoding: the protocol's default
    return found


def _folder(value: Any) -> dict[str, Any]:
    folder: dict[str, Any] = _object(uri=_uri, name=_if_usable(_text))(value)
    return folder if folder["name"] is not None else {**folder, "name": PurePosixPath(folder["uri"]).name}


def _folders(value: Any) -> list[dict[str, Any]] | None:
    return _each(_folder)(value) if isinstance(value, list) else None


def _change(value: Any) -> dict[str, Any]:
    """One change, of a range or of the whole text. A change with an unusable range is not one of the whole text."""
    if isinstance(value, Mapping) and value.get("range") is not None:
        return _object(range=_RANGE, text=_text)(value)  # type: ignore[no-any-return]
    return _object(text=_text)(value)  # type: ignore[no-any-return]


def _changes(value: Any) -> list[dict[str, Any]]:
    """Changes in their order, from the last change of the whole text on: it overrides the earlier ones."""
    if not isinstance(value, list):
        raise Unusable(f"must be a list, not {type(value).__name__}")
    whole = [
        at
        for at, change in enumerate(value)
        if isinstance(change, Mapping) and change.get("range") is None and isinstance(change.get("text"), str)
    ]
    return [_change(change) for change in (value[whole[-1] :] if whole else value)]


def _completion_context(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = _object(
        triggerKind=_one_of(range(1, 3), types.InlineCompletionTriggerKind.Automatic.value),
        selectedCompletionInfo=lambda selected: None if selected is None else _SELECTED(selected),
    )(value if isinstance(value, Mapping) else {})
    return found


def _suggestion(value: Any) -> str | None:
    """The identifier of an item's suggestion, which is the argument of its command."""
    command = value.get("command") if isinstance(value, Mapping) else None
    arguments = command.get("arguments") if isinstance(command, Mapping) else None
    return arguments[0] if isinstance(arguments, list) and arguments and isinstance(arguments[0], str) else None


_POSITION = _object(line=_count, character=_count)
_RANGE = _object(start=_POSITION, end=_POSITION)
_SELECTED = _object(range=_RANGE, text=_text)
_DOCUMENT = _object(uri=_text)
_EVENT = _object(added=_each(_folder), removed=_each(_folder))

_READERS: Mapping[str, Reader] = {
    types.INITIALIZE: _object(
        processId=_process,
        rootUri=_if_usable(_uri),
        rootPath=_if_usable(_text),
        workspaceFolders=_folders,
        initializationOptions=_anything,
        capabilities=_capabilities,
    ),
    STATUS: _nothing,
    DID_SHOW: _object(item=_suggestion),
    DID_DISMISS: _object(item=_suggestion),
    DID_PARTIALLY_ACCEPT: _object(item=_suggestion, acceptedLength=_count),
    types.INITIALIZED: _none_of_it,
    types.SHUTDOWN: _nothing,
    types.EXIT: _nothing,
    types.CANCEL_REQUEST: _object(id=_identifier),
    types.SET_TRACE: lambda _: {"value": "off"},  # the log has its own level
    types.WINDOW_WORK_DONE_PROGRESS_CANCEL: _object(token=_identifier),
    types.WORKSPACE_DID_CHANGE_CONFIGURATION: lambda value: {
        "settings": value.get("settings") if isinstance(value, Mapping) else None
    },
    types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: _object(event=_EVENT),
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: _object(
        changes=_each(_object(uri=_text, type=_one_of(range(1, 4), types.FileChangeType.Changed.value)))
    ),
    types.WORKSPACE_EXECUTE_COMMAND: _object(
        command=_text, arguments=lambda value: value if isinstance(value, list) else None
    ),
    types.TEXT_DOCUMENT_DID_OPEN: _object(
        textDocument=_object(uri=_uri, languageId=_if_usable(_text, ""), version=_version, text=_text)
    ),
    types.TEXT_DOCUMENT_DID_CHANGE: _object(textDocument=_object(uri=_text, version=_version), contentChanges=_changes),
    types.TEXT_DOCUMENT_DID_SAVE: _object(textDocument=_DOCUMENT),
    types.TEXT_DOCUMENT_DID_CLOSE: _object(textDocument=_DOCUMENT),
    types.TEXT_DOCUMENT_INLINE_COMPLETION: _object(
        textDocument=_DOCUMENT, position=_POSITION, context=_completion_context
    ),
}
