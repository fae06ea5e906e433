"""What goes wrong around a server costs what it concerns, and is told once: real servers, real models, real limits."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import SOON, Client, serving
from syntax.children import child_environment
from tests.indexer.sync_loops import without_privileges
from tests.lsp_server.test_cli import run
from tests.lsp_server.workspaces import folder, indexed

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="with the tools of Linux")

_AS_ANOTHER_USER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
_MAY_READ_ALL = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "ok.py").write_text("def ok(): return 1\n")
    return root


def set_modes(folder: Path, *, folders: int, files: int) -> None:
    """Set the permissions of all that is in a folder, and its own."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(folders if path.is_dir() else files)


def warnings(client: Client) -> list[str]:
    return [one["message"] for one in client.notifications("window/logMessage") if one["type"] <= 2]


def statistics_in(folder: Path) -> list[str]:
    """The names of the folders in which statistics are kept."""
    return [one.parent.name for one in folder.rglob("statistics.sqlite")]


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def test_odd_names_in_messages_do_no_harm(tmp_path: Path, root: Path) -> None:
    async with serving(tmp_path / "cache") as server:
        client = server.client
        await client.initialize(workspaceFolders=[folder(root)])
        await indexed(client, 1)
        before = descendants(server.process.pid)
        for name in ("a" * 300 + ".py", "%00.py", "a%00b.py", "%FF%FE.py", "d/" * 3000 + "x.py", "%ED%A0%80.py"):
            uri = f"{root.as_uri()}/{name}"
            client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
            client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": uri, "type": 1}]})
        (root / "late.py").write_text("late = 1\n")
        client.notify("textDocument/didSave", {"textDocument": {"uri": (root / "late.py").as_uri()}})
        await indexed(client, 2)
        assert descendants(server.process.pid) == before
        assert warnings(client) == []


@on_linux
async def test_an_indexer_process_that_does_not_read_stops_no_suggestion(cache: Path, root: Path) -> None:
    async with serving(cache) as server:
        client = server.client
        await client.initialize(
            workspaceFolders=[folder(root)], initializationOptions={"eagerness": "always", "deadline": 0}
        )
        await client.state("ready")
        await indexed(client, 1)
        workers = [one for one in psutil.Process(server.process.pid).children() if "indexer" in one.cmdline()]
        assert len(workers) == 1
        workers[0].suspend()
        long = root.as_uri() + "/" + "x" * 200
        for number in range(2400):
            client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": f"{long}{number}.py", "type": 1}]})
        client.open((root / "main.py").as_uri(), "def add(a, b):\n    return a + ")
        assert await client.complete((root / "main.py").as_uri(), 1, 15)
        await client.shut_down()
        assert await server.wait() == 0
        assert (await asyncio.to_thread(psutil.wait_procs, workers, SOON))[1] == []


@on_linux
async def test_children_that_were_stopped_and_their_children_do_not_survive_the_server(cache: Path, root: Path) -> None:
    async with serving(cache) as server:
        client = server.client
        await client.initialize(
            workspaceFolders=[folder(root)], initializationOptions={"eagerness": "always", "deadline": 0}
        )
        await client.state("ready")
        await indexed(client, 1)
        process = psutil.Process(server.process.pid)
        stopped = process.children(recursive=True)
        assert len(stopped) > len(process.children()) > 1
        for one in reversed(stopped):
            one.suspend()
        await client.shut_down()
        assert await server.wait() == 0
        assert (await asyncio.to_thread(psutil.wait_procs, stopped, SOON))[1] == []


@on_linux
async def test_a_user_without_home_or_account_has_an_index(tmp_path: Path, root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only the superuser can become another user")
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o777)
    arguments = [*_AS_ANOTHER_USER[1:], *_MAY_READ_ALL, "env", "-u", "HOME", sys.executable, "-m", "lsp_server"]
    code = f"import os, sys; os.execvp('setpriv', {_AS_ANOTHER_USER[:1] + arguments!r})"
    async with serving(cache, "-c", code) as server:
        await server.client.initialize(workspaceFolders=[folder(root)])
        await indexed(server.client, 1)
        assert warnings(server.client) == []
    assert b"Traceback" not in server.stderr


