"""What the server does while no request waits: it prepares for the next one, and then does nothing at all."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from evaluation.harness.client import SOON, Client, Server, edit, items_of

URI = "file:///projects/module.py"
TEXT = (
    "import math\n\n\nclass Circle:\n    def __init__(self, radius):\n        self.radius = radius\n\n"
    "    def area(self):\n        "
)


async def until_idle(server: Server) -> None:
    """Wait until the server's process uses no processor time."""
    process = psutil.Process(server.process.pid)
    async with asyncio.timeout(SOON):
        while True:
            before = process.cpu_times()
            await asyncio.sleep(0.3)
            if process.cpu_times()[:2] == before[:2]:
                return


async def statistics(client: Client) -> dict[str, int]:
    found: dict[str, int] = (await client.request("mellum/status"))["statistics"]
    return found


async def test_the_place_where_the_cursor_rests_is_ready_before_it_is_asked_for(server: Server) -> None:
    client = server.client
    client.open(URI, TEXT)
    client.change(URI, 2, edit((8, 8), (8, 8), "return "))
    await until_idle(server)
    await client.complete(URI, 8, 15)
    found = await statistics(client)
    assert found["computed_tokens"] == 1
    assert found["prompt_tokens"] > 20


async def test_the_suggestion_after_an_accepted_one_is_there_at_once(server: Server) -> None:
    client = server.client
    client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"maxTokens": 8}}})
    client.open(URI, TEXT)
    (item,) = await client.complete(URI, 8, 8)
    await until_idle(server)
    before = await statistics(client)
    client.change(URI, 2, {"range": item["range"], "text": item["insertText"]})
    lines = (TEXT + item["insertText"]).split("\n")
    await client.complete(URI, len(lines) - 1, len(lines[-1]))
    after = await statistics(client)
    assert after["remembered"] == before["remembered"] + 1
    assert after["answered"] == before["answered"] + 1
    await until_idle(server)


@pytest.mark.parametrize("how", ["closed", "disabled"])
async def test_closing_a_document_or_switching_suggestions_off_stops_all_work(server: Server, how: str) -> None:
    client = server.client
    client.open(URI, TEXT)
    asked = client.start_request(
        "textDocument/inlineCompletion",
        {"textDocument": {"uri": URI}, "position": {"line": 8, "character": 8}, "context": {"triggerKind": 2}},
    )[1]
    if how == "closed":
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    else:
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"enabled": False}}})
    assert not items_of(await asked)
    await until_idle(server)
    client.open(URI, TEXT)
    client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"enabled": True}}})
    await client.until(lambda: client.notifications("mellum/status")[-1]["state"] == "ready")
    await client.complete(URI, 8, 8)
    assert (await statistics(client))["computed_tokens"] > 1
