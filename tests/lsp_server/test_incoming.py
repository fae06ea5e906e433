"""A message is refused only for what is used of it; and each one with an id gets exactly one response."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.protocol import default_converter

from evaluation.harness.client import Client, ServerError, completion, edit, items_of, serving
from lsp_server.wire.incoming import Unusable, read

URI = "file:///home/user/p.py"
INVALID_REQUEST, NOT_FOUND, INVALID_PARAMS = -32600, -32601, -32602
LARGEST = 2**31 - 1


CAPABILITIES: list[Any] = [
    {"workspace": {"symbol": {"symbolKind": {"valueSet": [1, 26, 27]}}}},
    {"textDocument": {"publishDiagnostics": {"tagSupport": {"valueSet": [1, 2, -1]}}}},
    {"workspace": {"workspaceEdit": {"resourceOperations": ["move"], "failureHandling": ["x"]}}},
    {"textDocument": {"semanticTokens": {"requests": {}, "tokenTypes": [], "tokenModifiers": [], "formats": ["x"]}}},
    {"general": {"positionEncodings": [7, None, "utf-8"]}, "window": {"workDoneProgress": "yes"}},
    {"general": 1, "window": [], "workspace": "all", "textDocument": None, "experimental": {"a": [[[]]]}},
    {"workspace": {"configuration": 1, "didChangeWatchedFiles": True, "didChangeConfiguration": []}},
    [],
    None,
    "everything",
]


@pytest.mark.parametrize("capabilities", CAPABILITIES[:3])
async def test_capabilities_that_are_not_used_refuse_nothing(tmp_path: Path, capabilities: Any) -> None:
    async with serving(tmp_path) as server:
        params = {"processId": None, "rootUri": None, "capabilities": capabilities}
        assert "inlineCompletionProvider" in (await server.client.request("initialize", params))["capabilities"]
        server.client.notify("initialized", {})
        await server.client.state("no-model")


@pytest.mark.parametrize("capabilities", CAPABILITIES)
def test_whatever_capabilities_are_they_can_be_read(capabilities: Any) -> None:
    params = {"processId": None, "capabilities": capabilities}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": read("initialize", params)}
    assert default_converter().structure(message, types.InitializeRequest).params.capabilities is not None


async def test_unused_parts_of_initialize_may_have_any_form(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        params = {
            "processId": None,
            "rootUri": "http://[broken",
            "rootPath": 7,
            "clientInfo": "me",
            "locale": 5,
            "trace": "loud",
            "workDoneToken": {},
            "workspaceFolders": [{"uri": tmp_path.as_uri()}, {"name": "no uri"}, {"uri": "http://[broken"}, 3],
        }
        assert await server.client.request("initialize", params)
        server.client.send({"method": "initialized"})
        await server.client.state("no-model")
        assert await server.client.request("mellum/status", {"type_name": "x y", "a": {"b": [1]}})


def test_a_folder_without_a_name_is_used() -> None:
    params = read("initialize", {"workspaceFolders": [{"uri": "file:///home/user/project"}]})
    assert params["workspaceFolders"] == [{"uri": "file:///home/user/project", "name": "project"}]


@pytest.mark.parametrize(
    ("character", "used"),
    [(3, 3), (3.0, 3), (4294967295, LARGEST), (10**40, LARGEST), (1e300, LARGEST)],
)
def test_whole_numbers_are_used_and_the_largest_stand_for_the_end(character: Any, used: int) -> None:
    params = read(*completion(URI, 0, character))
    assert params["position"] == {"line": 0, "character": used}


@pytest.mark.parametrize("character", [-1, 3.5, float("nan"), float("inf"), True, None, "3", []])
def test_what_is_no_position_is_named(character: Any) -> None:
    with pytest.raises(Unusable, match=r"position\.character must"):
        read(*completion(URI, 0, character))


async def test_a_request_needs_no_context_and_an_unknown_kind_of_it_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.open(URI, "x = 1\n")
        document, position = {"uri": URI}, {"line": 0, "character": 5}
        for context in ({}, {"context": None}, {"context": {"triggerKind": 9}}, {"context": {"triggerKind": "typed"}}):
            params = {"textDocument": document, "position": position, **context}
            assert items_of(await client.request("textDocument/inlineCompletion", params)) == []


async def test_what_is_odd_and_can_be_used_is_used(client: Client) -> None:
    client.open(URI, "def alpha():\n    return 1\nvalue = 3\n")
    client.change(URI, 2, edit((2, 0), (2, 4294967295), "value = alpha("))  # beyond the line's end is its end
    (item,) = await client.complete(URI, 2, 4294967295)
    assert item["range"]["start"] == item["range"]["end"] == {"line": 2, "character": 14}
    client.notify("textDocument/didChange", {"textDocument": {"uri": URI, "version": None}, "contentChanges": []})
    unversioned = {"textDocument": {"uri": URI}, "contentChanges": [edit((2, 14), (2, 14), ")")]}
    client.notify("textDocument/didChange", unversioned)
    for item in await client.complete(URI, 2, 15):
        assert item["range"]["start"]["character"] == 15
    range_ = {"start": {"line": 2, "character": 8}, "end": {"line": 2, "character": 15}}
    for text in ("a\ud83d", "\udc4d", "\ud83d\udc4d"):  # halves of a character in the menu
        selected = {"range": range_, "text": text}
        for item in await client.complete(URI, 2, 15, selectedCompletionInfo=selected, triggerKind=1):
            assert item["insertText"].startswith(json.loads(json.dumps(text)))  # two halves are a character
    counts = (await client.request("mellum/status"))["silence"]["counts"]
    assert not {"failed", "out of step"} & set(counts)


UNUSABLE_CHANGES: list[Any] = [
    {"range": {"start": {"line": 0, "character": -1}, "end": {"line": 0, "character": 0}}, "text": "x"},
    {"range": {"start": {"line": 0}, "end": {"line": 0, "character": 0}}, "text": "x"},
    {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}},
    {"range": [], "text": "x"},
    {"text": 7},
    "x",
]


async def test_a_change_that_cannot_be_applied_puts_its_document_out_of_step(client: Client) -> None:
    for number, change in enumerate(UNUSABLE_CHANGES):
        uri = f"file:///home/user/p{number}.py"
        client.open(uri, "def add(a, b):\n    return ")
        for version in (2, 3):  # said once
            client.change(uri, version, change)
        client.change(uri, 4, edit((1, 11), (1, 11), "a"))  # fits no text any more
        assert await client.complete(uri, 1, 12) == []
        status = await client.request("mellum/status")
        assert status["silence"]["reason"] == "out of step"
        (said,) = [log["message"] for log in client.notifications("window/logMessage") if uri in log["message"]]
        assert "out of step" in said
    client.change(uri, 5, {"text": "def add(a, b):\n    return "})  # all of it comes again
    assert await client.complete(uri, 1, 11)
    client.change(
        uri, 6, change, {"text": "def add(b, a):\n    return "}
    )  # what stood before the whole does not matter
    assert await client.complete(uri, 1, 11)
    client.change(uri, 7, change)
    assert await client.complete(uri, 1, 11) == []
    client.open(uri, "def add(a, b):\n    return ")
    assert await client.complete(uri, 1, 11)


async def test_every_message_with_an_id_gets_exactly_one_response(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        document = {"uri": URI, "languageId": "python", "version": 1, "text": "x = 1\n"}
        expected: dict[str, tuple[str, Any, int | None]] = {
            "open": ("textDocument/didOpen", {"textDocument": document}, None),
            "change": (
                "textDocument/didChange",
                {"textDocument": {"uri": URI}, "contentChanges": [{"text": "y"}]},
                None,
            ),
            "broken change": ("textDocument/didChange", {"textDocument": {"uri": URI}}, INVALID_PARAMS),
            "broken open": ("textDocument/didOpen", {"textDocument": {"uri": URI}}, INVALID_PARAMS),
            "close": ("textDocument/didClose", {"textDocument": {"uri": URI}}, None),
            "trace": ("$/setTrace", {"value": "all"}, None),
            "cancel": ("$/cancelRequest", {"id": "none"}, None),
            "initialized again": ("initialized", {}, None),
            "progress": ("window/workDoneProgress/cancel", {"token": "x"}, None),
            "unknown": ("$/unknown", {"a": 1}, NOT_FOUND),
            "hover": ("textDocument/hover", {"textDocument": 7}, NOT_FOUND),
            "deep": ("mellum/unknown", {"type_name": "1 2"}, NOT_FOUND),
            "status": ("mellum/status", [1, 2], None),
        }
        for identifier, (method, params, _) in expected.items():
            client.send({"id": identifier, "method": method, "params": params})
        client.notify("$/unknown", {})
        client.notify("mellum/status", {})
        client.send({"method": "textDocument/inlineCompletion", "params": completion(URI, 0, 0)[1]})
        client.send({"method": "shutdown"})  # without an id it asks for nothing
        assert await client.request("mellum/status")
        answers = {message["id"]: message for message in client.responses}
        counts = Counter(message["id"] for message in client.responses)
        for identifier, (_, _, code) in expected.items():
            assert counts[identifier] == 1, identifier
            assert answers[identifier].get("error", {}).get("code") == code, answers[identifier]
        assert None not in counts


async def test_requests_that_wait_at_shutdown_are_answered(client: Client) -> None:
    client.open(URI, "\n".join(f"value_{line} = {line} * other_{line}" for line in range(3_000)))
    waiting = [client.start_request(*completion(URI, 2_900, 0))[1] for _ in range(5)]
    assert await client.request("shutdown") is None
    done, pending = await asyncio.wait(waiting, timeout=30)
    assert not pending
    assert all(future.exception() is None or isinstance(future.exception(), ServerError) for future in done)


async def test_what_typing_leaves_behind_in_the_protocol_is_nothing(tmp_path: Path) -> None:
    """One future for each notification would be a kilobyte a keystroke."""
    script = (
        "import sys, lsp_server.server as s, pygls.lsp.server\n"
        "make = s.create_server\n"
        "def created():\n"
        "    server = make()\n"
        "    @server.feature('test/futures')\n"
        "    def futures(*_): return len(server.protocol._request_futures)\n"
        "    return server\n"
        "s.create_server = created\n"
        "sys.exit(s.serve_stdio())\n"
    )
    async with serving(tmp_path, "-c", script) as server:
        client = server.client
        await client.initialize()
        client.open(URI, "x = 1\n")
        for version in range(2, 300):
            client.change(URI, version, edit((0, 5), (0, 5), "1"))
        assert await client.request("test/futures") <= 2
