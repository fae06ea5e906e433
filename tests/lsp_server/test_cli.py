"""The command line as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

from engine.model_folders.locations import CACHE_VARIABLE
from indexer import database_of
from lsp_server.cli.location import LocationError, erased, parse_location

SOURCE = Path(statistics.__file__)


def run(*arguments: str, cache: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "COLUMNS": "120", **environment, **({CACHE_VARIABLE: str(cache)} if cache else {})}
    command = [sys.executable, "-m", "lsp_server.cli", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, encoding="utf-8", check=False)


def line_of(text: str) -> int:
    """The number of the first line of the source that contains `text`."""
    return next(
        number for number, line in enumerate(SOURCE.read_text(encoding="utf-8").splitlines(), 1) if text in line
    )


@pytest.mark.parametrize("command", [(), ("serve",), ("complete",), ("context",), ("setup",), ("doctor",), ("index",)])
def test_help_teaches(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout.strip() == f"mellum-lsp {metadata.version('mellum-lsp')}"


def test_complete_shows_the_suggestion_in_its_place_and_the_time_of_every_step(model_cache: Path) -> None:
    line = line_of("def mean(data)")
    done = run("complete", f"{SOURCE}:{line}:9", cache=model_cache)
    assert done.returncode == 0, done.stderr
    for step in ("tokenize", "prefill", "decode", "trim", "total"):
        assert step in done.stdout
    assert f":{line}:9" in done.stdout
    assert "prompt tokens computed" in done.stdout


def test_complete_as_json_is_one_object(model_cache: Path) -> None:
    done = run("complete", "--json", "--erase", "1", f"{SOURCE}:{line_of('def mean(data)')}:6", cache=model_cache)
    answer = json.loads(done.stdout)
    assert answer["text"]
    assert answer["silence"] is None
    assert len(answer["tokens"]) == len(answer["log_probabilities"])
    assert answer["computed_tokens"] == answer["prompt_tokens"] > 50


def test_context_is_the_prompt_up_to_the_cursor(model_cache: Path) -> None:
    line = line_of("def mean(data)")
    prompt = json.loads(run("context", "--json", f"{SOURCE}:{line}", cache=model_cache).stdout)
    assert (prompt["text"].removesuffix("<fim_middle>") + prompt["last_word"]).endswith("def mean(data):")
    assert re.match(r"<filename>(\S*/)?statistics\.py\n", prompt["text"])
    assert 50 < prompt["prefix_tokens"] < len(prompt["tokens"])
    computed = prompt["computed"]
    assert computed["first"] == min(len(prompt["tokens"]), prompt["first_budget"])
    assert computed["idle"] in (0, len(prompt["tokens"]))
    assert 0 < computed["move"] < len(prompt["tokens"]) / 2


def test_an_open_file_that_matters_is_in_the_context(model_cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "shapes.py"
    other.write_text(
        "class Rectangle:\n    def __init__(self, width, height):\n        self.width = width\n"
        "        self.height = height\n\n    def area(self):\n        return self.width * self.height\n"
    )
    main = tmp_path / "main.py"
    main.write_text("from shapes import Rectangle\n\nrectangle = Rectangle(width=2, height=3)\nprint(rectangle.area(")
    prompt = json.loads(run("context", "--json", str(main), "--open", str(other), cache=model_cache).stdout)
    assert "<filename>shapes.py\nclass Rectangle" in prompt["text"]
    assert prompt["snippet_tokens"] > 20


def test_the_command_line_says_what_the_server_would_not_show(model_cache: Path, tmp_path: Path) -> None:
    project, outside = tmp_path / "project", tmp_path / "outside.py"
    (project / "deep").mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]\n")
    (project / ".aiignore").write_text("private*.py\n")
    (tmp_path / "link").symlink_to(project)
    main, private, public = (project / name for name in ("main.py", "deep/private.py", "public.py"))
    for file in (private, public, outside):
        file.write_text(f"class {file.stem.capitalize()}:\n    def area(self, width):\n        return width\n")
    main.write_text("from public import Public\n\nprint(Private, Public, Outside.area(")
    opened = [word for file in (private, public, outside) for word in ("--open", str(file))]
    for named in (main, tmp_path / "link" / "main.py", project / "deep" / ".." / "main.py"):
        done = run("context", "--json", str(named), *opened, cache=model_cache)
        prompt = json.loads(done.stdout)
        assert [one["path"] for one in prompt["snippets"]] == prompt["looked_up"] == ["public.py"]
        assert "class Private" not in prompt["text"]
        assert "private.py is not shown to the model: ignored by .aiignore, line 1: private*.py" in done.stderr
        assert "outside.py is not shown to the model: it lies outside" in done.stderr
    for command in ("complete", "context"):
        done = run(command, str(private), cache=model_cache)
        assert done.returncode == 1
        assert "ignored by .aiignore, line 1: private*.py" in done.stderr
        assert run(command, str(private), "--ignored", cache=model_cache).returncode == 0
    for named in (private, tmp_path / "link" / "deep" / "private.py"):
        done = run("index", "why", str(named), cache=tmp_path / "cache")
        assert done.returncode == 1
        assert "ignored by .aiignore, line 1: private*.py" in done.stdout
    assert run("index", "why", str(tmp_path / "link" / "public.py"), cache=tmp_path / "cache").returncode == 0
    for words in ([""], ["why", ""]):
        done = run("index", *words, cache=tmp_path / "cache")
        assert done.returncode == 2
        assert "a name is empty" in done.stderr
    for named in (project, tmp_path / "link", tmp_path, Path(tmp_path.anchor)):
        done = run("index", str(named), cache=tmp_path / "cache", HOME=str(project), USERPROFILE=str(project))
        assert done.returncode == 2
        assert "is never indexed" in re.sub(r"[\s│]+", " ", done.stderr)  # typer breaks lines, and draws a box


def test_an_index_that_an_editor_has_just_begun_is_named(tmp_path: Path) -> None:
    project, cache = tmp_path / "project", tmp_path / "cache"
    project.mkdir()
    database = database_of(project, cache)
    database.parent.mkdir(parents=True)
    with FileLock(f"{database}.lock"):
        done = run("index", str(project), cache=cache)
    assert done.returncode == 1
    assert f"{database} cannot be read" in done.stderr


def test_an_indexed_project_is_context_and_the_command_says_why(cache: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "package").mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]\n")
    (project / "package" / "shapes.py").write_text("class Rectangle:\n    def area_of(self, unit):\n        return 1\n")
    (project / "main.py").write_text("from package.shapes import Rectangle\n\nprint(Rectangle().")
    main = str(project / "main.py")
    assert "Run: mellum-lsp index" in run("context", main, cache=cache).stdout
    done = run("index", str(project), cache=cache)
    assert done.returncode == 0, done.stderr
    assert "3 files with 3 definitions" in done.stdout  # a class, its method, and a table of TOML
    prompt = json.loads(run("context", "--json", main, cache=cache).stdout)
    (snippet,) = prompt["snippets"]
    assert snippet["path"] == "package/shapes.py"
    assert "definition" in snippet["sources"]
    assert snippet["text"] in prompt["text"]
    assert prompt["snippet_tokens"] - 5 <= snippet["tokens"] <= prompt["snippet_tokens"] + 5
    assert prompt["looked_up"] == ["package/shapes.py"]
    shown = run("context", main, cache=cache).stdout
    assert re.search(r"^package/shapes\.py +definition", shown, re.MULTILINE)
    assert "nearest first, in package/shapes.py" in shown
    assert re.search(r"^Computed at \d+ tokens/s: \d+ before the first answer here", shown, re.MULTILINE)


def test_index_why_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.gen.py\n")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "a.gen.py").write_text("")
    (tmp_path / "a.py").write_text("x = 1\n")
    done = run("index", "why", str(tmp_path / "a.gen.py"))
    assert done.returncode == 1
    assert "is not indexed: ignored by .gitignore, line 1: *.gen.py." in done.stdout
    done = run("index", "why", str(tmp_path / "a.py"))
    assert done.returncode == 0
    assert f"is in the index of {tmp_path.resolve()}." in done.stdout
    lines = [f"line_{number} = {number}" for number in range(20)]
    (tmp_path / "a.py").write_text("\n".join(("key = 'AKIAIOSFODNN7EXAMPLE'", *lines)))
    done = run("index", "why", str(tmp_path / "a.py"))
    assert done.returncode == 0
    assert f"is in the index of {tmp_path.resolve()}, without line 1 (an AWS access key id)." in done.stdout
    assert "is not a folder" in run("index", str(tmp_path / "a.py")).stderr


def test_doctor_measures_and_finds_nothing_wrong(model_cache: Path) -> None:
    done = run("doctor", "--json", cache=model_cache)
    diagnosis = json.loads(done.stdout)
    assert done.returncode == 0
    assert diagnosis["problems"] == []
    assert "tokens/s" in diagnosis["facts"]["measured rate"]
    assert "the CPU" in diagnosis["facts"]["execution providers"]
    assert "the graph is written for the CPU" in diagnosis["facts"]["runs on"]
    assert "measured" in diagnosis["facts"]["threads"]
    assert diagnosis["facts"]["NVIDIA card"]
    assert done.stderr == ""


def test_doctor_says_why_a_provider_is_not_used(model_cache: Path) -> None:
    absent = "directml" if sys.platform != "win32" else "coreml"
    done = run("doctor", "--json", "--provider", absent, cache=model_cache)
    (problem,) = json.loads(done.stdout)["problems"]
    assert "does not work here (this build of ONNX Runtime does not have it), so the model runs on the CPU" in problem
    assert done.returncode == 1
    assert done.stderr == ""
    done = run("complete", f"{SOURCE}:{line_of('def mean(data)')}", "--provider", absent, cache=model_cache)
    assert done.returncode == 0
    assert done.stderr == f"{problem}\n"


def test_doctor_says_that_nothing_is_sent(tmp_path: Path) -> None:
    done = run("doctor", cache=tmp_path, ORT_DISABLE_TELEMETRY="0")
    assert re.search(r"network\s+nothing is sent; ONNX Runtime's telemetry is off", done.stdout)


def test_doctor_without_a_model_names_the_command(tmp_path: Path) -> None:
    done = run("doctor", cache=tmp_path)
    assert done.returncode == 1
    assert "mellum-lsp setup" in done.stdout


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("nowhere.py:1", "nowhere.py cannot be read"),
        (f"{SOURCE}:999999", "has no line 999999"),
        (f"{SOURCE}:1:9999", "has no column 9999"),
        (f"{SOURCE}:0", "count from 1"),
    ],
)
def test_a_wrong_place_is_one_sentence(written: str, sentence: str, model_cache: Path) -> None:
    done = run("complete", written, cache=model_cache)
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_an_unknown_model_is_one_sentence(model_cache: Path) -> None:
    done = run("complete", str(SOURCE), "--model", "gpt-9", cache=model_cache)
    assert done.returncode == 1
    assert "There is no model 'gpt-9'" in " ".join(done.stderr.split())


def test_code_that_is_there_can_be_taken_out_first(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_bytes(b"def add(a, b):\r\n    total = a + b\r\n    return total\r\n")

    def left(written: str, lines: int) -> tuple[str, str]:
        location = erased(parse_location(f"{file}:{written}"), lines)
        return location.cursor.text[: location.cursor.offset], location.cursor.text[location.cursor.offset :]

    head = "def add(a, b):\r\n    "
    assert left("2:13", 1) == (f"{head}total = ", "\r\n    return total\r\n")
    assert left("2", 1) == (head, "\r\n    return total\r\n")
    assert left("2", 2) == (head, "\r\n")
    assert left("2", 9) == (head, "")
    assert left("2", 10**15) == (head, "")
    assert left("2:13", 0) == (f"{head}total = ", "a + b\r\n    return total\r\n")


def test_places_count_from_one_and_default_to_ends(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes("é = 1\r\nbb = 2\r\n".encode())
    for written, offset, line, column in (
        (f"{file}", 15, 3, 1),
        (f"{file}:1", 5, 1, 6),
        (f"{file}:2:1", 7, 2, 1),
        (f"{file}:2:3", 9, 2, 3),
    ):
        location = parse_location(written)
        assert (location.cursor.offset, location.line, location.column) == (offset, line, column)
    with pytest.raises(LocationError, match="no column 8"):
        parse_location(f"{file}:1:8")


@pytest.mark.skipif(os.name == "nt", reason="no named pipes among files")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "a named pipe"),
        (lambda file: file.symlink_to("/dev/zero"), "a device"),
        (lambda file: file.symlink_to(file.name), "cannot be read"),
        (Path.mkdir, "a folder"),
        (lambda file: (file.touch(), os.truncate(file, 100_000_001)), "more than 100 MB"),
    ],
)
def test_what_is_no_file_is_one_sentence(make: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    make(file)
    with pytest.raises(LocationError, match=reason):
        parse_location(f"{file}:1")
    link = tmp_path / "link.py"
    link.symlink_to(SOURCE)
    assert parse_location(f"{link}:1").cursor.text == SOURCE.read_text(encoding="utf-8")


def test_a_file_that_is_not_text_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LocationError, match="not UTF-8"):
        parse_location(str(file))


@pytest.mark.skipif(os.name == "nt", reason="no such names of files")
def test_names_and_code_reach_the_terminal_as_text_alone(model_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "[id"
    folder.mkdir()
    (tmp_path / "pyproject.toml").touch()
    other = folder / "b]\n.py"
    other.write_text("def plus(a, b):\n    return a + b\n")
    file = folder / "a\x1b[31m\n.py"
    file.write_text("x = '\x1b]0;title\x07' + " + "plus(1, 2) + " * 200_000)
    for command in ("complete", "context"):
        done = run(command, f"{file}:1", "--open", str(other), cache=model_cache)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x07"} & set(done.stdout)
    assert "in [id/b]\n.py" in done.stdout
    with pytest.raises(LocationError, match="cannot be read"):
        parse_location(f"{file}:{'9' * 5000}")
