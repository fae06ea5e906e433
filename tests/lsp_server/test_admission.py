"""What other documents say reaches a suggestion, or does not: a real server, real ignore files, the real model.

Each document has a call that is made nowhere else; a suggestion knows its arguments only from there.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluation.harness.client import SOON, Client, edit, serving
from indexer import database_of
from tests.lsp_server.workspaces import folder, indexed

LONG = 3 * SOON  # some tens of requests on a busy machine
NAMES = {
    "private": ("zorblat_quux_mangle", "PLUGH-93"),
    "public": ("snorkel_dax_wrangle", "XYZZY-51"),
    "third": ("brimble_fnord_twist", "FROTZ-27"),
}
HEAD = "# 0\ndef run(alpha_token):\n"
MAIN = HEAD + "".join(f"    {function}(alpha_token, \n" for function, _ in NAMES.values())


def text_of(name: str) -> str:
    function, word = NAMES[name]
    return f"def set_{name}_up(alpha_token):\n" + f'    {function}(alpha_token, "{word}", retries=17)\n' * 3


class Asking:
    """A document in which suggestions are asked for, with an edit before each, as someone does who types."""

    def __init__(self, client: Client, uri: str) -> None:
        self.client, self.uri, self.version = client, uri, 1
        client.open(uri, MAIN)

    async def says(self, name: str) -> bool:
        """Whether a suggestion begins to say the word that only one document has."""
        function, word = NAMES[name]
        line = next(at for at, one in enumerate(MAIN.split("\n")) if function in one)
        self.version += 1
        self.client.change(self.uri, self.version, edit((0, 0), (0, 3), f"# {self.version % 10}"))
        items = await self.client.complete(self.uri, line, len(MAIN.split("\n")[line]), triggerKind=1)
        return any(word[:3] in item["insertText"] for item in items)

    async def until(self, name: str, *, within: float = LONG) -> None:
        """Ask until the word comes."""
        async with asyncio.timeout(within):
            while not await self.says(name):
                pass

    async def never(self, *names: str) -> None:
        """Ask a few times for words that must not come, when it is known that others do."""
        for _ in range(3):
            for name in names:
                assert not await self.says(name), name


async def says_itself(client: Client, uri: str) -> bool:
    """Whether there are suggestions in a document that needs no other."""
    client.open(uri, f"{HEAD}    ")
    items = await client.complete(uri, 2, 4, triggerKind=1)
    close(client, uri)
    return bool(items)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


@asynccontextmanager
async def session(cache: Path, *roots: Path, **options: Any) -> AsyncIterator[Client]:
    """A server that shows whatever the model says. It may still load the model."""
    async with serving(cache) as server:
        shown = {"eagerness": "always", "deadline": 0, "maxTokens": 32, **options}
        await server.client.initialize(workspaceFolders=[folder(root) for root in roots], initializationOptions=shown)
        yield server.client


def close(client: Client, uri: str) -> None:
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})


async def test_what_is_ignored_is_never_seen_and_a_rule_counts_from_the_next_request_on(
    cache: Path, root: Path
) -> None:
    for name in ("private", "public"):
        (root / f"{name}.py").write_text(text_of(name))
    (root / ".aiignore").write_text("private*.py\n")
    async with session(cache, root) as client:
        for name in ("private", "public"):  # before the rules can have been read, as an editor does at its start
            client.open((root / f"{name}.py").as_uri(), text_of(name))
        asking = Asking(client, (root / "main.py").as_uri())
        await client.state("ready")
        await asking.until("public")
        await asking.never("private")
        (root / ".aiignore").unlink()
        await asking.until("private")
        (root / ".aiignore").write_text("private*.py\n")
        await asking.never("private")
        client.notify("textDocument/didSave", {"textDocument": {"uri": (root / ".aiignore").as_uri()}})
        await asking.until("public")
        await asking.never("private")


async def test_rules_hold_without_an_index_and_for_what_was_never_saved(cache: Path, root: Path) -> None:
    (root / ".gitignore").write_text("private*.py\n")
    (root / ".aiignore").write_text("hidden/\n")
    async with session(cache, root, indexWorkspace=False) as client:
        client.open((root / "private.py").as_uri(), text_of("private"))
        client.open((root / "hidden" / "third.py").as_uri(), text_of("third"))
        client.open((root / "public.py").as_uri(), text_of("public"))
        asking = Asking(client, (root / "main.py").as_uri())
        await client.state("ready")
        await asking.until("public")
        await asking.never("private", "third")
        close(client, (root / "private.py").as_uri())  # renamed, to what no rule names
        client.open((root / "renamed.py").as_uri(), text_of("private"))
        await asking.until("private")
        close(client, (root / "renamed.py").as_uri())
        client.open((root / "private2.py").as_uri(), text_of("private"))
        await asking.until("public")
        await asking.never("private")


async def test_what_lies_outside_of_every_folder_helps_no_other(cache: Path, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with session(cache, root, other) as client:
        client.open((tmp_path / "outside.py").as_uri(), text_of("private"))
        client.open((root / "public.py").as_uri(), text_of("public"))
        client.open((other / "third.py").as_uri(), text_of("third"))
        asking = Asking(client, (root / "main.py").as_uri())
        await client.state("ready")
        await asking.until("public")
        await asking.until("third")
        await asking.never("private")
        removed = {"event": {"added": [], "removed": [folder(other)]}}
        client.notify("workspace/didChangeWorkspaceFolders", removed)
        await asking.never("third")
        await asking.until("public")
        assert await says_itself(client, (tmp_path / "alone.py").as_uri())


async def test_a_file_of_the_own_folder_is_near_though_another_folder_has_its_path(cache: Path, tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    for root, name in zip(roots, ("third", "private"), strict=True):
        root.mkdir()
        (root / "helpers.py").write_text(text_of(name))
    async with session(cache, *roots) as client:
        await indexed(client, 2)
        asking = Asking(client, (roots[1] / "main.py").as_uri())
        await client.state("ready")
        await asking.until("private")  # of the second folder, which the first one's file must not hide


async def test_two_documents_of_one_path_and_two_spellings_of_one_uri(cache: Path, tmp_path: Path) -> None:
    roots = [tmp_path / "a #1", tmp_path / "b"]
    for root in roots:
        root.mkdir()
    async with session(cache, *roots) as client:
        for root, name in zip(roots, ("private", "public"), strict=True):
            client.open((root / "helpers.py").as_uri(), text_of(name))
        asking = Asking(client, (roots[1] / "main.py").as_uri())
        await client.state("ready")
        await asking.until("private")
        await asking.until("public")
        other = (roots[0] / "helpers.py").as_uri().replace("%231", "#1").replace("file:", "FILE:")
        client.change(other, 2, {"text": text_of("third")})
        await asking.until("third")
        close(client, other)
        await asking.until("public")  # which has the same path
        async with asyncio.timeout(LONG):
            while await asking.says("third"):  # what lies near is looked for every few seconds
                pass


async def test_cells_of_a_notebook_help_each_other_one_by_one(cache: Path) -> None:
    async with session(cache) as client:
        cells = [f"vscode-notebook-cell:/home/u/nb.ipynb#W{number}sZmlsZQ%3D%3D" for number in range(4)]
        for cell, name in zip(cells, NAMES, strict=False):
            client.open(cell, text_of(name))
        asking = Asking(client, cells[3])
        await client.state("ready")
        for name in NAMES:
            await asking.until(name)
        close(client, cells[0])
        await asking.until("public")
        await asking.until("third")


async def test_inside_an_ignored_document_there_are_suggestions_only_if_the_user_wants_them(
    cache: Path, root: Path
) -> None:
    (root / ".aiignore").write_text("private*.py\n")
    async with session(cache, root) as client:
        await client.state("ready")
        assert await says_itself(client, (root / "main.py").as_uri())
        for name in ("private.py", ".env"):
            assert not await says_itself(client, (root / name).as_uri())
        settings = {"eagerness": "always", "deadline": 0, "completeIgnoredFiles": True}
        client.notify("workspace/didChangeConfiguration", {"settings": {"mellum": settings}})
        for name in ("private.py", ".env"):
            assert await says_itself(client, (root / name).as_uri())


async def test_a_root_is_the_folder_that_its_uri_names(tmp_path: Path) -> None:
    root = tmp_path / "above" / "#work 100%?"
    root.mkdir(parents=True)
    (root / "a.py").write_text("def a(): return 1\n")
    (root.parent / "p.py").write_text("def p(): return 2\n")
    async with session(tmp_path / "cache", root) as client:
        await indexed(client, 1)
    assert _paths(root, tmp_path / "cache") == ["a.py"]


async def test_a_path_is_normalized_before_it_is_judged(tmp_path: Path, root: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "app.py").write_text("def app(): return 1\n")
    (root / "a.py").write_text("def a(): return 1\n")
    async with session(tmp_path / "cache", root) as client:
        await indexed(client, 1)
        (root / "b.py").write_text("def b(): return 1\n")
        uris = [
            f"{root.as_uri()}/../other/app.py",
            f"{root.as_uri()}/%2E%2E/other/app.py",
            f"{root.as_uri()}/x/../b.py",
        ]
        client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": uri, "type": 1} for uri in uris]})
        client.notify("textDocument/didSave", {"textDocument": {"uri": uris[0]}})
        await indexed(client, 2)
    assert _paths(root, tmp_path / "cache") == ["a.py", "b.py"]


async def test_a_home_is_not_indexed_whatever_leads_to_it(tmp_path: Path, root: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "diary.py").write_text("def diary(): return 1\n")
    (tmp_path / "lnk").symlink_to("real")
    (root / "a.py").write_text("def a(): return 1\n")
    async with serving(tmp_path / "cache", HOME=str(tmp_path / "lnk"), USERPROFILE=str(tmp_path / "lnk")) as server:
        folders = [folder(one) for one in (tmp_path / "real", root, tmp_path / "lnk")]
        await server.client.initialize(workspaceFolders=folders)
        await indexed(server.client, 1)
    assert not database_of(tmp_path / "real", tmp_path / "cache").exists()


def _paths(root: Path, cache: Path) -> list[str]:
    connection = sqlite3.connect(database_of(root, cache))
    try:
        return sorted(path for (path,) in connection.execute("SELECT path FROM files"))
    finally:
        connection.close()
