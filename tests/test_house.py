"""What holds for the whole tree: directions of imports, sizes, words, names in prose, format, lint and types."""

from __future__ import annotations

import ast
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from engine.model_folders.locations import CACHE_VARIABLE

HOUSE = Path(__file__).parent.parent
ALLOWED = {
    "syntax": set(),
    "engine": {"syntax"},
    "indexer": {"syntax"},
    "export": {"engine", "syntax"},
    "lsp_server": {"engine", "indexer", "export", "syntax"},
    "training": {"engine", "indexer", "export", "syntax"},
    "evaluation": {"engine", "indexer", "export", "syntax", "lsp_server", "training"},
}
INSTALLED = ("syntax", "engine", "indexer", "export", "lsp_server")
MOST_LINES = 400
MOST_FILES = 10
WORDS = ("nobody", "somebody", "whoever")
"""Plain English names who is meant."""

OPEN: set[tuple[str, str]] = set()
"""Promises that a package does not keep yet, by test and package."""


def promised(test: str, *packages: str) -> list[object]:
    """Parameters of a test, of which those that are open may fail."""
    return [
        pytest.param(package, marks=pytest.mark.xfail(reason="open", strict=False) if (test, package) in OPEN else ())
        for package in packages
    ]


def imported_packages(file: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    forbidden = (set(ALLOWED) | {"tests"}) - ALLOWED[package] - {package}
    files = sorted((HOUSE / package).rglob("*.py"))
    assert files
    assert not {str(file.relative_to(HOUSE)): found for file in files if (found := imported_packages(file) & forbidden)}


@cache
def modules() -> dict[str, Path]:
    """All modules of the packages by their full names."""
    files = [file for package in ALLOWED for file in (HOUSE / package).rglob("*.py")]
    parts = {file: file.relative_to(HOUSE).with_suffix("").parts for file in files}
    return {".".join(names[:-1] if names[-1] == "__init__" else names): file for file, names in parts.items()}


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Modules of the house that a module imports: at its top, in functions, and for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively in line {node.lineno}"
            inner = [(f"{node.module}.{alias.name}", str(node.module)) for alias in node.names]
            found |= {name if name in modules() else parent for name, parent in inner}
    return frozenset(found & modules().keys()) - {module}


@pytest.mark.parametrize("package", promised("circles", *ALLOWED))
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    inside = [module for module in modules() if module.split(".")[0] == package]
    try:
        TopologicalSorter({module: imported_modules(module) for module in inside}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


DOORS: dict[str, set[str]] = {
    "syntax": {
        "children",
        "common_start",
        "languages",
        "parsing.alarm",
        "parsing.grammar_process",
        "parsing.grammars",
        "parsing.identifiers",
        "sentences",
        "tracebacks",
    },
    "engine": {
        "devices.cuda",
        "devices.integer_sums",
        "devices.plugins",
        "devices.providers",
        "fitting",
        "model_folders.leftovers",
        "model_folders.locations",
        "model_folders.manifest",
        "model_folders.whole_file",
        "remote.address",
        "remote.engine",
        "remote.pair",
        "remote.trial",
        "runtime.benchmark",
        "runtime.memory",
        "runtime.session",
        "runtime.thread_count",
    },
    "indexer": set(),
    "export": {
        "architecture",
        "default_model",
        "folder.atomic_folder",
        "graph.decoder",
        "known_models",
        "make",
        "real_code",
        "sources",
        "sources.adapter",
        "verify",
        "via_optimum",
    },
    "lsp_server": set(),
}
"""What the installed packages import of each other: faces (`__init__`), and these inner modules.

Training and evaluation look inside: they teach and measure the parts."""


@pytest.mark.parametrize("package", INSTALLED)
def test_others_import_the_face_of_a_package_and_the_doors_that_are_named(package: str) -> None:
    others = [module for module in modules() if module.split(".")[0] in {*INSTALLED} - {package}]
    imported = {name for module in others for name in imported_modules(module) if name.split(".")[0] == package}
    inner = {name.removeprefix(f"{package}.") for name in imported - {package}}
    assert sorted(inner) == sorted(DOORS[package]), "import the face, or change the table"


def test_only_commands_export() -> None:
    exporting = [name for name in modules() if any(one.startswith("export") for one in imported_modules(name))]
    serving = [name for name in exporting if name.startswith("lsp_server.")]
    assert serving
    assert not [name for name in serving if not name.startswith("lsp_server.cli.commands.")]


@pytest.mark.parametrize("package", promised("lengths", *ALLOWED))
def test_no_file_has_more_than_400_lines(package: str) -> None:
    lines = {
        str(file.relative_to(HOUSE)): len(file.read_text(encoding="utf-8").splitlines())
        for file in (HOUSE / package).rglob("*.py")
    }
    assert not {file: count for file, count in lines.items() if count > MOST_LINES}


@pytest.mark.parametrize("package", [package for package in ALLOWED if package != "evaluation"])
def test_no_folder_has_more_than_ten_files(package: str) -> None:
    files = Counter(str(file.parent.relative_to(HOUSE)) for file in (HOUSE / package).rglob("*.py"))
    assert not {folder: count for folder, count in files.items() if count > MOST_FILES}


def prose_of(file: Path) -> Iterator[str]:
    """The sentences of a file: all of Markdown; docstrings, comments and names of tests of Python."""
    source = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        yield source
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name.replace("_", " ")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def files_of(folder: str) -> list[Path]:
    """Python and Markdown that git tracks in a folder; `.` is the top alone."""
    wanted = ["*.md", ":!*/*"] if folder == "." else [f"{folder}/*.py", f"{folder}/*.md"]
    done = subprocess.run(["git", "ls-files", "--", *wanted], cwd=HOUSE, capture_output=True, text=True, check=True)
    files = [HOUSE / name for name in done.stdout.splitlines()]
    assert files
    return [file for file in files if file.is_file()]


FOLDERS = (*ALLOWED, "tests", "editors", "docs", ".")


@pytest.mark.parametrize("folder", promised("words", *FOLDERS))
def test_plain_words(folder: str) -> None:
    words = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
    found = [
        f"{file.relative_to(HOUSE)}: {text}"
        for file in files_of(folder)
        for text in prose_of(file)
        if words.search(text)
    ]
    assert not found


ELSEWHERE = {"tests/.cache", "docs/gguf.md"}  # git ignores it; ggml's


def missing(text: str, folder: Path) -> Iterator[str]:
    """Modules, paths, links and tests that a text in a folder names and that are not there."""
    packages = "|".join(ALLOWED)
    for name in re.findall(rf"(?<![\w./-])(?:{packages})(?:\.\w+)+(?![\w/])", text):
        module = name
        while module not in modules():
            module = module.rpartition(".")[0]
        inside = name.removeprefix(module).lstrip(".").partition(".")[0]
        if inside and not re.search(rf"\b{inside}\b", modules()[module].read_text(encoding="utf-8")):
            yield name
    for path in re.findall(rf"(?<![\w./-])(?:{packages}|tests|editors|docs)(?:/[\w.-]*\w)+", text):
        if path not in ELSEWHERE and not (HOUSE / path).exists():
            yield path
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link and not (folder / link).exists():
            yield link
    for test in re.findall(r"`(test_\w+)`", text):
        if not any(re.search(rf"\bdef {test}\b", source) for source in sources_of_tests()):
            yield test


@cache
def sources_of_tests() -> tuple[str, ...]:
    return tuple(file.read_text(encoding="utf-8") for file in files_of("tests"))


@pytest.mark.parametrize("folder", promised("names", *FOLDERS))
def test_what_prose_names_is_there(folder: str) -> None:
    assert not {
        f"{file.relative_to(HOUSE)}: {name}"
        for file in files_of(folder)
        for text in prose_of(file)
        for name in missing(text, file.parent)
    }


TWICE = {
    # importing the engine takes most of a second: settings and the command line name its types again
    "lsp_server.configuration.settings.Settings.provider": ("engine.devices.providers.Provider", set()),
    "lsp_server.configuration.settings.Settings.disabled_in": ("engine.ending.region.Region", {"code"}),
    "lsp_server.configuration.settings.Settings.log_level": ("lsp_server.wire.logs._LEVELS", set()),
    "lsp_server.cli.commands.models.making.Format": ("export.graph.decoder.Format", {"auto"}),
    "lsp_server.cli.commands.models.making.Target": ("export.graph.decoder.Target", {"auto"}),
    "lsp_server.cli.commands.models.making.Style": ("export.prompt_style.StyleChoice", set()),
}
"""Types that are listed twice: where again, where first, and the values by which they may differ."""


def values_of(name: str) -> set[str]:
    """The values of a Literal, of a field's type, or the keys of a dictionary."""
    module, _, attribute = name.rpartition(".")
    if module in modules():
        found = getattr(importlib.import_module(module), attribute)
    else:
        module, _, owner = module.rpartition(".")
        found = get_type_hints(getattr(importlib.import_module(module), owner))[attribute]
    pending, values = [*found] if isinstance(found, dict) else [found], set[str]()
    while pending:
        one = pending.pop()
        values |= {one} if isinstance(one, str) else set()
        pending += get_args(one)
    assert values
    return values


@pytest.mark.parametrize("again", TWICE)
def test_a_type_that_is_listed_twice_has_the_same_values(again: str) -> None:
    first, differ = TWICE[again]
    assert values_of(again) ^ values_of(first) == differ


def test_nothing_that_serves_imports_torch_or_transformers() -> None:
    # export/reference.py compares with them, where the extra `export` is installed; only tests and --verify import it
    reference = HOUSE / "export" / "reference.py"
    files = [file for package in INSTALLED for file in (HOUSE / package).rglob("*.py") if file != reference]
    assert not [file for file in files if imported_packages(file) & {"torch", "transformers", "optimum"}]


STARTED = ("evaluation", "indexer", "lsp_server", "syntax", "training")
"""Packages that `python -m` starts. Each takes the current folder out of the import path before it imports anything."""


def test_the_guard_against_the_current_folder_is_the_same_in_every_package() -> None:
    begin, end = "# The current folder is not trusted", "if os.path.isabs(entry)]\n\n"
    sources = [f"{(HOUSE / package / '__init__.py').read_text(encoding='utf-8')}\n" for package in STARTED]
    guards = {source[source.index(begin) : source.rindex(end) + len(end)] for source in sources}
    assert len(guards) == 1


def test_only_processes_that_may_die_load_a_grammar() -> None:
    serving = [
        file for package in ("engine", "indexer", "lsp_server", "syntax") for file in (HOUSE / package).rglob("*.py")
    ]
    native = {str(file.relative_to(HOUSE)) for file in serving if "tree_sitter" in imported_packages(file)}
    assert native == {
        "indexer/parsing/outlines.py",
        "indexer/parsing/trees.py",
        "syntax/parsing/grammars.py",
        "syntax/parsing/identifiers.py",
    }
    loaded = (
        "import sys, lsp_server.completer, lsp_server.workspace.project_context, indexer.sync.sync_loop; "
        "print('tree_sitter' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.lint
@pytest.mark.parametrize("check", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_the_code_is(check: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *check], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_command_of_the_readme_suggests_what_really_stands_there(model_cache: Path) -> None:
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    written = re.search(r"mellum-lsp complete ((\S+):(\d+) --erase 1)$", readme, re.MULTILINE)
    assert written is not None
    command = [sys.executable, "-m", "lsp_server.cli", "complete", "--json", *written[1].split()]
    environment = {**os.environ, CACHE_VARIABLE: str(model_cache)}
    done = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=True)
    line = (HOUSE / written[2]).read_text(encoding="utf-8").splitlines()[int(written[3]) - 1]
    assert json.loads(done.stdout)["text"] == line.strip()
