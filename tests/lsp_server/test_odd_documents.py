"""Texts on which a grammar hangs or crashes: no other document waits, and neither server nor index ends."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from evaluation.harness.client import SOON, Server, edit, environment, serving
from evaluation.robustness.large import TEXTS

CRASH = " -" * 254
NESTED_C = "int f(void)\n" + "{\n" * 4000 + "return 1;\n" + "}\n" * 4000
ODD = {
    "sequences.yaml": ("yaml", CRASH),
    "brackets.lua": ("lua", "[" * 30_000),
    "lines.js": ("javascript", "[\n" * 20_000),
    "deep.c": ("c", NESTED_C),
    "tags.html": ("html", "<div>" * 8_000),
    "heredocs.rb": ("ruby", "a = [<<A, " * 3_000),
    "substitutions.sh": ("shellscript", "$(" * 15_000),
    "arrays.php": ("php", "<?php " + "[" * 30_000),
    "templates.ts": ("typescript", "`${" * 10_000),
    "types.scala": ("scala", "A[" * 15_000),
    "calls.kt": ("kotlin", "f(a, " * 6_000),
    "generics.swift": ("swift", "A<" * 15_000),
    "selects.sql": ("sql", "(select " * 4_000),
    "rules.css": ("css", "a{" * 15_000),
    "tables.toml": ("toml", "a=" + "[" * 30_000),
    "lists.json": ("json", "[" * 30_000),
    "steps.py": ("python", "".join("    " * depth + "if a:\n" for depth in range(150))),
    "quotes.go": ("go", '"' * 30_000),
    "backslashes.rs": ("rust", "\\" * 30_000),
    "line.js": ("javascript", "word = other + 1; " * 60_000),
    "large.java": ("java", "class A { int a = 1; }\n" * 200_000),
}
WITHIN = 30.0  # seconds for an answer that takes tenths of one: this machine may be a busy one


async def ask(server: Server, name: str, text: str) -> None:
    """Ask in the middle of a document, and meanwhile in another one, and for the status."""
    client, (line, character) = server.client, middle_of(text)
    _, odd = client.start_request(*completion_at(f"file:///{name}", line, character))
    status = await client.request("mellum/status", within=WITHIN)
    assert status["state"] == "ready"
    other = await client.request(*completion_at("file:///ok.py", 1, 15), within=WITHIN)
    assert other["items"], f"nothing is suggested while {name} is open"
    assert isinstance((await odd)["items"], list)


def middle_of(text: str) -> tuple[int, int]:
    """Line and character of a text's middle, where characters have one unit."""
    before = text[: len(text) // 2].replace("\r", "\n")
    return before.count("\n"), len(before) - before.rfind("\n") - 1


def completion_at(uri: str, line: int, character: int) -> tuple[str, dict[str, object]]:
    position = {"line": line, "character": character}
    return (
        "textDocument/inlineCompletion",
        {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 2}},
    )


async def test_documents_that_are_too_much_for_a_grammar_hold_nothing_up(model_cache: Path) -> None:
    async with serving(model_cache) as server:
        client = server.client
        await client.initialize(initializationOptions={"eagerness": "always"})
        await client.state("ready")
        client.open("file:///ok.py", "def add(a, b):\n    return a + ")
        for name, (language, text) in ODD.items():
            client.open(f"file:///{name}", text, language)
            await ask(server, name, text)
        process = psutil.Process(server.process.pid)
        assert not [one.path for one in process.memory_maps() if "tree_sitter" in one.path]
        children = process.children(recursive=True)
        await client.shut_down()
        assert await server.wait() == 0
        psutil.wait_procs(children, SOON)
        assert not [child for child in children if child.is_running()]
    assert b"sequences.yaml is read without a grammar" in server.stderr
    assert b"Traceback" not in server.stderr


LARGE = ("Python", "open brackets", "braces line by line", "nested HTML, 1 MB", "minified JavaScript", "blank lines")


async def test_documents_of_ten_megabytes_hold_nothing_up(model_cache: Path) -> None:
    async with serving(model_cache) as server:
        client = server.client
        await client.initialize(initializationOptions={"eagerness": "always"})
        await client.state("ready")
        client.open("file:///ok.py", "def add(a, b):\n    return a + ")
        for number, name in enumerate(LARGE):
            language, make = TEXTS[name]
            text, uri = make(10_000_000), f"file:///{number}"
            client.open(uri, text, language)
            await ask(server, str(number), text)
            at = middle_of(text)
            client.change(uri, 2, edit(at, at, "a"))
            client.change("file:///ok.py", 2, edit((1, 13), (1, 14), "-"))  # what is cached is of no use
            await ask(server, str(number), text)
            client.change("file:///ok.py", 3, edit((1, 13), (1, 14), "+"))
            client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        await client.shut_down()
        assert await server.wait() == 0
    assert b"Traceback" not in server.stderr


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with odd files, and an ordinary one."""
    root = tmp_path / "root"
    root.mkdir()
    for name, (_, text) in ODD.items():
        (root / name).write_text(text)
    (root / "ok.py").write_text("def fine():\n    return 1\n")
    return root


def run(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lsp_server.cli", *arguments]
    return subprocess.run(
        command, env={**environment(cache), CACHE_VARIABLE: str(cache)}, capture_output=True, text=True, timeout=120
    )


def test_files_that_are_too_much_for_a_grammar_leave_the_others_in_the_index(workspace: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "cache", "index", str(workspace))
    assert first.returncode == 0, first.stderr
    assert "sequences.yaml" in first.stderr
    assert {"fine", "f"} <= definitions(tmp_path / "cache")  # f is that of deep.c
    again = run(tmp_path / "cache", "index", str(workspace))
    assert "sequences.yaml" not in again.stderr  # it is known by now, and not tried again
    assert again.stdout.split()[0] == first.stdout.split()[0]
    why = run(tmp_path / "cache", "index", "why", str(workspace / "sequences.yaml"))
    assert why.returncode == 1
    assert "is not indexed: the grammar of yaml crashes on it." in why.stdout
    (workspace / "sequences.yaml").write_text("a: 1\n")  # which the index has not read yet
    assert run(tmp_path / "cache", "index", "why", str(workspace / "sequences.yaml")).returncode == 0


def definitions(cache: Path) -> set[str]:
    """The names of all definitions in the only index of a cache folder."""
    (database,) = cache.rglob("index-*.sqlite")
    connection = sqlite3.connect(database)
    names = {name for (name,) in connection.execute("SELECT name FROM symbols")}
    connection.close()
    return names


def test_the_command_line_completes_in_a_text_that_ends_a_grammar(model_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "sequences.yaml"
    file.write_text(CRASH)
    done = run(model_cache, "complete", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "text" in json.loads(done.stdout)