@on_linux
@pytest.mark.parametrize("is_there", [True, False])
async def test_relative_folders_are_those_of_the_folder_that_the_server_is_started_in(
    tmp_path: Path, is_there: bool
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    code = f"import os, sys; os.chdir({str(start)!r}); "
    code += "" if is_there else f"os.rmdir({str(start)!r}); "
    code += "os.execv(sys.executable, [sys.executable, '-P', '-m', 'lsp_server'])"
    variables = {"MELLUM_LSP_STATE": "mellum-state", "MELLUM_LSP_CACHE": "mellum-cache", "HOME": str(tmp_path)}
    async with serving(tmp_path, "-c", code, **variables) as server:
        client = server.client
        await client.initialize()
        await client.state("no-model")
        client.open("file:///projects/module.py", "def add(a, b):\n    return a + ")
        assert await client.complete("file:///projects/module.py", 1, 15) == []
        await client.shut_down()
        assert await server.wait() == 0
    assert b"Traceback" not in server.stderr
    assert statistics_in(tmp_path) == ["mellum-state" if is_there else "mellum-lsp"]


@on_linux
async def test_with_a_read_only_cache_there_are_suggestions_and_one_sentence(cache: Path, root: Path) -> None:
    set_modes(cache, folders=0o555, files=0o444)
    command = [*without_privileges(), sys.executable, "-m", "lsp_server"]
    try:
        async with serving(cache, "-c", f"import os; os.execvp({command[0]!r}, {command!r})") as server:
            client = server.client
            settings = {"eagerness": "always", "deadline": 0}
            await client.initialize(workspaceFolders=[folder(root)], initializationOptions=settings)
            await client.state("ready")
            await client.until(lambda: warnings(client))
            async with asyncio.timeout(SOON):
                while "problem" not in (index := (await client.request("mellum/status"))["index"]):
                    pass
            assert index == {"files": 0, "busy": False, "problem": warnings(client)[0]}
            client.open((root / "main.py").as_uri(), "def add(a, b):\n    return a + ")
            assert await client.complete((root / "main.py").as_uri(), 1, 15)
            (sentence,) = warnings(client)
            assert sentence.startswith(f"The cache folder {cache} cannot be written (")
        assert b"Traceback" not in server.stderr
    finally:
        set_modes(cache, folders=0o755, files=0o644)


@on_linux
@on_linux
@pytest.mark.skipif(sys.platform != "win32" and os.getuid() != 0, reason="only the superuser can become another user")
async def test_a_machine_that_starts_no_more_threads_is_one_sentence(tmp_path: Path) -> None:
    alone = ["setpriv", "--reuid", "12347", "--regid", "12347", "--clear-groups", *_MAY_READ_ALL]
    command = [*alone, "prlimit", "--nproc=5", sys.executable, "-P", "-m", "lsp_server"]
    async with serving(tmp_path / "cache", "-c", f"import os; os.execvp('setpriv', {command!r})") as server:
        client = server.client
        await client.initialize()
        status = await client.state("failed")
        assert status["message"].startswith("The server cannot begin (can't start new thread); let it have more")
        client.open("file:///projects/module.py", "def add(a, b):\n    return a + ")
        assert await client.complete("file:///projects/module.py", 1, 15) == []
        await client.shut_down()
        assert await server.wait() == 0
    assert b"Traceback" not in server.stderr


async def test_pipes_made_while_it_runs_leave_no_process_behind(tmp_path: Path, root: Path) -> None:
    async with serving(tmp_path / "cache") as server:
        client = server.client
        await client.initialize(workspaceFolders=[folder(root)])
        await indexed(client, 1)
        os.mkfifo(root / "pipe.py")
        (root / "late.py").write_text("def late(): return 7\n")
        await indexed(client, 2)
        processes = descendants(server.process.pid)
        assert server.process.stdin is not None
        server.process.stdin.close()
        await server.wait()
        assert (await asyncio.to_thread(psutil.wait_procs, processes, SOON))[1] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("models", "use", DEFAULT_MODEL), "cannot be used: "),
        (("setup",), "cannot be "),
        (("index", "."), "cannot be written ("),
    ],
)
def test_a_cache_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "file").write_text("")
    done = run(*arguments, cache=tmp_path / "file" / "cache")
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.split())
    assert str(tmp_path / "file") in "".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@on_linux
