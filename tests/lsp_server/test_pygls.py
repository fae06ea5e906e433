"""The private parts of pygls that the server uses: named here, there, and no other minor version is installed."""

from __future__ import annotations

import ast
import inspect
import textwrap
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from lsprotocol import types
from packaging.requirements import Requirement
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter
from pygls.workspace import TextDocument, Workspace

HOUSE = Path(__file__).parents[2]
PROTOCOL = {
    "_execute_handler",
    "_request_futures",
    "_result_types",
    "_run_generator",
    "_send_data",
    "_shutdown",
    "_workspace",
}
WORKSPACE = {"_create_text_document", "_folders", "_position_codec", "_sync_kind", "_text_documents"}
DOCUMENT = {"_source"}


def private_names_of_a_base(file: str, class_name: str) -> set[str]:
    """The private attributes that a class reads, sets or overrides and that its base class has."""
    tree = ast.parse((HOUSE / file).read_text(encoding="utf-8"))
    [found] = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == class_name]
    used = {node.attr for node in ast.walk(found) if isinstance(node, ast.Attribute)}
    used |= {node.name for node in ast.walk(found) if isinstance(node, ast.FunctionDef)}
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    return {name for name in private if name in names_of_the_base(class_name)}


def names_of_the_base(class_name: str) -> set[str]:
    bases = {
        "Protocol": LanguageServerProtocol(LanguageServer("test", "1"), default_converter()),
        "Documents": Workspace(None),
        "Document": TextDocument("file:///a.py", ""),
    }
    return {name for name in dir(bases[class_name]) if name.startswith("_")}


@pytest.mark.parametrize(
    ("file", "class_name", "names"),
    [
        ("lsp_server/wire/protocol.py", "Protocol", PROTOCOL),
        ("lsp_server/documents.py", "Documents", WORKSPACE),
        ("lsp_server/documents.py", "Document", DOCUMENT),
    ],
)
def test_private_names_are_those_of_the_list(file: str, class_name: str, names: set[str]) -> None:
    assert names <= names_of_the_base(class_name)
    assert private_names_of_a_base(file, class_name) == names


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (LanguageServerProtocol._execute_handler, ["self", "msg_id", "handler", "callback", "args", "kwargs"]),
        (LanguageServerProtocol._run_generator, ["self", "future", "gen", "result_future"]),
        (LanguageServerProtocol._send_data, ["self", "data"]),
        (Workspace._create_text_document, ["self", "doc_uri", "source", "version", "language_id"]),
    ],
)
def test_private_methods_take_what_they_are_given(function: object, parameters: list[str]) -> None:
    assert callable(function)
    assert list(inspect.signature(function).parameters) == parameters


def test_handlers_are_called_with_their_arguments_by_name() -> None:
    """`Protocol._execute_handler` finds them there for a handler that is marked `at_arrival`."""
    for name in ("_handle_request", "_handle_notification"):
        tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(LanguageServerProtocol, name))))
        [call] = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "_execute_handler"
        ]
        assert "args" in {keyword.arg for keyword in call.keywords}


def test_a_handler_that_gets_the_server_is_found_inside_of_what_pygls_makes_of_it() -> None:
    server = LanguageServer("test", "1")

    def handler(ls: LanguageServer, params: object) -> None:
        return None

    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION)(handler)
    assert server.protocol.fm.features[types.TEXT_DOCUMENT_INLINE_COMPLETION].func is handler


def test_only_this_minor_version_is_installed_with_the_server() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [wanted] = [one for one in map(Requirement, project["dependencies"]) if one.name == "pygls"]
    major, minor, *_ = metadata.version("pygls").split(".")
    assert metadata.version("pygls") in wanted.specifier
    assert f"{major}.{int(minor) + 1}.0" not in wanted.specifier
