"""Rooms are the folders and single files of a package: which of them may import which."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.test_house import ALLOWED, HOUSE, imported_modules, modules


def room_of(module: str) -> str:
    """The folder, or the single file, that lies directly in the package."""
    return f"{module}.__init__".split(".")[1]


def arrows_of(package: str) -> dict[str, set[str]]:
    """For each room of a package, the others that it imports, in functions and for types, too."""
    arrows: dict[str, set[str]] = {}
    for module in modules():
        if module.split(".")[0] == package:
            inner = {room_of(other) for other in imported_modules(module) if other.split(".")[0] == package}
            arrows.setdefault(room_of(module), set()).update(inner - {room_of(module)})
    return arrows


@pytest.mark.parametrize("package", ALLOWED)
def test_no_rooms_import_each_other_in_a_circle(package: str) -> None:
    arrows = arrows_of(package)
    assert any(arrows.values())
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("package", ["indexer", "export"])
def test_imports_between_rooms_go_down_the_list_of_the_readme(package: str) -> None:
    readme = (HOUSE / package / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| room | what it does |\n| --- | --- |\n")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)(?:\.py|/)?`", row.split("|")[1]) for row in table.splitlines()]
    height = {room: row for row, rooms in enumerate(rows) for room in rooms}
    arrows = arrows_of(package)
    assert arrows.keys() - {"__init__"} == height.keys() - {"__init__"}
    height.setdefault("__init__", len(height))  # of a package without names of its own
    assert not [(room, other) for room in arrows for other in arrows[room] if height[other] < height[room]]


def test_the_server_imports_no_command() -> None:
    serving = [name for name in modules() if re.match(r"lsp_server\b(?!\.cli\b)", name)]
    assert serving
    assert not [name for name in serving if any(one.startswith("lsp_server.cli") for one in imported_modules(name))]
