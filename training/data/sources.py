"""From packages to source files: fetched by the registries' own clients, unpacked, and filtered."""

from __future__ import annotations

import argparse
import io
import posixpath
import re
import subprocess
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from indexer.files.walk import walk
from indexer.rules.exclusion import Rules
from syntax import language_of
from syntax.children import python_command
from syntax.parsing.grammars import parser_for
from training.data.filters import PERMISSIVE, Duplicates, cleaned

_PINS = {"pypi": "==", "npm": "@", "debian": "="}
_LARGEST = 200_000  # bytes of a file; larger ones are mostly data
_DEBIAN_SOURCES = re.compile("/gocode/src/|/cargo/registry/")  # the rest of a package is documentation
_SKIPPED = frozenset(
    {"_vendor", "vendor", "vendored", "third_party", "node_modules", "dist", "build", "locale", "deps"}
)
_STANDARD_LIBRARY_SKIPPED = frozenset(
    {"site-packages", "test", "tests", "idlelib", "lib2to3", "encodings", "pydoc_data"}
)


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of `packages.toml`."""

    registry: Literal["python", "pypi", "npm", "debian"]
    name: str
    version: str
    licence: str
    """An SPDX identifier."""
    held_out: bool = False
    only: str | None = None
    """The one folder that is taken."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that passed the filters."""

    package: str
    path: str
    """Within its package, with forward slashes."""
    language: str
    text: str
    held_out: bool


def packages() -> list[Package]:
    """Read the list. Raises ValueError where a licence is not a permissive one."""
    listed = tomllib.loads(Path(__file__).with_name("packages.toml").read_text(encoding="utf-8"))["package"]
    found = [Package(**entry) for entry in listed]
    for package in found:
        if package.licence not in PERMISSIVE:
            raise ValueError(
                f"{package.name} is under {package.licence}, which is not permissive; take it off the list"
            )
    return found


def fetch(package: Package, folder: Path) -> Path | None:
    """Download a package's archive into `folder` unless it lies there; None for the standard library.

    Raises CalledProcessError where pip, npm or apt fails.
    """
    if package.registry == "python":
        return None
    place = folder / f"{package.name.replace('/', '-').removeprefix('@')}-{package.version}"
    if not any(place.glob("*")):
        place.mkdir(parents=True, exist_ok=True)
        wanted = f"{package.name}{_PINS[package.registry]}{package.version}"
        commands = {
            "pypi": python_command("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", wanted),
            "npm": ["npm", "pack", "--silent", wanted],
            "debian": ["apt-get", "download", wanted],
        }
        subprocess.run(commands[package.registry], cwd=place, check=True, capture_output=True, text=True)
    return next(place.iterdir())


def source_files(folder: Path, wanted: list[Package]) -> Iterator[SourceFile]:
    """Fetch packages into `folder` and yield their files, held-out ones first: what repeats them is left out.

    A file is left out where it is generated, minified, not permissive, holds a secret, or was seen before.
    """
    duplicates = Duplicates()
    ordered = sorted(wanted, key=lambda package: not package.held_out)
    with ThreadPoolExecutor(2) as pool:
        archives = list(pool.map(lambda package: fetch(package, folder), ordered))
    for package, archive in zip(ordered, archives, strict=True):
        for path, data in sorted(_standard_library() if archive is None else _unpacked(archive)):
            language = language_of(path)
            if not _is_wanted(path, package) or parser_for(language) is None or len(data) > _LARGEST:
                continue
            text = cleaned(data)
            if text is not None and not duplicates.has(text):
                yield SourceFile(package.name, path, language, text, package.held_out)


def own_files(folder: Path) -> Iterator[SourceFile]:
    """The files of a workspace that its index would read; every fiftieth is held out. Licences are yours to know."""
    duplicates, count = Duplicates(), 0
    for found in walk(Rules(folder)):
        language = language_of(found.path)
        if parser_for(language) is None or found.size > _LARGEST:
            continue
        text = cleaned((folder / found.path).read_bytes(), any_licence=True)
        if text is not None and not duplicates.has(text):
            count += 1
            yield SourceFile(folder.name, found.path, language, text, held_out=count % 50 == 0)


def add_code(parser: argparse.ArgumentParser) -> None:
    """Let a command line say which code `code_of` reads."""
    code = parser.add_mutually_exclusive_group(required=True)
    code.add_argument("--sources", type=Path, help="where the packages of packages.toml are downloaded to")
    code.add_argument("--workspace", type=Path, help="your own code base instead; 1 of 50 files is held out")


def code_of(arguments: argparse.Namespace, *, held_out: bool | None = None) -> list[SourceFile]:
    """All files of the code that the command line names, or only those that are `held_out`, or only the others."""
    if arguments.workspace is not None:
        return [file for file in own_files(arguments.workspace) if held_out in (None, file.held_out)]
    wanted = [package for package in packages() if held_out in (None, package.held_out)]
    return list(source_files(arguments.sources, wanted))


def _is_wanted(path: str, package: Package) -> bool:
    parts = PurePosixPath(path).parts
    if package.only is not None and parts[0] != package.only:
        return False
    return not _SKIPPED.intersection(parts[:-1]) and not path.endswith((".d.ts", ".d.mts", ".d.cts", ".min.js"))


def _standard_library() -> Iterator[tuple[str, bytes]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in root.rglob("*.py"):
        inner = path.relative_to(root)
        if not _STANDARD_LIBRARY_SKIPPED.intersection(inner.parts):
            yield inner.as_posix(), path.read_bytes()


def _unpacked(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                yield name, wheel.read(name)
    elif archive.suffix == ".deb":
        files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], check=True, capture_output=True).stdout
        unpacked = list(_in_tar(io.BytesIO(files)))
        sources = [one for one in unpacked if _DEBIAN_SOURCES.search(one[0]) and parser_for(language_of(one[0]))]
        root = posixpath.commonpath([posixpath.dirname(name) for name, _ in sources])  # of the module or the crate
        for name, data in sources:
            yield posixpath.relpath(name, root), data
    else:
        with archive.open("rb") as file:
            for name, data in _in_tar(file):
                yield name.partition("/")[2], data  # npm puts all under `package/`


def _in_tar(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file) as ball:
        for member in ball:
            data = ball.extractfile(member) if member.isfile() else None
            if data is not None:
                yield member.name, data.read()
