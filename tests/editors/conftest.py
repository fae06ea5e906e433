"""The editors that tests of several files use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.availability import or_skipped, program
from tests.editors.emacs_driver import Emacs, emacs
from tests.editors.unfinished import PLACE, make_project
from tests.editors.vscode_install import build_extension, chromium, install

VSCODE = Path(__file__).parents[1] / ".cache" / "vscode"

Start = Callable[..., Emacs]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[Start]:
    """Start Emacs, as often as is wanted; all are ended at the end."""
    started: list[Emacs] = []

    def begin(
        version: str = "28",
        file: Path | None = None,
        place: int = 0,
        init: str = "",
        setup: str | None = None,
        cache: Path = model_cache,
        home: Path | None = None,
    ) -> Emacs:
        if file is None:
            file, place = make_project(tmp_path_factory.mktemp("workspace") / "project"), PLACE
        home = home or tmp_path_factory.mktemp("home")
        started.append(Emacs(emacs(version), home, file, cache, init, place, setup))
        return started[-1]

    with or_skipped():
        program("tmux", "tmux")
    try:
        yield begin
    finally:
        for editor in started:
            editor.close()


@pytest.fixture(scope="session")
def vsix() -> Path:
    """The extension, built and packaged by its own command, and VS Code to put it into."""
    with or_skipped():
        chromium()
        install(VSCODE)
        return build_extension(VSCODE)


@pytest.fixture(scope="module")
def browser(vsix: Path) -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()
