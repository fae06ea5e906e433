"""Suggestions from the real model, through a real server process over stdio."""

from __future__ import annotations

import argparse
import asyncio
import json as json_module
import statistics
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evaluation.harness.client import SOON, Client, ServerError, completion, edit, items_of, serving

URI = "file:///projects/module.py"
CANCELLED = -32800
SOURCES = [Path(str(module.__file__)) for module in (argparse, statistics, textwrap, json_module)]
ENCODINGS = ["utf-8", "utf-16", "utf-32"]


def units(text: str, encoding: str) -> int:
    return (
        len(text)
        if encoding == "utf-32"
        else len(text.encode(encoding + "-le" * (encoding == "utf-16"))) // (2 if encoding == "utf-16" else 1)
    )


def offset_of(text: str, position: dict[str, int], encoding: str = "utf-16") -> int:
    """The offset of a position that must exist exactly."""
    lines = text.replace("\r\n", " \n").split("\n")
    start = sum(len(line) + 1 for line in lines[: position["line"]])
    line = lines[position["line"]]
    widths = [units(line[:count], encoding) for count in range(len(line) + 1)]
    return start + widths.index(position["character"])


def accepted(text: str, item: dict[str, Any], encoding: str = "utf-16") -> str:
    """The document after the item was accepted."""
    start, end = (offset_of(text, item["range"][edge], encoding) for edge in ("start", "end"))
    return text[:start] + str(item["insertText"]) + text[end:]


def check_item(item: dict[str, Any], text: str, line: int, character: int, encoding: str = "utf-16") -> None:
    """What every client needs of an item that was asked for at a place without a menu."""
    start, end = item["range"]["start"], item["range"]["end"]
    assert start["line"] == end["line"] == line
    assert start["character"] <= character <= end["character"]
    cursor = offset_of(text, {"line": line, "character": character}, encoding)
    typed = text[offset_of(text, start, encoding) : cursor]
    assert isinstance(item["insertText"], str)
    assert item["insertText"].startswith(typed)
    assert len(item["insertText"]) > len(typed)
    assert item["filterText"] == item["insertText"]
    assert "\r" not in item["insertText"]
    replaced = iter(item["insertText"])
    assert all(character in replaced for character in text[cursor : offset_of(text, end, encoding)])
    assert item["command"]["command"] == "mellum.accepted"


async def test_suggestions_in_the_standard_library_are_valid_for_every_client(client: Client) -> None:
    shown = 0
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        lines = text.split("\n")
        client.open(source.as_uri(), text)
        bodies = [number for number, line in enumerate(lines) if line.lstrip().startswith(("return ", "if ", "for "))]
        for line in bodies[3:24:14]:
            indent = len(lines[line]) - len(lines[line].lstrip())
            for character in (indent, len(lines[line])):
                items = await client.complete(source.as_uri(), line, character)
                assert len(items) <= 1
                for item in items:
                    check_item(item, text, line, character)
                    shown += 1
    assert shown > 5


async def test_the_obvious_is_suggested(client: Client) -> None:
    text = "def add(a, b):\n    return "
    client.open(URI, text)
    (item,) = await client.complete(URI, 1, 11)
    check_item(item, text, 1, 11)
    assert {"a", "b"} <= set(accepted(text, item).rpartition("return ")[2])


