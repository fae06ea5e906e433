"""Messages as no client should send them, and which response each of them must get.

Structure-aware: wrong types, missing and extra members, huge numbers, halves of surrogate pairs, deep nesting, ids of
all kinds. Then bytes: damage that the framing has to survive.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lsprotocol import types

from lsp_server.reporting.status import STATUS

SENTINEL = "Zq7SentinelZq7"
"""Stands in the text of every document; it must never reach stderr."""
TEXT = f"import os\n\n\ndef {SENTINEL}(a, b):\n    return a + b  # \U0001f600\n\n\nvalue = {SENTINEL}(1, 2)\n"
FIRST_ID = 1_000_000
"""The client counts its own requests from 1."""
_NO_ANSWER = {types.EXIT, types.SHUTDOWN}  # which end the session, and come at its end
_QUOTED = {types.INITIALIZE, types.WORKSPACE_DID_CHANGE_CONFIGURATION}
_METHODS = sorted({*types.METHOD_TO_TYPES, STATUS, "$/unknown", "mellum/unknown", "", "\ud800"} - _NO_ANSWER)
_LENGTH = re.compile(rb"content-length:[ \t]*(\d+)", re.IGNORECASE)
_LONGEST_PROMISE = 50_000  # bytes that a damaged header may promise
_RAW = {
    "@deep@": ("[" * 200 + "]" * 200, True),
    "@deepest@": ("[" * 100_000 + "]" * 100_000, False),
    "@digits@": ("9" * 400, True),
    "@most digits@": ("9" * 6_000, False),
    "@infinity@": ("1e999", True),
}
"""Values that a JSON library does not write, and whether one can read them."""
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3.0, 0.5, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 10**40, 1e300, float("nan")),
    *("", "x", "\ud83d", "\udc4d\ud83d", "\0", "file://[broken", "a" * 5_000, "utf-8", "\U0001f600", "file:///", "3"),
    *([], {}, [[]], [None], {"a": {"b": [1]}}, {"": ""}, [{}, {}], {"type_name": "a b"}, {"__class__": "int"}),
    *(SENTINEL, TEXT, f"file:///{'d/' * 500}x.py", "file:///%00.py", "untitled:\ud800", "http://[::1", "//"),
    *_RAW,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as bytes, and the id of the response that it must get: None for an id of null, or no response."""

    body: bytes
    answered: bool
    identifier: Any = None


