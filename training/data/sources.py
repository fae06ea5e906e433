"""From packages to source files: fetched by the registries' own clients, unpacked, and filtered."""

from __future__ import annotations

import argparse
import io
import posixpath
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from export.real_code import standard_library_paths
from indexer.files.walk import walk
from indexer.rules.exclusion import Rules
from syntax import language_of
from syntax.children import python_command
from syntax.parsing.grammars import parser_for
from training.data.filters import PERMISSIVE, Duplicates, LeftOut, cleaned

_PINS = {"pypi": "==", "npm": "@", "debian": "="}
_LARGEST = 200_000  # bytes of a file; larger ones are mostly data
_DEBIAN_SOURCES = re.compile(  # the rest of a package is documentation
    r"/gocode/src/|/cargo/registry/|/usr/src/|/usr/include/|/usr/share/go-[\d.]+/src/|/usr/lib/llvm-\d+/include/"
)
_FETCHED_AT_ONCE = 4
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, subprocess.CalledProcessError)
_SKIPPED = frozenset(
    {"_vendor", "vendor", "vendored", "third_party", "node_modules", "dist", "build", "locale", "deps"}
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
    only: tuple[str, ...] = ()
    """The folders that are taken; all if there is none."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that passed the filters."""

    package: str
    path: str
    """Within its package, with forward slashes."""
    language: str
    text: str
    held_out: bool


class FetchError(Exception):
    """A registry does not give a package; the text names it and what its client said."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is left out of the code, and why."""

    say: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr))
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Files by package and reason."""


def packages(*, more: bool = False) -> list[Package]:
    """Read the list, or both lists. Raises ValueError where a licence is not a permissive one."""
    names = ["packages.toml", "more_packages.toml"] if more else ["packages.toml"]
    lists = [tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in names]
    listed = [entry for one in lists for entry in one["package"]]
    found = [Package(**{**entry, "only": _names(entry.get("only", ()))}) for entry in listed]
    for package in found:
        if package.licence not in PERMISSIVE:
            raise ValueError(
                f"{package.name} is under {package.licence}, which is not permissive; take it off the list"
            )
    return found


def _names(told: str | list[str]) -> tuple[str, ...]:
    return (told,) if isinstance(told, str) else tuple(told)


def fetch(package: Package, folder: Path) -> Path | None:
    """Download a package's archive into `folder` unless it lies there; None for the standard library.

    Raises FetchError.
    """
    if package.registry == "python":
        return None
    place = folder / f"{package.name.replace('/', '-').removeprefix('@')}-{package.version}"
    if not any(place.glob("*")):
        wanted = f"{package.name}{_PINS[package.registry]}{package.version}"
        commands = {
            "pypi": python_command("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", wanted),
            "npm": ["npm", "pack", "--silent", wanted],
            "debian": ["apt-get", "download", wanted],
        }
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as new:  # whole or not at all
            command = commands[package.registry]
            done = subprocess.run(command, cwd=new, check=False, capture_output=True, text=True)
            if done.returncode:
                raise FetchError(
                    f"{wanted} could not be fetched: {(done.stderr.strip() or 'no reason').splitlines()[-1]}"
                )
            place.mkdir(exist_ok=True)
            for archive in Path(new).iterdir():
                archive.replace(place / archive.name)
    return next(place.iterdir())


def files_by_package(folder: Path, wanted: list[Package], report: Report) -> Iterator[list[SourceFile]]:
    """Fetch packages into `folder` and yield each one's files, held-out ones first: what repeats them is left out.

    A file is left out where it is generated, minified, not permissive, holds a secret, or was seen before.
    """
    duplicates = Duplicates()
    # in no order of theirs, so that the first of them are of all languages
    ordered = sorted(wanted, key=lambda package: (not package.held_out, zlib.crc32(package.name.encode())))
    with ThreadPoolExecutor(_FETCHED_AT_ONCE) as pool:
        fetched = [pool.submit(fetch, package, folder) for package in ordered]
        for package, archive in zip(ordered, fetched, strict=True):
            try:
                content = _standard_library() if (path := archive.result()) is None else _unpacked(path)
                yield list(_files_of(package, sorted(content), duplicates, report))
            except FetchError as error:
                report.say(f"{error}; it is left out")
                report.left_out[package.name, "not fetched"] += 1
            except _DAMAGED as error:
                report.say(f"{package.name} {package.version} cannot be unpacked ({error}); it is left out")
                report.left_out[package.name, "not unpacked"] += 1


def _files_of(
    package: Package, content: Iterable[tuple[str, bytes]], duplicates: Duplicates, report: Report
) -> Iterator[SourceFile]:
    for path, data in content:
        language = language_of(path)
        if parser_for(language) is None:
            continue
        try:
            if not _is_wanted(path, package):
                raise LeftOut("another folder")
            if len(data) > _LARGEST:
                raise LeftOut("too large")
            text = cleaned(data, language)
            if duplicates.has(text):
                raise LeftOut("seen before")
        except LeftOut as reason:
            report.left_out[package.name, str(reason)] += 1
            continue
        yield SourceFile(package.name, path, language, text, package.held_out)


def own_files(folder: Path, report: Report) -> Iterator[SourceFile]:
    """The files of a workspace that its index would read; every fiftieth is held out. Licences are yours to know."""
    duplicates, count = Duplicates(), 0
    for found in walk(Rules(folder)):
        language = language_of(found.path)
        if parser_for(language) is None or found.size > _LARGEST:
            continue
        try:
            text = cleaned((folder / found.path).read_bytes(), language, any_licence=True)
            if duplicates.has(text):
                raise LeftOut("seen before")
        except LeftOut as reason:
            report.left_out[folder.name, str(reason)] += 1
            continue
        count += 1
        yield SourceFile(folder.name, found.path, language, text, held_out=count % 50 == 0)


def add_code(parser: argparse.ArgumentParser) -> None:
    """Let a command line say which code `code_of` reads."""
    code = parser.add_mutually_exclusive_group(required=True)
    code.add_argument("--sources", type=Path, help="where the packages of packages.toml are downloaded to")
    code.add_argument("--workspace", type=Path, help="your own code base instead; 1 of 50 files is held out")


def groups_of(
    arguments: argparse.Namespace, *, held_out: bool | None = None, more: bool = False, report: Report | None = None
) -> Iterator[list[SourceFile]]:
    """The code that the command line names, package by package: all, only what is `held_out`, or only the rest.

    With `more`, the packages of both lists.
    """
    report = report or Report()
    if arguments.workspace is not None:
        yield [file for file in own_files(arguments.workspace, report) if held_out in (None, file.held_out)]
        return
    wanted = [package for package in packages(more=more) if held_out in (None, package.held_out)]
    yield from files_by_package(arguments.sources, wanted, report)


def code_of(arguments: argparse.Namespace, *, held_out: bool | None = None) -> list[SourceFile]:
    """What `groups_of` yields, as one list."""
    return [file for group in groups_of(arguments, held_out=held_out) for file in group]


def _is_wanted(path: str, package: Package) -> bool:
    parts = PurePosixPath(path).parts
    if package.only and parts[0] not in package.only:
        return False
    return not _SKIPPED.intersection(parts[:-1]) and not path.endswith((".d.ts", ".d.mts", ".d.cts", ".min.js"))


def _standard_library() -> Iterator[tuple[str, bytes]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in standard_library_paths():
        yield path.relative_to(root).as_posix(), path.read_bytes()


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
