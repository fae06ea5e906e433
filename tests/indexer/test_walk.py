"""Which files of a workspace are read: real folders, as git and people make them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.files.text import Refusal, read_text
from indexer.files.walk import walk
from indexer.rules.exclusion import Rules


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root.resolve()


def paths(root: Path) -> set[str]:
    return {found.path for found in walk(Rules(root))}


IGNORED = {
    ".gitignore": "# first\n\n*.gen.py\n/build/\ndocs/**/draft.py\n!docs/kept/draft.py\n",
    "a.py": "",
    "a.gen.py": "",
    "build/b.py": "",
    "deep/build/b.py": "",
    "docs/x/draft.py": "",
    "docs/kept/draft.py": "",
    "deep/.gitignore": "!wanted.gen.py\nunwanted.py\n",
    "deep/wanted.gen.py": "",
    "deep/unwanted.py": "",
    "unwanted.py": "",
}


def test_ignore_files_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    root = lay(tmp_path, IGNORED)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    command = ["git", "-C", str(root), "ls-files", "--others", "--exclude-standard", "*.py"]
    by_git = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert paths(root) == by_git
    assert by_git == {"a.py", "deep/build/b.py", "docs/kept/draft.py", "deep/wanted.gen.py", "unwanted.py"}


def test_ignore_files_for_tools_add_to_those_of_git(tmp_path: Path) -> None:
    root = lay(
        tmp_path,
        {
            ".gitignore": "local/\n",
            ".ignore": "!local/\nbig.py\n",
            ".aiignore": "private/\n",
            "local/a.py": "",
            "big.py": "",
            "private/.ignore": "!*\n",
            "private/b.py": "",
        },
    )
    assert paths(root) == {"local/a.py"}


def test_an_environment_is_left_out_unless_it_is_the_workspace(tmp_path: Path) -> None:
    files = {"a.py": "", "x/.venv/pyvenv.cfg": "", "x/.venv/lib/b.py": "", "kept/CACHEDIR.TAG": "", "kept/c.py": ""}
    root = lay(tmp_path, files)
    assert paths(root) == {"a.py"}
    assert paths(root / "x" / ".venv") == {"lib/b.py"}
    (root / "x" / ".venv" / "pyvenv.cfg").unlink()
    (root / "x" / ".venv" / "pyvenv.cfg").mkdir()  # a folder says nothing
    assert paths(root) == {"a.py", "x/.venv/lib/b.py"}


def test_excludes_of_the_repository_and_of_the_user_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay(tmp_path / "root", {"mine.py": "", "other.py": "", "third.py": ""})
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    lay(root, {".git/info/exclude": "mine.py\n"})
    lay(tmp_path, {"home/git/ignore": "other.py\n", "global": "third.py\n"})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    assert paths(root) == {"third.py"}
    lay(tmp_path / "home", {"git/config": f"[core]\n\texcludesFile = {tmp_path}/global\n"})
    assert paths(root) == {"other.py"}  # named: the file in the usual place counts no more


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.gen.py", "ignored by .gitignore, line 3: *.gen.py"),
        ("deep/unwanted.py", "ignored by deep/.gitignore, line 2: unwanted.py"),
        ("build/b.py", "ignored by .gitignore, line 4: /build/"),
        ("node_modules/a/b.js", "other people's code"),
        ("x/.venv/lib/a.py", "a virtual environment (it has a pyvenv.cfg)"),
        ("jquery.min.js", "minified"),
        ("api_pb2.py", "generated"),
        (".env", ".env files often hold secrets"),
        ("deploy/server.pem", "*.pem files often hold secrets"),
        ("notes.md", ".md is not code"),
        ("logo.png", ".png is not text"),
    ],
)
def test_every_refusal_has_its_reason(tmp_path: Path, name: str, reason: str) -> None:
    root = lay(tmp_path, {**IGNORED, "x/.venv/pyvenv.cfg": "", name: ""})
    found = Rules(root).why_not(name)
    assert found is not None
    assert reason in found
    assert name not in paths(root)


@pytest.mark.skipif(sys.platform == "win32", reason="to make links takes a privilege on Windows that tests do not have")
def test_links_are_not_followed_out_of_the_workspace_nor_in_circles(tmp_path: Path) -> None:
    lay(tmp_path / "outside", {"secret.py": ""})
    root = lay(tmp_path / "root", {"package/a.py": ""})
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "out.py").symlink_to(tmp_path / "outside" / "secret.py")
    (root / "package" / "loop").symlink_to(root)
    (root / "same.py").symlink_to(root / "package" / "a.py")
    (root / "broken.py").symlink_to(root / "nowhere.py")
    assert paths(root) == {"package/a.py"}
    rules = Rules(root)
    assert rules.why_not("out/secret.py") == "it is a link that leaves the workspace"
    assert rules.why_not("same.py") == "it is a link to package/a.py, which is read itself"
    assert rules.why_not("broken.py") == "it is a link that leads nowhere"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("größe = 1\n".encode(), "größe = 1\n"),
        ("größe = 1\n".encode("utf-8-sig"), "größe = 1\n"),
        ("größe = 1\n".encode("utf-16"), "größe = 1\n"),
        ("# -*- coding: cp1251 -*-\nимя = 1\n".encode("cp1251"), "# -*- coding: cp1251 -*-\nимя = 1\n"),
        ("größe = 1\n".encode("latin-1"), "größe = 1\n"),
    ],
)
def test_files_are_read_in_their_own_encoding(data: bytes, expected: str) -> None:
    assert read_text(data) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\0\0", "not text"),
        (b"x = 1\n" * 200_000, "more than 1,000,000 bytes"),
        (b"// Code generated by protoc. DO NOT EDIT.\npackage a\n", "says that it is generated"),
        (b"var a=1;" * 1000, "minified"),
    ],
)
def test_what_a_file_holds_may_refuse_it(data: bytes, reason: str) -> None:
    found = read_text(data)
    assert isinstance(found, Refusal)
    assert reason in found.reason