async def test_typing_what_is_suggested_keeps_it_and_asks_no_model(client: Client) -> None:
    client.open(URI, "def add(a, b):\n    return ")
    (item,) = await client.complete(URI, 1, 11)
    whole = item["insertText"]
    asked = (await client.request("mellum/status"))["statistics"]
    for count in range(1, len(whole)):
        place = (1, 10 + count)
        client.change(URI, 1 + count, edit(place, place, whole[count - 1]))
        (rest,) = await client.complete(URI, 1, 11 + count)
        assert rest["insertText"] == whole[count:]
    statistics = (await client.request("mellum/status"))["statistics"]
    assert statistics["remembered"] - asked["remembered"] == len(whole) - 1
    assert statistics["decoded_tokens"] == asked["decoded_tokens"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_emoji_and_line_ends_are_counted_alike_in_every_encoding(model_cache: Path, line_end: str) -> None:
    lines = ["# 😋 漢字 é", "def add(a, b):", "    '''Add 😋.'''", "    return ", "", "x = add('😋', )", ""]
    text = line_end.join(lines)
    found = {}
    for encoding in ENCODINGS:
        async with serving(model_cache) as server:
            client = server.client
            await client.initialize(
                {"general": {"positionEncodings": [encoding]}},
                initializationOptions={"eagerness": "always", "deadline": 0},
            )
            await client.state("ready")
            client.open(URI, text)
            client.change(URI, 2, edit((0, 0), (0, 0), "#🎈"))
            client.change(URI, 3, edit((0, 1), (0, 1 + units("🎈", encoding)), ""))
            client.change(URI, 4, edit((0, 0), (0, 1), ""))
            for line, column in ((3, 11), (5, len("x = add('😋', "))):
                character = units(lines[line][:column], encoding)
                items = await client.complete(URI, line, character)
                for item in items:
                    check_item(item, text, line, character, encoding)
                found[encoding, line] = [accepted(text, item, encoding) for item in items]
    for line in (3, 5):
        assert found["utf-8", line] == found["utf-16", line] == found["utf-32", line]
    assert found["utf-8", 3]


async def test_rapid_edits_get_one_answer_each_and_the_last_is_for_the_last_text(client: Client) -> None:
    typed = (
        "\n\ndef mean_of(values):\n    return sum(values) / len(values)\n\n\ndef median_of(values):\n    return " * 3
    )
    text = SOURCES[1].read_text(encoding="utf-8")[:6000].rpartition("\n")[0]
    client.open(URI, text)
    requests = []
    for version, character in enumerate(typed[:200], 2):
        line, column = text.count("\n"), len(text) - text.rfind("\n") - 1
        client.change(URI, version, edit((line, column), (line, column), character))
        text += character
        line, column = text.count("\n"), len(text) - text.rfind("\n") - 1
        requests.append(client.start_request(*completion(URI, line, column)))
    answers = await asyncio.wait_for(asyncio.gather(*(future for _, future in requests)), 60)
    assert len(answers) == 200
    for item in items_of(answers[-1]):
        check_item(item, text, line, column)
    status = await client.request("mellum/status")
    assert status["statistics"]["answered"] < 100  # the others were never computed to their end
    assert not status["busy"]
    counts = Counter(message["id"] for message in client.responses)
    assert all(counts[identifier] == 1 for identifier, _ in requests)
    assert await client.complete(URI, line, column) == [
        {**item, "command": {**item["command"], "arguments": [f"suggestion-{status['shown'] + 1}"]}}
        for item in items_of(answers[-1])
    ]


async def test_a_cancelled_request_is_answered_at_once_and_its_work_stops(client: Client) -> None:
    client.open(URI, SOURCES[0].read_text(encoding="utf-8"))
    identifier, future = client.start_request(*completion(URI, 700, 0))
    client.notify("$/cancelRequest", {"id": identifier})
    with pytest.raises(ServerError) as error:
        await asyncio.wait_for(future, 30)
    assert error.value.code == CANCELLED
    status = await client.request("mellum/status")
    assert status["statistics"]["answered"] == 0
    assert not status["busy"]
    client.change(URI, 2, {"text": "def add(a, b):\n    return "})
    assert await client.complete(URI, 1, 11)
    assert (await client.request("mellum/status"))["statistics"]["answered"] == 1


async def test_of_several_requests_for_a_document_only_the_newest_is_computed(client: Client) -> None:
    text = SOURCES[0].read_text(encoding="utf-8")
    client.open(URI, text)
    older = [client.start_request(*completion(URI, line, 0))[1] for line in (700, 650, 600)]
    client.open("file:///projects/other.py", "def add(a, b):\n    return ")
    newest = client.start_request(*completion(URI, 500, 0))[1]
    other = client.start_request(*completion("file:///projects/other.py", 1, 11))[1]
    assert await asyncio.gather(*older) == [None, None, None]  # a list without items would hide what is shown
    assert items_of(await other)
    await newest
    assert (await client.request("mellum/status"))["statistics"]["answered"] == 2


async def test_an_edit_makes_the_request_before_it_stale(client: Client) -> None:
    client.open(URI, SOURCES[0].read_text(encoding="utf-8"))
    _, future = client.start_request(*completion(URI, 700, 0))
    client.change(URI, 2, edit((0, 0), (0, 0), "#"))
    assert await asyncio.wait_for(future, 30) is None
    _, future = client.start_request(*completion(URI, 700, 0))
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert await asyncio.wait_for(future, 30) is None
    assert (await client.request("mellum/status"))["statistics"]["answered"] == 0


async def test_a_document_that_is_not_open_gets_an_empty_list(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def add(a, b):\n    return ")
    assert await client.complete(file.as_uri(), 1, 11) == []
    assert await client.complete("file:///no/such/file.py", 0, 0) == []
    assert (await client.request("mellum/status"))["statistics"]["answered"] == 0


async def test_an_empty_document_gets_an_answer(client: Client) -> None:
    client.open(URI, "")
    for item in await client.complete(URI, 0, 0):
        check_item(item, "", 0, 0)


async def test_positions_outside_of_the_document_are_clamped(client: Client) -> None:
    text = "def add(a, b):\n    return "
    client.open(URI, text)
    inside = await client.complete(URI, 1, 11)
    for line, character in ((1, 99), (99, 0), (2**31 - 1, 2**31 - 1)):
        outside = await client.complete(URI, line, character)
        assert [item["range"] for item in outside] == [item["range"] for item in inside]
        assert [item["insertText"] for item in outside] == [item["insertText"] for item in inside]


async def test_control_tokens_nulls_and_broken_characters_in_a_document_are_just_text(client: Client) -> None:
    for text in (
        "x = '<fim_middle><|endoftext|><fim_prefix>'\n",
        "a\0b\n",
        "x = '\ud83d'\n",
        "\ufeffimport os\n",
        "\r\r\r",
    ):
        client.open(URI, text)
        await client.complete(URI, 1, 0)
    assert (await client.request("mellum/status"))["statistics"]["answered"] == 5


async def test_a_document_of_5_mb_stays_responsive(client: Client) -> None:
    block = 'def function_{0}(argument):\n    """Return the {0}th."""\n    return argument + {0}\n\n'
    text = "".join(block.format(number) for number in range(65_000))
    assert len(text) > 4_900_000
    client.open(URI, text)
    lines = text.count("\n")
    assert lines >= 250_000
    shown = 0
    for version, line in enumerate((lines - 2, 2, lines // 2 + 2), 2):
        client.change(URI, version, edit((line, 0), (line, 99), "    return argument + "))
        items = await asyncio.wait_for(client.complete(URI, line, 22), 30)
        assert all(item["range"]["start"] == {"line": line, "character": 22} for item in items)
        shown += len(items)
    assert shown
    requests = []
    for step in range(50):
        client.change(URI, 300_000 + step, edit((line, 4), (line, 4), "x"))
        requests.append(client.start_request(*completion(URI, line, 5 + step))[1])
    assert await client.request("mellum/status", within=SOON)
    answers = await asyncio.wait_for(asyncio.gather(*requests), 30)
    assert len(answers) == 50


async def test_other_open_documents_are_context_until_they_are_closed(model_cache: Path) -> None:
    shapes = "file:///projects/package/shapes.py"
    uses = "from package.shapes import Rectangle\n\nrectangle = Rectangle(width=2, height=3)\nprint(rectangle.area("
    async with serving(model_cache) as server:
        client = server.client
        client.open(URI, "ignored: the session has not begun")
        await client.initialize(  # on a busy machine the prompt may have no room for other documents
            workspaceFolders=[{"uri": "file:///projects", "name": "work"}], initializationOptions={"contextTokens": 768}
        )
        client.open(
            shapes,  # open before the model is there
            "class Rectangle:\n    def __init__(self, width, height):\n        self.width = width\n"
            "        self.height = height\n\n    def area(self):\n        return self.width * self.height\n",
        )
        client.open(URI, uses)
        await client.state("ready")

        async def prompt_tokens() -> int:
            before = (await client.request("mellum/status"))["statistics"]["prompt_tokens"]
            await client.complete(URI, 3, 21)
            return int((await client.request("mellum/status"))["statistics"]["prompt_tokens"] - before)

        client.open("file:///projects/notes.md", "# Rectangle\n\nwidth, height, area\n", language="markdown")
        async with asyncio.timeout(SOON):  # the first look at a document may take longer than a request waits for
            while (together := await prompt_tokens()) < 60:
                pass
        client.notify("textDocument/didClose", {"textDocument": {"uri": shapes}})
        alone = await prompt_tokens()
        assert alone < 60 <= together


async def test_a_suggestion_extends_what_the_menu_has_selected(client: Client) -> None:
    client.open(URI, "def add(first, second):\n    return fi")
    selected = {"range": {"start": {"line": 1, "character": 11}, "end": {"line": 1, "character": 13}}, "text": "first"}
    (item,) = await client.complete(URI, 1, 13, selectedCompletionInfo=selected)
    assert item["insertText"] == "first + second"
    assert item["range"]["start"] == {"line": 1, "character": 11}
    assert item["range"]["end"] == {"line": 1, "character": 13}
    client.change(URI, 2, edit((1, 11), (1, 13), "first"))
    (plain,) = await client.complete(URI, 1, 16)
    assert plain["insertText"] == " + second"


async def test_a_menu_entry_elsewhere_gets_an_empty_list(client: Client) -> None:
    client.open(URI, "import os\n\npath = os.pa")
    for start, end in (((0, 0), (0, 2)), ((1, 0), (2, 12))):
        places = [{"line": line, "character": character} for line, character in (start, end)]
        selected = {"range": {"start": places[0], "end": places[1]}, "text": "path"}
        assert await client.complete(URI, 2, 12, selectedCompletionInfo=selected) == []


async def test_acceptance_is_counted_once_for_each_suggestion(client: Client) -> None:
    client.open(URI, "def add(a, b):\n    return ")
    (item,) = await client.complete(URI, 1, 11)
    for _ in range(2):
        params = {"command": item["command"]["command"], "arguments": item["command"]["arguments"]}
        assert await client.request("workspace/executeCommand", params) is None
    status = await client.request("mellum/status")
    assert (status["shown"], status["accepted"]) == (1, 1)


async def test_suggestions_can_be_switched_off_and_on_by_language_and_altogether(client: Client) -> None:
    client.open(URI, "def add(a, b):\n    return ")
    for settings, expected in (
        ({"disabledLanguages": ["python"]}, False),
        ({"disabledLanguages": ["go"]}, True),
        ({"enabled": False}, False),
        ({"enabled": True}, True),
    ):
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})
        if settings == {"enabled": True}:  # the model was let go
            await client.until(lambda: client.notifications("mellum/status")[-1]["state"] == "ready")
        assert bool(await client.complete(URI, 1, 11)) is expected
    states = [status["state"] for status in client.notifications("mellum/status")]
    assert states[-1] == "ready"
    assert "disabled" in states
    assert "unloaded" not in states


async def test_the_longest_suggestion_is_a_setting(client: Client) -> None:
    client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"maxTokens": 1}}})
    client.open(URI, "def add(a, b):\n    ")
    await client.complete(URI, 1, 4)
    assert (await client.request("mellum/status"))["statistics"]["decoded_tokens"] <= 1


