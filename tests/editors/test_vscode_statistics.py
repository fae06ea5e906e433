"""Real VS Code opens the page of `mellum-lsp stats`, in its own theme."""

import re
from pathlib import Path
from typing import Any

import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from evaluation.statistics import write_days
from lsp_server.statistics.events import STATE_VARIABLE
from tests.editors.waiting import eventually

pytest.importorskip("playwright.sync_api", reason="playwright is missing: run `pip install -e '.[dev]'`")

from tests.editors.unfinished import make_project
from tests.editors.vscode_driver import PICTURES, VSCODE, Host, opened

pytestmark = [pytest.mark.slow]


def test_the_statistics_are_a_page_in_the_theme_of_the_window(vsix: Path, browser: Any, tmp_path: Path) -> None:
    """The command opens a tab with all plots; VS Code is dark, and the browser around it is light."""
    state = tmp_path / "state"
    write_days(state / "statistics.sqlite", days=30, answers=2_000)
    environment = {CACHE_VARIABLE: str(tmp_path / "cache"), STATE_VARIABLE: str(state)}
    host = Host(VSCODE, vsix, tmp_path, environment, machine={"workbench.colorTheme": "Default Dark Modern"})
    try:
        with opened(browser, host, folder=str(make_project(tmp_path / "project").parent)) as window:
            window.says("in error")  # there is no model, and the figures of earlier days are there all the same
            window.command("Mellum: Show Statistics")
            page = window.page.frame_locator("iframe.webview.ready").frame_locator("#active-frame")
            page.locator("h1").wait_for()
            assert page.locator("h1").text_content() == "What became of suggestions"
            assert page.locator("svg").count() >= 6
            back = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
            assert sum(map(int, re.findall(r"\d+", back)[:3])) < 200
            PICTURES.mkdir(parents=True, exist_ok=True)
            window.page.screenshot(path=PICTURES / "vscode_statistics.png")
            eventually(lambda: not window.messages(), "no complaint")
    finally:
        host.close()
