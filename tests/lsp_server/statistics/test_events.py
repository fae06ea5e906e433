"""What becomes of suggestions is written down by a real server, and no text of a document is."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluation.harness.client import SOON, Client, Server, edit, serving
from lsp_server.statistics.events import STATE_VARIABLE

URI = "file:///projects/module.py"
TEXT, END = "def add(first_number, second_number):\n    return first_number + ", (1, 26)
"""Where the model is sure of itself."""
REST = "second_number"


@asynccontextmanager
async def observed(cache: Path, state: Path, **settings: Any) -> AsyncIterator[Server]:
    async with serving(cache, **{STATE_VARIABLE: str(state)}) as server:
        options = {"deadline": 0, "eagerness": "eager", **settings}
        await server.client.initialize(initializationOptions=options)
        await server.client.state("ready")
        yield server


async def leave(server: Server) -> None:
    await server.client.shut_down()
    await server.wait()


def answers(state: Path) -> list[dict[str, Any]]:
    """All answers in the file, with names for their numbers."""
    database = sqlite3.connect(state / "statistics.sqlite")
    names = dict(database.execute("SELECT id, name FROM names"))
    rows = database.execute("SELECT * FROM answers ORDER BY id")
    columns = [column[0] for column in rows.description]
    named = {"language", "model", "outcome", "reason", "place"}
    found = [
        {name: names.get(value) if name in named else value for name, value in zip(columns, row, strict=True)}
        for row in rows
    ]
    database.close()
    return found


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def suggestion(client: Client, line: int = END[0], character: int = END[1]) -> dict[str, Any]:
    items = await client.complete(URI, line, character)
    assert items, "the model has nothing to say"
    return items[0]


def insert(client: Client, version: int, at: tuple[int, int], text: str) -> None:
    client.change(URI, version, edit(at, at, text))


async def run_command(client: Client, item: dict[str, Any]) -> None:
    command = item["command"]
    params = {"command": command["command"], "arguments": command["arguments"]}
    await client.request("workspace/executeCommand", params)


async def accept_all(client: Client) -> None:
    item = await suggestion(client)
    insert(client, 2, END, item["insertText"])
    await run_command(client, item)


async def accept_a_word(client: Client) -> None:
    item = await suggestion(client)
    word = item["insertText"][:6]
    insert(client, 2, END, word)
    client.notify("textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": len(word)})
    insert(client, 3, (END[0], END[1] + len(word)), "~")


async def type_through(client: Client) -> None:
    item = await suggestion(client)
    client.notify("textDocument/didShowCompletion", {"item": item})
    for index, character in enumerate(item["insertText"]):
        insert(client, 2 + index, (END[0], END[1] + index), character)
        if index % 4 == 1 and index < len(item["insertText"]) - 1:
            assert await client.complete(URI, END[0], END[1] + index + 1)


async def type_otherwise(client: Client) -> None:
    client.notify("textDocument/didShowCompletion", {"item": await suggestion(client)})
    insert(client, 2, END, "~")
    await client.request("mellum/status")


async def move_away(client: Client) -> None:
    client.notify("textDocument/didShowCompletion", {"item": await suggestion(client)})
    await client.complete(URI, 0, 4)


async def dismiss(client: Client) -> None:
    item = await suggestion(client)
    client.notify("textDocument/didShowCompletion", {"item": item})
    client.notify("textDocument/didDismissCompletion", {"item": item})
    insert(client, 2, END, "~")


async def delete(client: Client) -> None:
    client.notify("textDocument/didShowCompletion", {"item": await suggestion(client)})
    client.change(URI, 2, edit((END[0], END[1] - 1), END, ""))


async def close_it(client: Client) -> None:
    client.notify("textDocument/didShowCompletion", {"item": await suggestion(client)})


async def type_over_at_once(client: Client) -> None:
    await suggestion(client)
    insert(client, 2, END, "~")


WAYS: dict[str, Callable[[Client], Any]] = {
    "accepted": accept_all,
    "accepted by word": accept_a_word,
    "typed through": type_through,
    "typed otherwise": type_otherwise,
    "typed otherwise: deleted": delete,
    "moved away": move_away,
    "dismissed": dismiss,
    "left": close_it,
    "unseen": type_over_at_once,
}


async def test_each_outcome_is_written_down(model_cache: Path, tmp_path: Path) -> None:
    async with observed(model_cache, tmp_path) as server:
        client = server.client
        for way in WAYS:
            client.open(URI, TEXT)
            await WAYS[way](client)
            client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
            await client.complete(f"file:///not/open/{way}", 0, 0)  # a mark between two ways
        await leave(server)
    found, first = answers(tmp_path), []
    for before, answer in zip([{"reason": "out of step"}, *found], found, strict=False):
        if before["reason"] == "out of step":
            first.append(answer)
    assert [answer["outcome"] for answer in first] == [way.partition(":")[0] for way in WAYS]
    for answer in first:
        assert (answer["language"], answer["model"], answer["place"]) == ("python", "smollm2-135m", "statement")
        assert 0 < answer["probability"] <= 1000
        assert answer["characters"] >= answer["taken"] >= answer["accepted"] >= 0
        assert bool(answer["accepted"]) == answer["outcome"].startswith("accepted")
        assert bool(answer["finished"]) == (answer["outcome"] in ("accepted", "typed through"))
    assert first[0]["total"] >= first[0]["prefill"] + first[0]["decode"] > 0


async def test_what_is_left_at_a_save_and_what_was_typed(model_cache: Path, tmp_path: Path) -> None:
    async with observed(model_cache, tmp_path) as server:
        client = server.client
        client.open(URI, TEXT)
        await accept_all(client)
        end = END[1] + len(REST)
        client.change(URI, 3, edit((0, 0), (0, 0), "# A line above\n"))  # moves it
        client.change(URI, 4, edit((2, end - 6), (2, end), "xyz"))  # half of it is typed anew
        client.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
        await leave(server)
    [answer] = [one for one in answers(tmp_path) if one["outcome"] == "accepted"]
    assert answer["accepted"] == len(REST)
    assert answer["kept_saved"] == round(1000 * (len(REST) - 6) / len(REST))
    database = sqlite3.connect(tmp_path / "statistics.sqlite")
    [typed] = database.execute("SELECT sum(characters) FROM typed").fetchone()
    assert typed == len("# A line above\n") + len("xyz")
    assert database.execute("SELECT saved_of, saved FROM days WHERE saved_of > 0").fetchall() == [
        (len(REST), len(REST) - 6)
    ]
    database.close()


async def test_silence_is_written_with_its_reason(model_cache: Path, tmp_path: Path) -> None:
    async with observed(model_cache, tmp_path, confidence=1) as server:
        server.client.open(URI, "x = ")
        assert await server.client.complete(URI, 0, 4) == []
        await leave(server)
    [answer] = answers(tmp_path)
    assert (answer["outcome"], answer["reason"], answer["characters"]) == ("silent", "gate", 0)


async def test_nothing_that_was_typed_is_in_the_file(model_cache: Path, tmp_path: Path) -> None:
    """Neither text nor paths nor a language that the client made up: searched for in the file and in its log."""
    text = TEXT.replace("first_number", "quarterly_revenue_secret")
    async with observed(model_cache, tmp_path) as server:
        client = server.client
        client.open(URI, text, language="python")
        line = text.split("\n")[1]
        for way in range(3):
            items = await client.complete(URI, 1, len(line))
            if items and way == 0:
                client.change(URI, 2, edit((1, len(line)), (1, len(line)), items[0]["insertText"]))
                await run_command(client, items[0])
            client.change(URI, 3 + way, edit((1, 4), (1, 4), "typed_by_hand "))
        client.open("file:///other.py", text, language="quarterly_revenue secret language")
        await client.complete("file:///other.py", 1, len(line))
        async with asyncio.timeout(SOON):
            while not (tmp_path / "statistics.sqlite-wal").exists():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        found = everything_in(tmp_path)
        await leave(server)
    found += everything_in(tmp_path)
    assert answers(tmp_path)
    assert b"python" in found
    for secret in (b"quarterly", b"second_number", b"typed_by", b"module", b"projects", b"return"):
        assert secret not in found, secret


async def test_false_writes_nothing(model_cache: Path, tmp_path: Path) -> None:
    async with observed(model_cache, tmp_path, statistics=False) as server:
        server.client.open(URI, TEXT)
        await accept_all(server.client)
        await leave(server)
    assert everything_in(tmp_path) == b""


async def test_switched_off_it_drops_what_waits(model_cache: Path, tmp_path: Path) -> None:
    async with observed(model_cache, tmp_path) as server:
        client = server.client
        client.open(URI, TEXT)
        await accept_all(client)
        off = {"mellum": {"deadline": 0, "statistics": False}}
        client.notify("workspace/didChangeConfiguration", {"settings": off})
        client.open(URI, TEXT)
        await client.complete(URI, *END)
        await leave(server)
    assert not (tmp_path / "statistics.sqlite").exists() or len(answers(tmp_path)) <= 1


@pytest.mark.parametrize("trouble", ["no folder", "newer", "damaged"])
async def test_trouble_is_one_sentence_and_no_error(trouble: str, model_cache: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    file = state / "statistics.sqlite"
    match trouble:
        case "no folder":
            state.write_text("a file")
        case "newer":
            state.mkdir()
            database = sqlite3.connect(file)
            database.execute("PRAGMA user_version = 99")
            database.close()
        case "damaged":
            state.mkdir()
            file.write_bytes(b"no database" * 1000)
    before = file.read_bytes() if file.exists() else b""
    async with observed(model_cache, state) as server:
        client = server.client
        client.open(URI, TEXT)
        await accept_all(client)

        def said() -> list[str]:
            return [
                one["message"] for one in client.notifications("window/logMessage") if "tatistics" in one["message"]
            ]

        await client.until(said)
        status = await client.request("mellum/status")
        assert await client.complete(URI, 0, 4) is not None
        await leave(server)
        assert len(said()) == 1
    if trouble == "damaged":
        assert "damaged" in said()[0]
        assert (state / "statistics.damaged.sqlite").read_bytes() == before
        assert answers(state)[0]["outcome"] == "accepted"
        assert "problem" not in status["statistics"]
    else:
        assert status["statistics"]["problem"] == said()[0]
        assert state.is_file() or file.read_bytes() == before
