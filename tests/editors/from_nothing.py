"""Walk the way of the READMEs from nothing to grey text, in a home folder without anything, and print its times.

    python -m tests.editors.from_nothing [emacs | neovim]

Everything is downloaded, Emacs or Neovim apart: nothing of this machine's caches is used.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors import emacs_driver, neovim_driver
from tests.editors.unfinished import PLACE, make_project

REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print how long a step takes."""
    begun = time.monotonic()
    yield
    print(f"{time.monotonic() - begun:6.1f} s  {what}", flush=True)


def install(home: Path) -> Path:
    """Install the server and make its model, as the README says; returns the cache folder."""
    cache = home / ".cache" / "mellum-lsp"
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("XDG_", "VIRTUAL_ENV", "PYTHON"))}
    environment = {**kept, "HOME": str(home), CACHE_VARIABLE: str(cache)}

    def run(*command: str) -> None:
        subprocess.run(command, cwd=home, env=environment, check=True, stdout=subprocess.DEVNULL)

    run("git", "clone", "--quiet", str(REPOSITORY), "mellum-lsp")
    with step("python3 -m venv mellum && mellum/bin/pip install ./mellum-lsp"):
        run(sys.executable, "-m", "venv", "mellum")
        run("mellum/bin/pip", "install", "--quiet", "./mellum-lsp")
    with step("mellum/bin/mellum-lsp setup"):
        run("mellum/bin/mellum-lsp", "setup")
    (home / "bin").mkdir()
    (home / "bin" / "mellum-lsp").symlink_to(home / "mellum" / "bin" / "mellum-lsp")
    return cache


def walk_emacs(home: Path, cache: Path) -> None:
    """Install the package, open a file, and type until there is grey text."""
    file = make_project(home / "project")
    editor = None
    try:
        with step("the package, init.el, Emacs, the file"):
            editor = emacs_driver.Emacs(emacs_driver.emacs("28"), home, file, cache, place=PLACE)
        with step("typing until there is grey text"):
            editor.open_line()
            editor.suggestion()
    finally:
        if editor is not None:
            editor.close()


def walk_neovim(home: Path, cache: Path) -> None:
    """Write the configuration, open a file, and type until there is grey text."""
    setup = ("0.12", neovim_driver.BUILT_IN)
    with (
        step("init.lua, Neovim, the file, and typing until there is grey text"),
        neovim_driver.opened(setup, home, home / "project", cache) as editor,
    ):
        editor.suggestion()


WALKS: dict[str, Callable[[Path, Path], None]] = {"emacs": walk_emacs, "neovim": walk_neovim}


def main() -> None:
    """Walk for one editor, or for one after the other."""
    parser = argparse.ArgumentParser(description="Time the way from nothing to grey text.")
    parser.add_argument("editor", nargs="?", choices=WALKS)
    asked = parser.parse_args().editor
    for name in [asked] if asked else WALKS:
        with tempfile.TemporaryDirectory(prefix="from-nothing-") as folder:
            print(name)
            with step("in all"):
                home = Path(folder).resolve()
                WALKS[name](home, install(home))


if __name__ == "__main__":
    main()
