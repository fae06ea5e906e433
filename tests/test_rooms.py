"""Inside of a package, imports go down the list of rooms in its README, and no two modules import each other."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
PACKAGES = ("indexer", "export")
LONGEST = 400  # lines of a file


def modules_of(package: str) -> dict[str, Path]:
    """Files by their modules' names."""
    files = sorted((HOUSE / package).rglob("*.py"))
    return {".".join(file.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports_of(package: str) -> dict[str, set[str]]:
    """For each module, the modules of its package that it imports, in functions and for types, too."""
    modules = modules_of(package)
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = (f"{node.module}.{alias.name}" for alias in node.names)
                found[name] |= {one if one in modules else node.module for one in inner}
        found[name] = {one for one in found[name] if one in modules and one != name}
    return found


def rooms_of(package: str) -> list[set[str]]:
    """The rows of the list in the README, the top first."""
    readme = (HOUSE / package / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| room | what it does |\n| --- | --- |\n")[2].partition("\n\n")[0]
    return [set(re.findall(r"`(\w+)(?:\.py|/)?`", row.split("|")[1])) for row in table.splitlines()]


def room_of(module: str) -> str:
    return f"{module}.__init__".split(".")[1]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_rooms_go_down_the_list(package: str) -> None:
    height = {room: row for row, rooms in enumerate(rooms_of(package)) for room in rooms}
    imports = imports_of(package)
    assert {room_of(module) for module in imports} - {"__init__"} == set(height) - {"__init__"}
    height.setdefault("__init__", len(height))  # of a package without names of its own
    upward = [
        (module, other)
        for module in imports
        for other in imports[module]
        if height[room_of(other)] < height[room_of(module)]
    ]
    assert not upward


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(package: str) -> None:
    try:
        TopologicalSorter(imports_of(package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_too_long_and_no_folder_too_full(package: str) -> None:
    files = modules_of(package).values()
    assert not [file for file in files if len(file.read_text(encoding="utf-8").splitlines()) > LONGEST]
    full = {file.parent for file in files if len([*file.parent.glob("*.py")]) > 10}
    assert not full
