"""Real packages as workspaces, to measure the index on: pinned sources, fetched once by pip, npm and apt, and
kept in the cache folder.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.model_folders.locations import cache_folder
from syntax.children import python_command


@dataclass(frozen=True, slots=True)
class Package:
    """Where one package's sources come from."""

    name: str
    client: str
    """`pip` for a source distribution, `npm` and `apt` for a package that ships its sources."""
    pin: str
    language: str
    root: str = "."
    """The workspace folder, within what is fetched."""


PACKAGES = (
    Package("rich", "pip", "rich==13.9.4", "Python"),
    Package("werkzeug", "pip", "werkzeug==3.1.3", "Python"),
    Package("scrapy", "pip", "scrapy==2.12.0", "Python"),
    Package("celery", "pip", "celery==5.4.0", "Python"),
    Package("sphinx", "pip", "sphinx==8.1.3", "Python"),
    Package("rxjs", "npm", "rxjs@7.8.1", "TypeScript", "src"),
    Package("redux-toolkit", "npm", "@reduxjs/toolkit@2.5.0", "TypeScript", "src"),
    Package("gin", "apt", "golang-github-gin-gonic-gin-dev", "Go", "usr/share/gocode/src/github.com/gin-gonic/gin"),
    Package("capacitor", "npm", "@capacitor/android@6.2.0", "Java", "capacitor/src/main/java"),
    Package("hyper", "apt", "librust-hyper-dev", "Rust", "usr/share/cargo/registry/hyper-0.14.19"),
)


def sources_of(package: Package) -> Path:
    """The folder with a package's sources; fetched the first time. Raises CalledProcessError where that fails."""
    folder = cache_folder() / "evaluation" / package.name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            unpacked = Path(temporary) / "unpacked"
            _unpack(_fetch(package, Path(temporary)), unpacked)
            if package.client != "apt":
                (unpacked,) = unpacked.iterdir()  # the archive's one folder
            shutil.move(unpacked / package.root, folder)
    return folder


def _fetch(package: Package, folder: Path) -> Path:
    pip = python_command("pip", "download", "--no-deps")
    commands = {
        "pip": [*pip, "--no-binary", package.pin.partition("==")[0], "-d", ".", package.pin],
        "npm": ["npm", "pack", "--silent", package.pin],
        "apt": ["apt-get", "download", package.pin],
    }
    subprocess.run(commands[package.client], cwd=folder, check=True, capture_output=True)
    return next(file for file in folder.iterdir() if file.suffix in (".gz", ".tgz", ".deb"))


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
        return
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