@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "--json"),
        pytest.param(("--help",), marks=pytest.mark.slow),
        pytest.param(("index", str(Path(__file__).parent)), marks=pytest.mark.slow),
    ],
)
def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lsp_server.cli", *arguments],
            env={**os.environ, "MELLUM_LSP_CACHE": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.strip() == "The output cannot be written: No space left on device"


@on_linux
@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (("models", "use", DEFAULT_MODEL), "cache/models/.chosen"),
        (("remote", "allow", "http://127.0.0.1:9"), "remotes.json"),
        (("stats", "--html", "page.html"), "page.html"),
    ],
)
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, arguments: tuple[str, ...], file: str) -> None:
    """No file may have any text: a limit that fails a write as a full disk does."""
    cache = tmp_path / "cache"
    done = subprocess.run(
        ["prlimit", "--fsize=0", sys.executable, "-B", "-m", "lsp_server.cli", *arguments],
        env=child_environment({"MELLUM_LSP_CACHE": str(cache), "MELLUM_LSP_STATE": str(cache / "state")}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{file} cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(cache.rglob("*~"))


def test_an_index_is_made_again_when_asked(tmp_path: Path, root: Path) -> None:
    assert run("index", str(root), cache=tmp_path / "cache").stdout.startswith("1 files")
    (database,) = (tmp_path / "cache").rglob("*.sqlite")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE files SET refusal = 'it was refused by mistake'")
    assert run("index", str(root), cache=tmp_path / "cache").stdout.startswith("0 files")
    assert run("index", str(root), "--again", cache=tmp_path / "cache").stdout.startswith("1 files")


@on_linux
def test_why_a_pipe_is_not_indexed_is_said_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    done = run("index", "why", str(tmp_path / "pipe.py"))
    assert done.returncode == 1
    assert done.stdout.endswith("pipe.py is not indexed: it is a named pipe, no file.\n")
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.py")
    Path(name).write_text("x = 1\n")
    done = run("index", "why", name)
    assert done.stdout.endswith("its name is not UTF-8.\n"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is mapped cannot be cut off on Windows")
@pytest.mark.parametrize(
    "how",
    [
        ": > DATA",
        pytest.param("truncate -s 0 DATA; truncate -s 0 DATA", marks=pytest.mark.slow),
        pytest.param(": >> DATA", marks=pytest.mark.slow),
    ],
)
async def test_a_model_whose_file_shrinks_is_given_up_and_taken_up_when_it_is_made_again(
    model_cache: Path, tmp_path: Path, how: str
) -> None:
    whole, folder = model_cache / "models" / DEFAULT_MODEL, tmp_path / "models" / DEFAULT_MODEL
    shutil.copytree(whole, folder)
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize(initializationOptions={"eagerness": "always", "deadline": 0})
        await client.state("ready")
        client.open("file:///a.py", "def add(a, b):\n    return a + ")
        assert await client.complete("file:///a.py", 1, 15)
        data = folder / "model.onnx.data"
        command = how.replace("DATA", f"'{data}'")
        cutting = await asyncio.create_subprocess_exec("sh", "-c", command, stderr=subprocess.DEVNULL)
        client.change("file:///a.py", 2, {"text": "def subtract(a, b):\n    return a - "})
        async with asyncio.timeout(SOON):
            while await client.complete("file:///a.py", 1, 15):
                client.change("file:///a.py", 3, {"text": "def multiply(a, b):\n    return a * "})
        await client.state("failed")
        states = client.notifications("mellum/status")
        assert any(one["message"].startswith(f"{data} has changed while it was in use") for one in states)
        async with asyncio.timeout(SOON):
            await cutting.wait()
        if how != ": >> DATA":  # which changes nothing: the model is loaded again
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            os.utime(folder / "manifest.json")
        async with asyncio.timeout(2 * SOON):
            while not await client.complete("file:///a.py", 1, 15):
                pass
        assert client.notifications("mellum/status")[-1]["state"] == "ready"
