"""The protocol without a model: order, damage, and exactly one response to every request. A real process over stdio."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evaluation.harness.client import Client, ServerError, completion, edit, serving

PARSE_ERROR, INVALID_REQUEST, NOT_FOUND, INVALID_PARAMS, NOT_INITIALIZED = -32700, -32600, -32601, -32602, -32002
URI = "file:///projects/module.py"


async def error_code(client: Client, method: str, params: Any = None) -> int:
    with pytest.raises(ServerError) as error:
        await client.request(method, params)
    return error.value.code


async def test_it_announces_what_clients_need_to_see(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        capabilities = await server.client.initialize()
        assert capabilities["inlineCompletionProvider"] == {}
        assert capabilities["textDocumentSync"]["openClose"] is True
        assert capabilities["textDocumentSync"]["change"] == 2
        assert capabilities["positionEncoding"] == "utf-16"
        assert capabilities["executeCommandProvider"] == {"commands": ["mellum.accepted"]}


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["utf-8", "utf-16"], "utf-8"), (["utf-32"], "utf-32"), (["utf-7", "utf-16"], "utf-16"), (["utf-7"], "utf-16")],
)
async def test_the_clients_first_known_encoding_wins(tmp_path: Path, offered: list[str], chosen: str) -> None:
    async with serving(tmp_path) as server:
        capabilities = await server.client.initialize({"general": {"positionEncodings": offered}})
        assert capabilities["positionEncoding"] == chosen


async def test_without_a_model_it_says_so_once_and_answers_empty_lists(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.open(URI, "import os\n")
        assert await client.complete(URI, 1, 0) == []  # still loading, or known to be missing already
        status = await client.state("no-model")
        assert "mellum-lsp setup" in status["message"]
        for _ in range(5):
            assert await client.complete(URI, 1, 0) == []
        now = await client.request("mellum/status")
        assert {**now, "silence": status["silence"]} == {**status, "busy": False}
        assert now["silence"]["reason"] == "no model"
        assert now["silence"]["counts"]["no model"] >= 5
        assert client.notifications("window/showMessage") == [{"type": 3, "message": status["message"]}]
        assert client.notifications("window/logMessage") == [{"type": 3, "message": status["message"]}]
        assert [said["state"] for said in client.notifications("mellum/status")] == ["loading", "no-model"]


async def test_a_model_that_does_not_exist_is_named_in_the_status(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.initialize(initializationOptions={"model": "mellum-4b"})
        status = await server.client.state("no-model")
        assert "mellum-4b" in status["message"]


@pytest.mark.parametrize("model", ["~nouser/x", "a\x00b", "x" * 5000])
async def test_a_name_that_can_be_no_model_is_named_and_requests_are_answered(tmp_path: Path, model: str) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize(initializationOptions={"model": model})
        await client.state("no-model", "failed")
        client.open(URI, "x = 1\n")
        assert await client.complete(URI, 0, 5) == []
        assert (await client.request("mellum/status"))["silence"]["reason"] == "no model"


async def test_requests_before_initialize_are_refused_and_notifications_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        client.open(URI, "x = 1\n")
        assert await error_code(client, *completion(URI, 0, 0)) == NOT_INITIALIZED
        assert await error_code(client, "shutdown") == NOT_INITIALIZED
        await client.initialize()
        assert await client.complete(URI, 0, 0) == []


async def test_a_second_initialize_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.initialize()
        assert await error_code(server.client, "initialize", {"processId": None, "capabilities": {}}) == INVALID_REQUEST
        assert await server.client.request("mellum/status")


async def test_a_malformed_initialize_can_be_corrected(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert await error_code(server.client, "initialize", {"processId": "mine"}) == INVALID_PARAMS
        assert await server.client.initialize()


async def test_shutdown_then_exit_ends_with_0(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        assert await client.request("shutdown") is None
        assert await error_code(client, *completion(URI, 0, 0)) == INVALID_REQUEST
        assert await error_code(client, "shutdown") == INVALID_REQUEST
        client.open(URI, "ignored")
        client.send({"method": "exit"})
        assert await server.wait() == 0


@pytest.mark.parametrize("initialized", [True, False])
async def test_exit_alone_ends_with_1(tmp_path: Path, initialized: bool) -> None:
    async with serving(tmp_path) as server:
        if initialized:
            await server.client.initialize()
        server.client.send({"method": "exit"})
        assert await server.wait() == 1


MALFORMED: list[tuple[dict[str, Any], int]] = [
    ({"id": 900, "method": "textDocument/inlineCompletion"}, INVALID_PARAMS),
    ({"id": 900, "method": "textDocument/inlineCompletion", "params": None}, INVALID_PARAMS),
    ({"id": 900, "method": "textDocument/inlineCompletion", "params": [1, 2]}, INVALID_PARAMS),
    ({"id": 900, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": URI}}}, INVALID_PARAMS),
    (dict(zip(("method", "params"), completion(URI, -1, 0), strict=True), id=900), INVALID_PARAMS),
    (dict(zip(("method", "params"), completion(URI, 0, 0.5), strict=True), id=900), INVALID_PARAMS),
    (dict(zip(("method", "params"), completion(URI, 0, "zero"), strict=True), id=900), INVALID_PARAMS),
    ({"id": 900, "method": "workspace/executeCommand", "params": {"command": "no.such"}}, INVALID_PARAMS),
    ({"id": 900, "method": "workspace/executeCommand", "params": {}}, INVALID_PARAMS),
    ({"id": 900, "method": "no/suchMethod", "params": {"a": [1, {"b": None}]}}, NOT_FOUND),
    ({"id": 900, "method": "no/suchMethod"}, NOT_FOUND),
    ({"id": 900, "method": 7}, INVALID_REQUEST),
    ({"id": 900, "method": "textDocument/inlineCompletion", "jsonrpc": "1.0"}, INVALID_REQUEST),
]


async def test_malformed_requests_get_errors_and_nothing_pops_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        await client.state("no-model")
        shown = len(client.notifications("window/showMessage"))
        for message, code in MALFORMED:
            future = client._pending[900] = asyncio.get_running_loop().create_future()
            client.send(message)
            with pytest.raises(ServerError) as error:
                await asyncio.wait_for(future, 30)
            assert error.value.code == code, message
        assert await client.request("mellum/status")
        assert len(client.notifications("window/showMessage")) == shown


async def test_malformed_notifications_are_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.open(URI, "x = 1\n")
        client.notify("textDocument/didChange", {"textDocument": {"uri": URI}})
        client.notify("textDocument/didChange", {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{}]})
        client.notify("textDocument/didOpen", None)
        client.notify("textDocument/didOpen", {"textDocument": "x"})
        client.notify("$/cancelRequest", {})
        client.notify("$/cancelRequest", {"id": {"a": 1}})
        client.notify("$/cancelRequest", {"id": 123456})
        client.notify("$/unknown", {"a": 1})
        client.notify("workspace/didChangeConfiguration", 3)
        client.notify("workspace/didChangeWorkspaceFolders", {"event": None})
        client.change("file:///never/opened.py", 2, edit((0, 0), (0, 0), "x"))
        client.notify("textDocument/didClose", {"textDocument": {"uri": "file:///never/opened.py"}})
        client.open("::: [no uri", "x = 1\n")
        client.open("http://[broken", "x = 1\n")
        assert await client.complete(URI, 0, 5) == []
        assert await client.complete("http://[broken", 0, 5) == []
        assert await client.complete("::: [no uri", 0, 5) == []


async def test_bytes_that_are_no_json_get_a_parse_error_and_the_next_message_an_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        bodies = [b"{", b"\xff\xfe\xfd", b"[" * 200_000, b'{"jsonrpc": "2.0", "id": 1, "method": "x"', b"nonsense"]
        for body in bodies:
            client.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert await client.request("mellum/status")
        errors = [message["error"]["code"] for message in client.responses if message["id"] is None]
        assert errors == [PARSE_ERROR] * len(bodies)


async def test_json_that_is_no_message_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        for value in ([], [{"jsonrpc": "2.0"}], 1, None, "text", {"jsonrpc": "2.0", "id": True, "method": "shutdown"}):
            body = json.dumps(value).encode()
            client.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert await client.request("mellum/status")
        errors = [message["error"]["code"] for message in client.responses if message["id"] is None]
        assert errors == [INVALID_REQUEST] * 6


async def test_damaged_headers_cost_only_their_own_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.send_bytes(b"Content-Length: none\r\n\r\n{}")
        assert await client.request("mellum/status")
        client.send_bytes(b"Content-Length: 0\r\n\r\n")
        client.send_bytes(b"\r\n\r\n\r\n")
        client.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await client.request("mellum/status")


async def test_responses_to_no_request_are_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.send({"id": 77, "result": None})
        client.send({"id": "x", "error": {"code": 1, "message": "no"}})
        client.send({"id": None, "error": {"code": 1, "message": "no"}})
        client.send({"id": 78})
        assert await client.request("mellum/status")


async def test_ids_may_be_strings(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.send({"id": "a string", "method": "mellum/status"})
        await client.until(lambda: any(message["id"] == "a string" for message in client.responses))


async def test_every_request_gets_exactly_one_response(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        client.open(URI, "x = 1\n")
        sent = []
        for version in range(2, 102):
            client.change(URI, version, edit((0, 5), (0, 5), "1"))
            identifier, future = client.start_request(*completion(URI, 0, 6))
            sent.append((identifier, future))
            if version % 3 == 0:
                client.notify("$/cancelRequest", {"id": identifier})
        await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        await client.request("mellum/status")
        counts = Counter(message["id"] for message in client.responses)
        assert all(counts[identifier] == 1 for identifier, _ in sent)


async def test_wrong_settings_are_named_in_the_clients_log_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize(initializationOptions={"maxTokens": "many", "colour": "grey"})
        await client.until(lambda: len(client.notifications("window/logMessage")) >= 2)
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"colour": "green"}}})
        await client.request("mellum/status")
        said = [message["message"] for message in client.notifications("window/logMessage")]
        assert len([text for text in said if "mellum.maxTokens" in text]) == 1
        assert len([text for text in said if "mellum.colour" in text]) == 1


async def test_settings_are_asked_for_where_the_client_offers_them(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        client.answers["workspace/configuration"] = [{"enabled": False}]
        dynamic = {"dynamicRegistration": True}
        await client.initialize({"workspace": {"configuration": True, "didChangeConfiguration": dynamic}})
        status = await client.state("disabled")
        assert "mellum.enabled" in status["message"]
        assert client.notifications("workspace/configuration") == [{"items": [{"section": "mellum"}]}]
        (registered,) = client.notifications("client/registerCapability")
        assert registered["registrations"][0]["method"] == "workspace/didChangeConfiguration"
        client.answers["workspace/configuration"] = [None]
        client.notify("workspace/didChangeConfiguration", {"settings": None})
        await client.state("no-model")


@pytest.mark.parametrize("answer", [Exception("no settings here"), asyncio.sleep, [], None, {"a": 1}, [7]])
async def test_whatever_the_client_says_of_its_settings_the_server_starts(tmp_path: Path, answer: Any) -> None:
    async with serving(tmp_path) as server:
        server.client.answers["workspace/configuration"] = answer
        await server.client.initialize({"workspace": {"configuration": True}})
        await server.client.state("no-model")


@pytest.mark.parametrize("answer", [Exception("no bar here"), asyncio.sleep])
async def test_a_client_without_a_progress_bar_after_all_does_not_hold_up_loading(tmp_path: Path, answer: Any) -> None:
    async with serving(tmp_path) as server:
        server.client.answers["window/workDoneProgress/create"] = answer
        await server.client.initialize({"window": {"workDoneProgress": True}})
        await server.client.state("no-model")


async def test_only_known_suggestions_can_be_accepted_and_nothing_fails(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize()
        for arguments in (None, [], ["no such"], [7], [{"a": 1}], ["a", "b", "c"]):
            params = {"command": "mellum.accepted", "arguments": arguments}
            assert await client.request("workspace/executeCommand", params) is None
        assert (await client.request("mellum/status"))["accepted"] == 0
