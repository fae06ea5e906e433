"""The rooms of the server: none imports itself by way of others, and only the commands need the export."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

HOUSE = Path(__file__).parents[2]
SERVER = HOUSE / "lsp_server"
FILES = sorted(SERVER.rglob("*.py"))
COMMANDS = SERVER / "cli" / "commands"


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def imports_of(file: Path) -> set[str]:
    """The full names of all modules that a file imports: inside functions and for types, too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inner & MODULES.keys()) or {node.module}
    return names


def room_of(module: str) -> str:
    """The folder, or the single file, that lies directly in the package."""
    return ".".join(module.split(".")[:2])


def test_no_room_imports_itself_by_way_of_others() -> None:
    arrows: dict[str, set[str]] = {}
    for module, file in MODULES.items():
        arrows.setdefault(room_of(module), set()).update(
            room_of(other) for other in imports_of(file) & MODULES.keys() if room_of(other) != room_of(module)
        )
    assert any(arrows.values())
    TopologicalSorter(arrows).prepare()  # raises CycleError, which names the circle


def test_only_commands_import_the_export() -> None:
    importing = {file for file in FILES if any(name.partition(".")[0] == "export" for name in imports_of(file))}
    assert importing
    assert {file.parent for file in importing} == {COMMANDS}


def test_the_server_imports_no_command() -> None:
    command_line = SERVER / "cli"
    serving = [file for file in FILES if not file.is_relative_to(command_line)]
    assert not [file for file in serving if any(name.startswith("lsp_server.cli") for name in imports_of(file))]
