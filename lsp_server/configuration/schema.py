"""The settings as a JSON schema, and what is generated from it: the settings of each editor and the READMEs' tables.

    python -m lsp_server.configuration.schema           # exit code 1 if a file is stale
    python -m lsp_server.configuration.schema --write   # write the files

Names, types and defaults are those of `Settings`; a setting's description is the docstring below its field.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from lsp_server.configuration import settings
from lsp_server.configuration.in_editors import emacs_customs, neovim_help
from lsp_server.configuration.settings import SECTION, Settings

_REPOSITORY = Path(__file__).parents[2]
_PACKAGE = _REPOSITORY / "editors" / "vscode" / "package.json"
_CUSTOMS = _REPOSITORY / "editors" / "emacs" / "mellum-settings.el"
_HELP = _REPOSITORY / "editors" / "neovim" / "doc" / "mellum.txt"
_TABLES = (_REPOSITORY / "README.md", _REPOSITORY / "editors" / "vscode" / "README.md")
_BEGIN, _END = (
    "<!-- settings: made by `python -m lsp_server.configuration.schema --write` -->\n",
    "<!-- /settings -->\n",
)

_USER_ONLY = {"collectSamples", "completeIgnoredFiles", "statistics"}
"""Settings that a workspace must not set, besides free text, which can name programs, folders and addresses."""


def schema() -> dict[str, Any]:
    """Return a JSON schema of the object that a client sends under `mellum`.

    `scope` in a property is `user` where a workspace must not set it, else `workspace`.
    """
    descriptions = _docstrings()
    hints = get_type_hints(Settings)
    properties: dict[str, Any] = {}
    for field in fields(Settings):
        name = settings.json_name(field.name)
        kind = _type(hints[field.name])
        if (minimum := settings._AT_LEAST.get(field.name)) is not None:
            kind["minimum"] = minimum
        default = field.default if field.default_factory is MISSING else field.default_factory()
        is_free = "string" in kind["type"] and "enum" not in kind
        properties[name] = {
            "description": descriptions[field.name],
            **kind,
            "default": list(default) if isinstance(default, tuple) else default,
            "scope": "user" if is_free or name in _USER_ONLY else "workspace",
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Settings of mellum-lsp, under `{SECTION}`",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def stale_files() -> dict[Path, str]:
    """Return what generated files must hold, of those that hold something else."""
    properties = schema()["properties"]
    wanted = {
        _PACKAGE: _package(_PACKAGE.read_text(encoding="utf-8")),
        _CUSTOMS: emacs_customs(properties),
        _HELP: neovim_help(_HELP.read_text(encoding="utf-8"), properties),
    }
    for readme in _TABLES:
        wanted[readme] = _with_table(readme.read_text(encoding="utf-8"))
    return {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def _docstrings() -> dict[str, str]:
    """Return the string below each field of `Settings`, by the field's name."""
    tree = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def _type(hint: Any) -> dict[str, Any]:
    """Return the part of a schema that says which values a type hint allows."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        [inner] = [_type(part) for part in parts if part is not types.NoneType]
        inner["type"] = [inner["type"], "null"]
        if "enum" in inner:
            inner["enum"] = [*inner["enum"], None]
        return inner
    if origin is Literal:
        return {"type": "string", "enum": list(parts)}
    if origin is tuple:
        return {"type": "array", "items": _type(parts[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(parts[1])}
    if (base := getattr(hint, "__supertype__", None)) is not None:  # a NewType, such as minutes
        return {"type": "number" if base is float else _type(base)["type"]}
    return {"type": {bool: "boolean", int: "integer", str: "string"}[hint]}


def _package(text: str) -> str:
    """Return the extension's manifest with the server's settings after the extension's own."""
    package = json.loads(text)
    own = package["contributes"]["configuration"]["properties"]
    ours = {name: value for name, value in own.items() if name.startswith(f"{SECTION}.server.")}
    scopes = {"user": "machine", "workspace": "machine-overridable"}
    for name, value in schema()["properties"].items():
        ours[f"{SECTION}.{name}"] = {**value, "scope": scopes[value["scope"]]}
    package["contributes"]["configuration"]["properties"] = ours
    return json.dumps(package, indent=2, ensure_ascii=False) + "\n"


def _with_table(text: str) -> str:
    """Return a README with the table of settings between its two comments."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"A README has no place for the settings: write {_BEGIN!r} and {_END!r} into it.")
    rows = ["| key | default | |", "| --- | --- | --- |"]
    for name, value in schema()["properties"].items():
        default = json.dumps(value["default"])
        rows.append(f"| `{name}` | `{default}` | {_cell(value)} |")
    return before + begin + "\n".join(rows) + "\n" + end + after


def _cell(value: dict[str, Any]) -> str:
    choices = value.get("enum") or value.get("items", {}).get("enum") or []
    listed = ", ".join(f"`{choice}`" for choice in choices if choice is not None)
    description: str = value["description"]
    return description.replace("|", "\\|") + (f" One of {listed}." if listed else "")


def main() -> int:
    """Write stale files, or only name them; returns the exit code."""
    stale = stale_files()
    for path, text in stale.items():
        print(f"{path.relative_to(_REPOSITORY)} {'is written' if '--write' in sys.argv else 'is stale'}")
        if "--write" in sys.argv:
            path.write_text(text, encoding="utf-8", newline="\n")
    return 1 if stale and "--write" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
