"""All commands that a user can start, and the folders to start them in: a home, a cache, a workspace."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from engine.model_folders.locations import DEFAULT_MODEL
from evaluation.harness.client import SOON, Client
from tests.export.small_models import PLAIN, random_weights, write_folder

HOUSE = Path(__file__).parent.parent
PROGRAM = str(Path(sys.executable).with_name("mellum-lsp"))

_MAIN = "from shapes import area\n\n\ndef add(first, second):\n    return first + second\n\n\nprint(area(2, 3))\n"
_SHAPES = "def area(width, height):\n    return width * height\n"


@dataclass(frozen=True, slots=True)
class Scene:
    """Folders of a user who has never started anything, but for a model in the cache folder."""

    home: Path
    workspace: Path
    temporary: Path
    checkpoint: Path
    """A small model as it is published."""

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return self.home / ".cache" / "mellum-lsp"

    def environment(self, **more: str) -> dict[str, str]:
        """What a user's shell would have, and no more: some programs are silent where a variable tells of a test."""
        places = {"HOME": self.home, "USERPROFILE": self.home, "TMPDIR": self.temporary, "TEMP": self.temporary}
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT", "PATHEXT") if name in os.environ}
        quiet = {"MELLUM_LSP_CACHE": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **{name: str(place) for name, place in places.items()}, **quiet, **more}


SOMEWHERE = Scene(*map(Path, ("home", "workspace", "temporary", "published")))
"""No folders: to know the names of commands before there are any."""


def make_scene(folder: Path, model_cache: Path) -> Scene:
    """Make the folders; the default model is linked to."""
    scene = Scene(folder / "home", folder / "workspace", folder / "temporary", folder / "published" / "Mellum-small")
    for place in (scene.home, scene.workspace, scene.temporary, scene.cache / "models"):
        place.mkdir(parents=True)
    shutil.copytree(
        model_cache / "models" / DEFAULT_MODEL, scene.cache / "models" / DEFAULT_MODEL, copy_function=_link_or_copy
    )
    write_folder(scene.checkpoint, PLAIN, random_weights(PLAIN))
    (scene.workspace / ".git").mkdir()
    (scene.workspace / "main.py").write_text(_MAIN)
    (scene.workspace / "shapes.py").write_text(_SHAPES)
    return scene


def commands(scene: Scene) -> dict[str, list[str]]:
    """Every command that ends by itself, by its name; the first of each is a program, the others its arguments."""
    main, cache = str(scene.workspace / "main.py"), scene.cache
    of_python = [sys.executable, "-m"]
    return {
        "version": [PROGRAM, "--version"],
        "models": [PROGRAM, "models"],
        "index": [PROGRAM, "index", str(scene.workspace)],
        "index why": [PROGRAM, "index", "why", main],
        "complete": [PROGRAM, "complete", f"{main}:5", "--erase", "1"],
        "context": [PROGRAM, "context", f"{main}:5"],
        "export": [PROGRAM, "export", str(scene.checkpoint), "--target", "cpu", "--no-fit"],
        "export random": [PROGRAM, "export", f"random:{scene.checkpoint / 'config.json'}", "--name", "random"],
        "models verify": [PROGRAM, "models", "verify", DEFAULT_MODEL],
        "models use": [PROGRAM, "models", "use", DEFAULT_MODEL],
        "models remove": [PROGRAM, "models", "remove", "no-such-model"],
        "stats": [PROGRAM, "stats"],
        "remote": [PROGRAM, "remote"],
        "remote forbid": [PROGRAM, "remote", "forbid", "https://gpu.example"],
        "doctor": [PROGRAM, "doctor"],
        "python -m lsp_server": [*of_python, "lsp_server"],
        "python -m lsp_server.cli": [*of_python, "lsp_server.cli", "models"],
        "python -m indexer": [*of_python, "indexer", str(scene.workspace), str(cache / "index" / "other" / "i.sqlite")],
        "python -m indexer --read": [*of_python, "indexer", "--read", str(scene.workspace)],
    }


def help_commands() -> dict[str, list[str]]:
    """The help of each command."""
    of_models = [f"models {name}" for name in ("recommend", "get", "fit", "verify", "remove", "use")]
    names = (
        "",
        "serve",
        "complete",
        "context",
        "index",
        "setup",
        "export",
        "models",
        *of_models,
        "remote",
        "stats",
        "doctor",
    )
    return {f"{name} --help".strip(): [PROGRAM, *name.split(), "--help"] for name in names}


def evaluation_commands() -> dict[str, list[str]]:
    """What benchmarks import, by their help."""
    modules = sorted(
        f"{file.parent.name}.{file.stem}"
        for file in (HOUSE / "evaluation").glob("*.py")
        if "ArgumentParser" in file.read_text(encoding="utf-8")
    )
    return {f"{module} --help": [sys.executable, "-m", module, "--help"] for module in modules}


async def whole_session(client: Client, scene: Scene) -> None:
    """What an editor does: open a folder and a document, type, ask, save, and leave."""
    file = scene.workspace / "main.py"
    folder = {"uri": scene.workspace.as_uri(), "name": "workspace"}
    await client.initialize(workspaceFolders=[folder], initializationOptions={"deadline": 0, "eagerness": "always"})
    await client.state("ready", within=4 * SOON)
    async with asyncio.timeout(4 * SOON):
        while (await client.request("mellum/status"))["index"]["files"] < 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    client.open(file.as_uri(), "from shapes import area\n\n\ndef add(first, second):\n    return ")
    assert await client.complete(file.as_uri(), 4, 11)
    client.change(file.as_uri(), 2, {"text": "def add(first, second):\n    return first"})
    await client.complete(file.as_uri(), 1, 16)
    client.notify("textDocument/didSave", {"textDocument": {"uri": file.as_uri()}})
    client.notify("textDocument/didClose", {"textDocument": {"uri": file.as_uri()}})
    await client.shut_down()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
