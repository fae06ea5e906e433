"""A user's own `engine` or `syntax` on the import path: the server and its children import ours nevertheless."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from evaluation.harness.client import HOUSE, serving
from tests.entry_points import PROGRAM
from tests.lsp_server.workspaces import folder, indexed

WHEEL = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]
URI = "file:///projects/module.py"
TEXT = "def area(width: int, height: int) -> int:\n    return "
OTHERS = sorted({"engine", "indexer", "export", "syntax"})


@pytest.fixture(params=["a package", "a module"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project of a user, each of whose packages is named like one of ours and tells when it is imported."""
    folder = tmp_path / "project"
    for name in OTHERS:
        file = folder / (f"{name}/__init__.py" if request.param == "a package" else f"{name}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"with open({str(tmp_path / 'told')!r}, 'a') as told: told.write({name!r})\n")
    return folder


@pytest.mark.parametrize("arguments", [("-m", "lsp_server"), ("-m", "lsp_server.cli", "serve")], ids=" ".join)
async def test_a_server_suggests_with_another_project_first_on_the_import_path(
    model_cache: Path, project: Path, arguments: tuple[str, ...]
) -> None:
    async with serving(model_cache, *arguments, PYTHONPATH=str(project)) as server:
        client = server.client
        settings = {"deadline": 0, "eagerness": "always"}
        await client.initialize(workspaceFolders=[folder(project)], initializationOptions=settings)
        await client.state("ready")
        client.open(URI, TEXT)
        assert await client.complete(URI, 1, 11)
        await indexed(client, len(OTHERS))
        await client.shut_down()
        assert await server.wait() == 0
    assert not (project.parent / "told").exists()


def test_a_command_works_with_another_project_first_on_the_import_path(model_cache: Path, project: Path) -> None:
    environment = {**os.environ, "MELLUM_LSP_CACHE": str(model_cache), "PYTHONPATH": str(project)}
    command = [PROGRAM, "index", str(project)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (project.parent / "told").exists()


@pytest.mark.parametrize("package", WHEEL["packages"])
def test_packages_say_that_they_are_typed(package: str) -> None:
    assert (HOUSE / package / "py.typed").is_file()
    ignored = subprocess.run(["git", "check-ignore", "-q", f"{package}/py.typed"], cwd=HOUSE, check=False)
    assert ignored.returncode == 1  # hatch takes into the wheel what git does not ignore
