"""Real functions to type: from three public packages, fetched once with pip, pinned by hash, never trained on.

They are mistune (a Markdown parser, BSD), tinydb (a document database, MIT) and h11 (an HTTP protocol, MIT): small,
written by hand, by different people, and none of them is in the list that the default model is tuned on. What the
published weights under it have read before is not known.
"""

from __future__ import annotations

import ast
import random
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluation.harness.packages import fetched

# Requirement and sha256 of the wheel.
PACKAGES = {
    "mistune==3.1.3": "1a32314113cff28aa6432e99e522677c8587fd83e3d51c29b82a52409c842bd9",
    "tinydb==4.8.2": "f97030ee5cbc91eeadd1d7af07ab0e48ceb04aa63d4a983adbaca4cba16e86c3",
    "h11==0.16.0": "63cf8bbe7522de3bf65932fda1d9c2772064ffb3dae62d55932da54b31cb6c86",
}
_SHORTEST, _LONGEST = 200, 600  # code points
_MOST_DOCUMENTATION = 1 / 3  # of a function's text
_SEED = 20


@dataclass(frozen=True, slots=True)
class Function:
    """A function in its file."""

    package: str
    path: str
    """Inside the package, with forward slashes."""
    name: str
    before: str
    """The file up to the function, with the indentation of its first line."""
    text: str
    """From `def` to the end of its last line, without the newline."""
    after: str
    """The rest of the file."""


def functions(count: int) -> list[Function]:
    """Choose `count` functions of each package, the same ones each time; packages take turns."""
    chosen = []
    for package, digest in PACKAGES.items():
        found = list(_all_functions(package, fetched(package, digest)))
        chosen.append(random.Random(_SEED).sample(found, count))
    return [function for turn in zip(*chosen, strict=True) for function in turn]


def unpacked(function: Function, root: Path) -> Path:
    """Unpack a function's package as the project `root`, without the module that it is in; nothing if it has none."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    if not function.package:
        return root
    with zipfile.ZipFile(fetched(function.package, PACKAGES[function.package])) as archive:
        modules = (name for name in archive.namelist() if name.endswith(".py") and name != function.path)
        archive.extractall(root, modules)
    return root


def functions_of(source: str, package: str = "", path: str = "") -> Iterator[Function]:
    """Find the functions of a source file that are worth typing: neither tiny nor long, and mostly code."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.end_lineno is None:
            continue
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + (node.end_col_offset or 0)
        text = source[start:end]
        documentation = ast.get_docstring(node, clean=False) or ""
        if _SHORTEST <= len(text) <= _LONGEST and len(documentation) <= len(text) * _MOST_DOCUMENTATION:
            yield Function(package, path, node.name, source[:start], text, source[end:])


def _all_functions(package: str, wheel: Path) -> Iterator[Function]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            source = archive.read(name).decode() if name.endswith(".py") and "/tests/" not in name else ""
            if source.isascii() and "\r" not in source and "\t" not in source:  # so that a character is one UTF-16 unit
                yield from functions_of(source, package, name)