class Messages:
    """An endless supply of messages, good and bad."""

    def __init__(self, chance: random.Random, uris: list[str], folders: list[str]) -> None:
        """`uris`: of documents that are opened again and again; `folders`: of the workspace."""
        self._random, self._uris, self._folders = chance, uris, folders
        self._numbers = iter(range(FIRST_ID, 1 << 40))

    def one(self) -> Sent:
        """A message: one in five as it should be, the others with up to four wrongs."""
        message = self._proper()
        for _ in range(self._random.choice((0, 1, 1, 2, 4))):
            message = self._mutated(message)
        if isinstance(message, dict) and isinstance(message.get("id"), int) and 0 < message["id"] < FIRST_ID:
            message["id"] = next(self._numbers)  # the client's own
        return sent(message)

    def proper(self, longest: int) -> Sent:
        """A message without any wrong, of at most so many bytes."""
        while len((one := sent(self._proper())).body) > longest:
            pass
        return one

    def odd(self) -> Any:
        """A value that is odd in most places."""
        return copy.deepcopy(self._random.choice(_ODD))

    def _odd_in(self, message: dict[str, Any]) -> Any:
        """The same for a message; settings are quoted where they are wrong, so they hold no text of documents."""
        while SENTINEL in str(odd := self.odd()) and message.get("method") in [*_QUOTED]:
            pass
        return odd

    def wrong_settings(self) -> dict[str, Any]:
        """Settings, of which some are odd."""
        names = ("enabled", "disabledLanguages", "disabledIn", "maxTokens", "logLevel", "eagerness", "deadline")
        odd = {
            name: self._odd_in({"method": types.INITIALIZE})
            for name in (*names, "unknown")
            if self._random.random() < 0.3
        }
        return {"logLevel": self._random.choice(("debug", "info", None)), **odd}

    def _identifier(self) -> Any:
        number = next(self._numbers)
        kinds: tuple[Any, ...] = (number, number, f"r{number}", f"\ud83d{number}", -number, 10**30 + number)
        return self._random.choice((*kinds, *kinds, None, True, 1.5, [], {}, "", "@digits@", "@infinity@"))

    def _proper(self) -> Any:
        make = self._random.choices(_WAYS, _WEIGHTS)[0]
        method, params, is_request = make(self)
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if is_request or self._random.random() < 0.05:
            message["id"] = self._identifier() if self._random.random() < 0.1 else next(self._numbers)
        return message

    def _mutated(self, message: Any) -> Any:
        """The same with one wrong, anywhere in it."""
        if not isinstance(message, dict) or not message or self._random.random() < 0.01:
            return self.odd()
        parent, key = self._random.choice(list(_places(message)))
        how = self._random.random()
        if how < 0.5:
            parent[key] = self._odd_in(message) if key != "id" else self._identifier()
        elif how < 0.7:
            del parent[key]
        elif how < 0.85:
            extra = self._odd_in(message)
            if isinstance(parent, dict):
                parent[self._random.choice(("extra", "id", "method", "range", "result", "error", ""))] = (
                    extra if parent is not message else next(self._numbers)
                )
            else:
                parent.insert(key, extra)
        elif isinstance(parent, list):
            parent.extend(copy.deepcopy(parent[:50]))
        else:
            other = self._random.choice([*parent])
            parent[key], parent[other] = parent[other], parent[key]
        if message.get("method") in [*_NO_ANSWER]:
            message["method"] = "$/unknown"
        return message

    def _uri(self) -> str:
        return self._random.choice(self._uris)

    def _position(self) -> dict[str, Any]:
        line, character = self._random.randrange(10), self._random.randrange(40)
        return {"line": line, "character": self._random.choice((character, character, 2**31 - 1))}

    def _range(self) -> dict[str, Any]:
        return {"start": self._position(), "end": self._position()}

    def _open(self) -> tuple[str, Any, bool]:
        language = self._random.choice(("python", "yaml", "ruby", "c", "plaintext", "typescriptreact"))
        document = {"uri": self._uri(), "languageId": language, "version": 1, "text": TEXT}
        return types.TEXT_DOCUMENT_DID_OPEN, {"textDocument": document}, False

    def _change(self) -> tuple[str, Any, bool]:
        piece = self._random.choice(("a", "\n", SENTINEL, "", "(", "\r", "\ud83d", "\udc4d", TEXT))
        change = {"text": TEXT} if self._random.random() < 0.1 else {"range": self._range(), "text": piece}
        identified = {"uri": self._uri(), "version": self._random.randrange(100)}
        changes = [change] * self._random.choice((1, 1, 2))
        return types.TEXT_DOCUMENT_DID_CHANGE, {"textDocument": identified, "contentChanges": changes}, False

    def _document(self) -> tuple[str, Any, bool]:
        method = self._random.choice((types.TEXT_DOCUMENT_DID_CLOSE, types.TEXT_DOCUMENT_DID_SAVE))
        return method, {"textDocument": {"uri": self._uri()}}, False

    def _complete(self) -> tuple[str, Any, bool]:
        context: dict[str, Any] = {"triggerKind": self._random.choice((1, 2))}
        if self._random.random() < 0.2:
            context["selectedCompletionInfo"] = {"range": self._range(), "text": "value"}
        params = {"textDocument": {"uri": self._uri()}, "position": self._position(), "context": context}
        return types.TEXT_DOCUMENT_INLINE_COMPLETION, params, True

    def _configure(self) -> tuple[str, Any, bool]:
        return types.WORKSPACE_DID_CHANGE_CONFIGURATION, {"settings": {"mellum": self.wrong_settings()}}, False

    def _files(self) -> tuple[str, Any, bool]:
        changes = [{"uri": f"{self._folders[0]}/{name}.py", "type": 1} for name in ("a", "b", "%FF", "x" * 300)]
        return types.WORKSPACE_DID_CHANGE_WATCHED_FILES, {"changes": changes}, False

    def _folder_event(self) -> tuple[str, Any, bool]:
        folders = [{"uri": uri, "name": "x"} for uri in self._random.sample(self._folders, len(self._folders) // 2)]
        event = {self._random.choice(("added", "removed")): folders, "added " * 2: []}
        return types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, {"event": {"added": [], "removed": [], **event}}, False

    def _command(self) -> tuple[str, Any, bool]:
        name = self._random.choice(("mellum.accepted", "unknown"))
        return types.WORKSPACE_EXECUTE_COMMAND, {"command": name, "arguments": [self.odd()]}, True

    def _status(self) -> tuple[str, Any, bool]:
        return STATUS, self.odd(), True

    def _other(self) -> tuple[str, Any, bool]:
        method = self._random.choice(_METHODS)
        return method, {"textDocument": {"uri": self._uri()}, "id": 1, "value": "all"}, self._random.random() < 0.5

    def _initialize(self) -> tuple[str, Any, bool]:
        return types.INITIALIZE, {"processId": None, "rootUri": None, "capabilities": {}}, True

    def _cancel(self) -> tuple[str, Any, bool]:
        return types.CANCEL_REQUEST, {"id": self._identifier()}, False


_Way = Callable[[Messages], tuple[str, Any, bool]]
_WAYS: tuple[_Way, ...] = (
    Messages._open,
    Messages._change,
    Messages._document,
    Messages._complete,
    Messages._configure,
    Messages._files,
    Messages._folder_event,
    Messages._command,
    Messages._status,
    Messages._other,
    Messages._initialize,
    Messages._cancel,
)
_WEIGHTS = (8, 24, 4, 8, 0.5, 1, 0.2, 6, 8, 12, 2, 4)


def sent(message: Any) -> Sent:
    """Write a message, and say which response it must get, by JSON-RPC alone."""
    body = json.dumps(message)
    can_be_read = True
    for mark, (raw, is_json) in _RAW.items():
        if f'"{mark}"' in body:
            body, can_be_read = body.replace(f'"{mark}"', raw), can_be_read and is_json
    if not can_be_read:
        return Sent(body.encode(), answered=True)
    read = json.loads(body)
    if not isinstance(read, dict):
        return Sent(body.encode(), answered=True)
    if "method" not in read:
        return Sent(body.encode(), answered=False)  # a response to what was not asked
    identifier = read.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, int | str):
        identifier = None
    has_answer = "id" in read or not isinstance(read["method"], str)
    return Sent(body.encode(), has_answer, identifier)


def framed(body: bytes) -> bytes:
    """A body with its header."""
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def damaged(chance: random.Random, data: bytes) -> bytes:
    """A stream with some bytes wrong, whose headers promise nothing that never comes."""
    while True:
        wrong = bytearray(data)
        for _ in range(chance.choice((1, 2, 8))):
            at = chance.randrange(len(wrong) + 1)
            length = chance.choice((1, 1, 4, 40, 400))
            how = chance.randrange(5)
            if how == 0:
                wrong[at : at + length] = chance.randbytes(length)
            elif how == 1:
                del wrong[at : at + length]
            elif how == 2:
                wrong[at:at] = wrong[at : at + length]
            elif how == 3:
                wrong[at:at] = chance.choice(_HEADERS)
            else:
                wrong[at:at] = chance.randbytes(length)
        if all(len(digits) < 9 and int(digits) <= _LONGEST_PROMISE for digits in _LENGTH.findall(wrong)):
            return bytes(wrong)


_HEADERS = (
    b"Content-Length: 10\r\n\r\n",
    b"Content-Length: -1\r\n\r\n",
    b"Content-Length: x\r\n\r\n",
    b"content-length:0\r\n\r\n",
    b"Content-Length: 5\n\n",
    b"Content-Type: text; charset=x\r\n",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\0" * 20_000,
    b"Content-Length: 0000000000000002\r\n\r\n[]",
)
ENOUGH = b" " * _LONGEST_PROMISE + b"\n"
"""Ends whatever a damaged header has promised, so that what follows is read as it is."""


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member of an object and item of a list, as its parent and its key."""
    for key, member in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(member, dict | list):
            yield from _places(member)
