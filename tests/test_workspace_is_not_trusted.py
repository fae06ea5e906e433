"""A workspace is not trusted: no command that is started in it imports or runs anything from it."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from evaluation.harness.client import SOON, Client
from tests.entry_points import HOUSE, PROGRAM, SOMEWHERE, Scene, commands, make_scene, whole_session

OURS = ("lsp_server", "indexer", "engine", "export", "syntax")
STARTED = ("lsp_server", "indexer", "syntax", "evaluation", "training")
"""Packages that `python -m` can start."""
PROGRAMS = (
    *(
        "git",
        "python",
        "python3",
        "python3.11",
        "mellum-lsp",
        "uname",
        "ldconfig",
        "gcc",
        "cc",
        "nvidia-smi",
        "lspci",
        "sh",
    ),
    *("file", "hg", "rg", "node", "strace", "arch", "ld", "objdump", "stty", "tput", "lscpu", "sysctl"),
)
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
_STARTS = {
    *("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile", "Popen", "run", "call"),
    *("check_call", "check_output", "getoutput", "create_subprocess_exec", "create_subprocess_shell"),
    *("ProcessPoolExecutor", "get_context", "Pool", "spawnv", "spawnl", "execv", "execve", "execl", "execvp"),
}
_STARTING_MODULES = {"subprocess", "os", "asyncio", "multiprocessing", "concurrent.futures", "pty"}


def imported_names() -> set[str]:
    """Every top-level name that Python, we, or what we depend on could import, whether it is installed or not."""
    names = set(sys.stdlib_module_names) | set(metadata.packages_distributions()) | set(OURS)
    names |= {"sitecustomize", "usercustomize", "pip", "setuptools", "wheel", "orjson", "hf_xet", "hf_transfer"}
    wanted, seen = ["mellum-lsp", "pip"], set()
    while wanted:
        if (name := wanted.pop()) in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        wanted += [re.split(r"[^\w.-]", line)[0] for line in distribution.requires or [] if "extra ==" not in line]
        for file in distribution.files or []:
            path = Path(str(distribution.locate_file(file)))
            if file.suffix == ".py" and path.is_file():
                names |= set(_IMPORT.findall(path.read_text(encoding="utf-8", errors="replace")))
    return {name for name in names if name.isidentifier()}


NAMES = imported_names()


def of_python_itself(first: str) -> set[str]:
    """What an interpreter has imported when it has imported one module: before our first line, where nothing helps."""
    code = f"import sys, {first}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"), model_cache)


def plant(scene: Scene, excused: set[str]) -> Path:
    """Fill the workspace with modules and programs that tell when they are run; returns the file where they do."""
    told = scene.home / "told"
    told.unlink(missing_ok=True)
    code = f"with open({str(told)!r}, 'a') as file: file.write(__name__ + '\\n')\n"
    for name in NAMES:
        shutil.rmtree(scene.workspace / name, ignore_errors=True)
    for name in NAMES - excused:
        (scene.workspace / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (scene.workspace / name / file).write_text(code)
    for name in PROGRAMS:
        (scene.workspace / name).write_text(f"#!/bin/sh\necho {name} >> '{told}'\n")
        (scene.workspace / name).chmod(0o755)
    (scene.workspace / "planted.pth").write_text(f"import sys; exec({code!r})\n")
    (scene.workspace / "pyvenv.cfg").write_text(f"home = {scene.workspace}\ninclude-system-site-packages = true\n")
    for name in ("pip.conf", "pip.ini", ".netrc", "setup.cfg", ".pydistutils.cfg"):
        (scene.workspace / name).write_text("[global]\nindex-url = http://127.0.0.1:9/planted\n[install]\nprefix = .\n")
    (scene.workspace / ".env").write_text("MELLUM_LSP_CACHE=planted\nPYTHONPATH=.\n")
    (scene.workspace / "tokenizer.json").write_text("{}")
    (scene.workspace / "model.onnx").write_text("")
    return told


def told_by(told: Path) -> list[str]:
    return sorted(set(told.read_text().split())) if told.exists() else []


def hostile(scene: Scene, **more: str) -> dict[str, str]:
    """An environment that looks for programs and configurations in the current folder."""
    path = os.pathsep.join([".", "", os.environ["PATH"]])
    return scene.environment(PATH=path, PIP_CONFIG_FILE="pip.conf", **more)


def run(command: list[str], scene: Scene, **more: str) -> subprocess.CompletedProcess[str]:
    quiet, environment = subprocess.DEVNULL, hostile(scene, **more)
    return subprocess.run(
        command, stdin=quiet, capture_output=True, text=True, check=False, cwd=scene.workspace, env=environment
    )


@pytest.mark.parametrize("name", commands(SOMEWHERE))
def test_a_command_runs_nothing_of_the_current_folder(name: str, scene: Scene) -> None:
    command = commands(scene)[name]
    is_module = command[1] == "-m"
    excused = of_python_itself("runpy") | {command[2].partition(".")[0]} if is_module else set()
    told = plant(scene, excused)
    done = run(command, scene)
    assert told_by(told) == []
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["complete", "index"])
@pytest.mark.parametrize("search_path", [".", "", os.pathsep], ids=["a dot", "nothing", "empty entries"])
def test_an_import_path_with_the_current_folder_in_it_changes_nothing(
    name: str, search_path: str, scene: Scene
) -> None:
    # what pip writes as `mellum-lsp` imports `re`, then us; Python itself looks for two more at its start
    told = plant(scene, of_python_itself("re") | {"lsp_server", "sitecustomize", "usercustomize"})
    run(commands(scene)[name], scene, PYTHONPATH=search_path)
    assert told_by(told) == []


@pytest.mark.parametrize("place", [sysconfig.get_path("stdlib"), sysconfig.get_path("platlib"), "removed"])
@pytest.mark.parametrize("name", ["index", "python -m lsp_server.cli"])
def test_in_a_folder_of_python_itself_commands_work(name: str, place: str, scene: Scene) -> None:
    here = Path(place) if place != "removed" else scene.temporary / "removed"
    here.mkdir(exist_ok=True)
    leave = "import os, sys; os.chdir(sys.argv[1]); 'removed' in sys.argv[1] and os.rmdir(sys.argv[1]); "
    code = f"{leave}os.execv(sys.argv[2], sys.argv[2:])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(here), *commands(scene)[name]],
        env=scene.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_setup_runs_no_pip_of_the_current_folder(scene: Scene, tmp_path: Path) -> None:
    told = plant(scene, set())
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/none", "PIP_RETRIES": "0", "MELLUM_LSP_CACHE": str(tmp_path)}
    done = run([PROGRAM, "setup"], scene, **nowhere)
    assert "pip could not download" in " ".join(done.stderr.split())
    assert told_by(told) == []


async def test_a_server_runs_nothing_of_its_workspace(scene: Scene) -> None:
    told = plant(scene, set())
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "serve", stdin=pipe, stdout=pipe, cwd=scene.workspace, env=hostile(scene), limit=1 << 26
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await whole_session(Client(process.stdout, process.stdin), scene)
        assert await asyncio.wait_for(process.wait(), SOON) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert told_by(told) == []


@pytest.mark.parametrize("package", STARTED)
def test_packages_that_python_starts_take_the_current_folder_out_first(package: str) -> None:
    """To import these lines from one place would be to look for that place in the current folder."""
    first, others = (ast.parse(read(HOUSE / name / "__init__.py")).body[1:10] for name in (STARTED[0], package))
    assert [ast.dump(one) for one in others] == [ast.dump(one) for one in first]
    assert {alias.name for one in first if isinstance(one, ast.Import) for alias in one.names} == {"os", "site", "sys"}


def test_all_packages_that_python_starts_are_known() -> None:
    started = {file.parent.name for file in HOUSE.glob("*/__main__.py")}
    started |= {
        file.parent.name for file in HOUSE.glob("*/*.py") if re.search(r'^if __name__ == "__main__"', read(file), re.M)
    }
    # `export.reference` and `engine.devices.plugins` are started by start_python alone
    assert started - {"tests", "export", "engine"} <= set(STARTED)


@pytest.mark.parametrize("package", OURS)
def test_child_processes_are_started_in_one_place(package: str) -> None:
    files = [file for file in (HOUSE / package).rglob("*.py") if file != HOUSE / "syntax" / "children.py"]
    assert not {str(file): found for file in files if (found := starts(file))}


def starts(file: Path) -> list[int]:
    """The lines in which a file starts a process by itself."""
    tree = ast.parse(read(file))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and _starts(node.func)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in _STARTING_MODULES:
            lines += [node.lineno] if {alias.name for alias in node.names} & _STARTS else []
        elif isinstance(node, ast.Import) and {alias.name for alias in node.names} & {"multiprocessing", "pty"}:
            lines.append(node.lineno)
    return lines


def _starts(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in _STARTING_MODULES
        and (function.attr in _STARTS)
        and (function.value.id, function.attr) != ("asyncio", "run")
    )


def test_onnx_runtime_is_imported_in_one_place() -> None:
    """Elsewhere it would report to its maker. ruff refuses `import onnxruntime`; here are the ways around it."""
    hidden = re.compile(r"""(?:import_module|__import__|importorskip|find_spec|run_module)\(\s*["']onnxruntime""")
    folders = (*OURS, *STARTED, "tests")
    found = [file for folder in folders for file in (HOUSE / folder).rglob("*.py") if file != Path(__file__)]
    files = [file for file in found if ".cache" not in file.relative_to(HOUSE).parts]  # others' code, with the editors
    assert not [file for file in files if hidden.search(read(file))]
    imports = {
        file
        for file in files
        for node in ast.walk(ast.parse(read(file)))
        if (isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "onnxruntime" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "onnxruntime")
    }
    assert imports == {HOUSE / "engine" / "devices" / "onnx_runtime.py"}


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")
