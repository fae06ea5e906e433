"""The index of the workspace as an editor meets it: a real server, a real folder, a real worker process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evaluation.harness.client import SOON, Client, edit, serving
from tests.lsp_server.workspaces import folder, indexed

SHAPES = """class Rectangle:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):
        return self.width * self.height
"""
USES = "from package.shapes import Rectangle\n\nrectangle = Rectangle(width=2, height=3)\nprint(rectangle.area("
PROGRESS = {"window": {"workDoneProgress": True}}
WATCHED = {"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project."""
    root = tmp_path / "project"
    (root / "package").mkdir(parents=True)
    (root / "package" / "shapes.py").write_text(SHAPES)
    return root


async def prompt_tokens(client: Client, uri: str) -> int:
    """How long the prompt of a suggestion at the end of USES is; the document must be a new one."""
    before = (await client.request("mellum/status"))["statistics"]["prompt_tokens"]
    client.open(uri, USES)
    await client.complete(uri, 3, 21)
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    return int((await client.request("mellum/status"))["statistics"]["prompt_tokens"] - before)


async def test_files_that_are_not_open_are_context_in_the_workspace_only(cache: Path, root: Path) -> None:
    async with serving(cache) as server:
        client = server.client
        await client.initialize(WATCHED, workspaceFolders=[folder(root)])
        await client.state("ready")
        await indexed(client, 1)
        registered = [
            one["method"]
            for params in client.notifications("client/registerCapability")
            for one in params["registrations"]
        ]
        assert "workspace/didChangeWatchedFiles" in registered
        async with asyncio.timeout(SOON):  # the first question loads a grammar, for which a request does not wait
            count = 0
            while await prompt_tokens(client, (root / f"main{count}.py").as_uri()) < 60:
                count += 1
        removed = {"event": {"added": [], "removed": [folder(root)]}}
        client.notify("workspace/didChangeWorkspaceFolders", removed)
        await indexed(client, 0)
        assert await prompt_tokens(client, (root / "alone.py").as_uri()) < 60
        client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [folder(root)], "removed": []}})
        await indexed(client, 1)


async def test_what_is_saved_or_reported_is_soon_indexed_and_a_setting_stops_it_all(tmp_path: Path, root: Path) -> None:
    async with serving(tmp_path / "cache") as server:  # without a model: the index does not wait for one
        client = server.client
        await client.initialize(workspaceFolders=[folder(root)])
        await indexed(client, 1)
        (root / "package" / "more.py").write_text("more = 1\n")
        uri = (root / "package" / "more.py").as_uri()
        client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": uri, "type": 1}]})
        client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
        await indexed(client, 2)
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": {"indexWorkspace": False}}})
        await indexed(client, 0)


async def test_the_first_index_of_many_files_has_a_progress_bar(tmp_path: Path, root: Path) -> None:
    for number in range(300):
        (root / f"m{number}.py").write_text(f"def f{number}():\n    return {number}\n" * 20)
    async with serving(tmp_path / "cache") as server:
        client = server.client
        await client.initialize(PROGRESS, workspaceFolders=[folder(root)])
        await indexed(client, 301)
        values = [one["value"] for one in client.notifications("$/progress")]
        titles = {one["title"] for one in values if one["kind"] == "begin"}
        if any("files" in str(one.get("message")) for one in values):  # a fast machine is done before there is a bar
            assert "Indexing project" in titles
            assert any(one["kind"] == "end" for one in values)


async def test_the_indexer_process_ends_with_its_server(tmp_path: Path, root: Path) -> None:
    import psutil

    async with serving(tmp_path / "cache") as server:
        client = server.client
        await client.initialize(workspaceFolders=[folder(root)])
        await indexed(client, 1)
        children = psutil.Process(server.process.pid).children()
        assert children
        server.process.kill()
        assert (await asyncio.to_thread(psutil.wait_procs, children, SOON))[1] == []


TARIFFS = """class Tariff:
    def price(self, parcel):
        zone = self.zones[parcel.destination_zone]
        return zone.of(parcel.weight_in_grams, parcel.destination_zone)
"""


async def test_names_of_a_file_that_the_prompt_has_no_room_for_are_known(cache: Path, root: Path) -> None:
    (root / "package" / "tariffs.py").write_text(TARIFFS)
    above = "".join(f"def unit_{number}(value):\n    return value * {number}\n\n\n" for number in range(80))
    typed = "def send(zone, parcel):\n    return zone.of(parcel."
    async with serving(cache) as server:
        client = server.client
        settings = {"contextTokens": 256, "eagerness": "always", "deadline": 0}
        await client.initialize(workspaceFolders=[folder(root)], initializationOptions=settings)
        await client.state("ready")
        await indexed(client, 2)
        shown, count = "", 0
        async with asyncio.timeout(SOON):  # files near by are read in the background, while the first answer is made
            while not shown.startswith("eight_in_grams"):
                count += 1
                uri = (root / "package" / f"send{count}.py").as_uri()
                client.open(uri, above + typed)
                last = len(typed.split("\n")[1])
                await client.complete(uri, 321, last)
                client.change(uri, 2, edit((321, last), (321, last), "w"))
                items = await client.complete(uri, 321, last + 1)
                shown = items[0]["insertText"] if items else ""
                client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})


@pytest.mark.parametrize("is_loaded", [True, False], ids=["model-is-loaded", "model-loads"])
async def test_the_first_answer_in_a_file_knows_the_names_of_files_near_by(
    cache: Path, root: Path, is_loaded: bool
) -> None:
    (root / "package" / "tariffs.py").write_text(TARIFFS)
    above = "".join(f"def unit_{number}(value):\n    return value * {number}\n\n\n" for number in range(80))
    typed = "def send(zone, parcel):\n    return zone.of(parcel.w"
    uri = (root / "package" / "send.py").as_uri()
    async with serving(cache, MELLUM_LSP_LOG="debug") as server:
        client = server.client
        settings = {"contextTokens": 256, "eagerness": "always", "deadline": 0}
        await client.initialize(workspaceFolders=[folder(root)], initializationOptions=settings)
        if is_loaded:
            await client.state("ready")
            await indexed(client, 2)
        client.open(uri, above + typed)
        await client.state("ready")
        await indexed(client, 2)
        async with asyncio.timeout(SOON):
            while b"2 files near" not in server.stderr:
                client.change(uri, 2, edit((0, 0), (0, 0), ""))
                await asyncio.sleep(0.1)
        items = await client.complete(uri, 321, len(typed.split("\n")[1]))
        assert items[0]["insertText"].startswith("eight_in_grams")
