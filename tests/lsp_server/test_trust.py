"""Which model a server loads: the user's, never one that its workspace brings along."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import SOON, serving
from lsp_server.configuration.settings import Settings, without_wishes_of

CODE = "def add(a, b):\n    return a + "


@pytest.fixture
def workspace(tmp_path: Path, model_cache: Path) -> Path:
    """A workspace that holds a whole model under the default model's name."""
    shutil.copytree(model_cache / "models" / DEFAULT_MODEL, tmp_path / "workspace" / DEFAULT_MODEL)
    return tmp_path / "workspace"


async def test_a_server_takes_no_model_from_its_current_folder(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    async with serving(tmp_path / "cache") as server:
        await server.client.initialize(rootUri=workspace.as_uri())
        assert "mellum-lsp setup" in (await server.client.state("no-model"))["message"]


async def test_a_setting_names_no_model_of_the_workspace(workspace: Path, tmp_path: Path) -> None:
    async with serving(tmp_path / "cache") as server:
        options = {"model": str(workspace / DEFAULT_MODEL)}
        await server.client.initialize(rootUri=workspace.as_uri(), initializationOptions=options)
        await server.client.state("no-model")
        said = [one["message"] for one in server.client.notifications("window/logMessage")]
        assert any("mellum.model names a folder of the workspace" in one for one in said)


async def test_a_model_is_unloaded_when_its_folder_becomes_part_of_the_workspace(
    workspace: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path / "cache") as server:
        client, folder = server.client, {"uri": workspace.as_uri(), "name": "workspace"}
        await client.initialize(workspaceFolders=[], initializationOptions={"model": str(workspace / DEFAULT_MODEL)})
        await client.state("ready", within=2 * SOON)
        client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [folder], "removed": []}})
        assert "mellum-lsp setup" in (await client.state("no-model"))["message"]
        assert any("folder of the workspace" in one["message"] for one in client.notifications("window/logMessage"))


@pytest.mark.parametrize("name", ["~no-such-user/x", "/no/such/folder", "no-such-model", "a\0b"])
async def test_a_model_that_is_not_there_is_named_and_requests_are_answered(name: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        client = server.client
        await client.initialize(initializationOptions={"model": name})
        assert repr(name) in (await client.state("no-model", within=2 * SOON))["message"]
        client.open("file:///some.py", CODE)
        assert await client.complete("file:///some.py", 1, 15) == []
        assert await client.complete("file:///some.py", 1, 15) == []
    assert b"Traceback" not in server.stderr


def test_models_in_the_workspace_are_refused_however_they_are_written(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "model").mkdir(parents=True)
    other.mkdir()
    (tmp_path / "link").symlink_to(root)
    (other / "link").symlink_to(root / "model")
    for written in (root / "model", tmp_path / "link" / "model", other / ".." / "root" / "model", other / "link"):
        settings, (complaint,) = without_wishes_of([root], Settings(model=str(written), threads=3))
        assert settings == Settings(model=None, threads=3)
        assert "mellum-lsp models use" in complaint
    settings, (complaint,) = without_wishes_of([tmp_path / "link"], Settings(model=str(root / "model")))
    assert settings.model is None
    for written in ("./model", "root/model", "..\\model"):
        settings, (complaint,) = without_wishes_of([root], Settings(model=written))
        assert settings.model is None
        assert "whole path" in complaint


def test_models_of_the_user_are_taken(tmp_path: Path) -> None:
    for written in (None, "a-name", str(tmp_path / "models" / "one"), "~/models/one", "~no-such-user/x"):
        settings = Settings(model=written)
        assert without_wishes_of([tmp_path / "root"], settings) == (settings, [])


@pytest.mark.skipif(sys.platform != "win32", reason="names of other machines are Windows'")
def test_a_model_on_another_machine_is_refused(tmp_path: Path) -> None:
    assert without_wishes_of([tmp_path], Settings(model=r"\\machine\share\model"))[0].model is None