async def test_typing_shows_only_what_is_sure_and_a_key_shows_it_all(client: Client) -> None:
    client.open(URI, "def f(x):\n    return x.")
    assert await client.complete(URI, 1, 13)
    sure = {"mellum": {"eagerness": "always", "eagernessByLanguage": {"python": "quiet"}}}
    client.notify("workspace/didChangeConfiguration", {"settings": sure})
    assert await client.complete(URI, 1, 13) == []
    assert await client.complete(URI, 1, 13, triggerKind=1)


async def test_an_explicitly_invoked_request_offers_a_choice_of_which_one_is_accepted(client: Client) -> None:
    text = "import math\n\n\ndef area(radius):\n    return "
    client.open(URI, text)
    items = await client.complete(URI, 4, 11, triggerKind=1)
    assert 1 < len(items) <= 3
    for item in items:
        check_item(item, text, 4, 11)
    assert len({item["insertText"] for item in items}) == len(items)
    for item in items:
        await client.request(
            "workspace/executeCommand",
            {"command": item["command"]["command"], "arguments": item["command"]["arguments"]},
        )
    status = await client.request("mellum/status")
    assert (status["shown"], status["accepted"]) == (1, 1)


async def test_what_was_shown_and_what_was_accepted_in_part_is_counted_once(client: Client) -> None:
    text = "def add(a, b):\n    return a"
    client.open(URI, text)
    [item] = await client.complete(URI, 1, len("    return a"))
    for _ in range(2):
        client.notify("textDocument/didShowCompletion", {"item": item})
        client.notify("textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": 2})
    client.notify("textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": 0})
    for odd in ({}, {"item": None}, {"item": {"command": {"arguments": [7]}}}, {"item": item, "acceptedLength": "x"}):
        client.notify("textDocument/didShowCompletion", {**odd, "item": odd.get("item") and {"command": odd["item"]}})
        client.notify("textDocument/didPartiallyAcceptCompletion", odd)
    status = await client.request("mellum/status")
    assert (status["shown"], status["displayed"], status["accepted_in_part"], status["accepted"]) == (1, 1, 1, 0)
    await client.request("workspace/executeCommand", item["command"])
    assert (await client.request("mellum/status"))["accepted"] == 1
