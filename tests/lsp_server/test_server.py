"""When a server ends: with its editor or its connection, and never because of damaged input. No model needed."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from evaluation.harness.client import HOUSE, SOON, Client, environment, serving

EDITOR = """
import subprocess, sys, time
server = subprocess.Popen([sys.executable, "-m", "lsp_server"], stdin=0, stdout=subprocess.PIPE)
answer = server.stdout.readline()
print(server.pid, flush=True)
time.sleep(600)
"""


async def is_gone(process_id: int, within: float = SOON) -> bool:
    """Wait until a process that is not our child has ended."""
    try:
        process = psutil.Process(process_id)
        await asyncio.to_thread(process.wait, within)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


async def test_it_ends_when_stdin_closes(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.initialize()
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert await server.wait() == 1


async def test_it_ends_when_stdin_closes_before_anything_was_said(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert await server.wait() == 1


async def test_it_ends_when_the_connection_breaks_inside_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.initialize()
        server.client.send_bytes(b'Content-Length: 1000\r\n\r\n{"jsonrpc"')
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert await server.wait() == 1
    assert b"in the middle of a message" in server.stderr


async def test_it_ends_when_its_editor_is_killed_although_stdin_stays_open(tmp_path: Path) -> None:
    editor = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    try:
        async with serving(tmp_path) as server:
            await server.client.initialize(processId=editor.pid)
            assert await server.client.request("mellum/status")
            editor.kill()
            await editor.wait()
            assert await server.wait() == 1
    finally:
        if editor.returncode is None:
            editor.kill()
            await editor.wait()


async def test_an_editor_that_was_killed_takes_its_server_with_it(tmp_path: Path) -> None:
    read, write = os.pipe()  # the server's stdin, which we hold open: only the number of the editor tells of its death
    editor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", EDITOR), stdin=read, stdout=asyncio.subprocess.PIPE, env=environment(tmp_path)
    )
    try:
        body = (
            b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":%d,"capabilities":{}}}' % editor.pid
        )
        os.write(write, b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert editor.stdout is not None
        server = int(await asyncio.wait_for(editor.stdout.readline(), SOON))
        assert psutil.pid_exists(server)
        editor.kill()
        await editor.wait()
        assert await is_gone(server)
    finally:
        os.close(read)
        os.close(write)
        if editor.returncode is None:
            editor.kill()
            await editor.wait()


async def test_a_process_id_that_means_nothing_here_is_not_watched(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.initialize(processId=2**30)
        await server.client.state("no-model")
        await server.client.shut_down()
        assert await server.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for another process")
async def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.initialize()
        server.process.send_signal(2)
        await server.wait()
    assert b"Traceback" not in server.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for another process")
async def test_ctrl_c_while_the_client_owes_an_answer_ends_it_without_a_traceback(tmp_path: Path) -> None:
    """The handler of `initialized` is cancelled in the middle, while it waits for the settings."""
    async with serving(tmp_path) as server:
        server.client.answers["workspace/configuration"] = asyncio.sleep  # never
        await server.client.initialize({"workspace": {"configuration": True}})
        await server.client.until(lambda: server.client.notifications("workspace/configuration"))
        server.process.send_signal(2)
        await server.wait()
    assert b"Traceback" not in server.stderr


def test_a_client_that_reads_nothing_does_not_stop_the_server(tmp_path: Path) -> None:
    """The server's answers fill the pipe; edits and the exit must come through nevertheless."""
    code = "import sys; from lsp_server.server import serve_stdio; sys.exit(serve_stdio())"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(tmp_path)) as process:
        assert process.stdin is not None

        def send(body: bytes) -> None:
            assert process.stdin is not None
            process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

        send(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"capabilities":{}}}')
        for number in range(2, 3000):
            send(b'{"jsonrpc":"2.0","id":%d,"method":"mellum/status"}' % number)
        send(b'{"jsonrpc":"2.0","method":"exit"}')
        process.stdin.flush()
        assert process.wait(SOON) == 1


def test_a_client_that_never_reads_stderr_does_not_stop_the_server(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "lsp_server"]
    variables = environment(tmp_path, MELLUM_LSP_LOG="debug")
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=variables) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(body: bytes) -> None:
            assert process.stdin is not None
            process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            process.stdin.flush()

        send(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"capabilities":{}}}')
        for number in range(2, 1000):  # each of them is logged, with its answer
            send(b'{"jsonrpc":"2.0","id":%d,"method":"mellum/status"}' % number)
        send(b'{"jsonrpc":"2.0","id":"last","method":"shutdown"}')
        received = b""
        while b'"last"' not in received:
            data = process.stdout.read1()
            assert data
            received += data
        send(b'{"jsonrpc":"2.0","method":"exit"}')
        assert process.wait(SOON) == 0


async def test_nothing_but_the_protocol_reaches_stdout(tmp_path: Path) -> None:
    code = (
        "import os, sys; from lsp_server import server\n"
        "make = server.create_server\n"
        "def noisy(): print('noise from Python'); os.write(1, b'noise from native code\\n'); return make()\n"
        "def connect(): connection = stdio(); noisy(); return connection\n"
        "stdio, server.stdio = server.stdio, connect\n"
        "sys.exit(server.serve_stdio())"
    )
    async with serving(tmp_path, "-c", code) as server:
        assert await server.client.initialize()
        assert await server.client.request("mellum/status")
        await server.client.shut_down()
        assert await server.wait() == 0
    assert b"noise from Python" in server.stderr
    assert b"noise from native code" in server.stderr


async def connect_to(process: asyncio.subprocess.Process) -> Client:
    """Connect to a server that says on stderr where it listens."""
    assert process.stderr is not None
    async with asyncio.timeout(SOON):
        while (found := re.search(rb"Listening on (\S+):(\d+)", await process.stderr.readline())) is None:
            assert process.returncode is None
    return Client(*await asyncio.open_connection(found[1].decode(), int(found[2])))


async def test_it_serves_one_client_over_tcp_and_ends_with_it(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from lsp_server.server import serve_tcp; sys.exit(serve_tcp('127.0.0.1', 0))",
    ]
    for farewell in (True, False):
        process = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE, env=environment(tmp_path), cwd=HOUSE
        )
        try:
            client = await connect_to(process)
            await client.initialize({"general": {"positionEncodings": ["utf-8"]}})
            assert client.capabilities["positionEncoding"] == "utf-8"
            await client.state("no-model")
            if farewell:
                await client.shut_down()
            await client.close()
            assert await asyncio.wait_for(process.wait(), SOON) == (0 if farewell else 1)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_two_servers_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with serving(tmp_path) as one, serving(tmp_path) as other:
        await asyncio.gather(one.client.initialize(), other.client.initialize())
        await asyncio.gather(one.client.state("no-model"), other.client.state("no-model"))
        await one.client.shut_down()
        assert await one.wait() == 0
        assert await other.client.request("mellum/status")
