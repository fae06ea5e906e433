"""Which files the rules leave out, and whether rules know that they have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer import database_of, index_now, why_not
from indexer.rules.exclusion import Rules
from indexer.store.connection import StoreConnection
from tests.indexer.repositories import by_git, git, paths, repository
from tests.indexer.sync_loops import until, working
from tests.indexer.test_walk import lay

pytestmark = pytest.mark.usefixtures("own_home")


CASES = {
    "whitelist": (
        "*\n!*/\n!*.py\n",
        ["top.py", "foo/a.py", "foo/c.js", "foo/bar/b.py"],
        {"top.py", "foo/a.py", "foo/bar/b.py"},
    ),
    "class": ("key[[:digit:]].py\n", ["key1.py", "keya.py"], {"keya.py"}),
    "star and slash": ("*/\n!foo/\n", ["foo/a.py", "foo/bar/b.py", "baz/c.py"], {"foo/a.py"}),
    "bad range": ("*.log.py\n[z-a]*.py\n", ["ok.py", "a.log.py"], {"ok.py"}),
    "byte order mark": ("\ufeffprivate.py\n", ["private.py", "ok.py"], {"ok.py"}),
    "line separators": ("a\u2028b.py\nc\x0cd.py\n\x85e.py\n", ["b.py", "d.py", "e.py"], {"b.py", "d.py", "e.py"}),
    "trailing spaces": ("a.py  \nb.py\\ \nc\\\n", ["a.py", "b.py", "c.py"], {"b.py", "c.py"}),
    "nothing": ("/\n!\n\\\n\n#\n  \n[\n!/\n", ["a.py"], {"a.py"}),
}


@pytest.mark.parametrize("case", CASES)
def test_index_and_explanation_agree_with_git(tmp_path: Path, case: str) -> None:
    lines, files, shown = CASES[case]
    root = repository(tmp_path / "root", dict.fromkeys(files, "x = 1\n"))
    (root / ".gitignore").write_text(lines, encoding="utf-8", newline="")
    assert by_git(root) == shown
    assert paths(root) == shown
    database = database_of(root, tmp_path / "cache")
    assert index_now(root, database, lambda message: None)
    reader = StoreConnection(database)
    store = reader.store()
    assert store is not None
    assert {path for path in files if store.has(path)} == shown
    reader.close()


def test_rules_above_the_opened_folder_count(tmp_path: Path) -> None:
    top = repository(
        tmp_path / "top",
        {
            ".gitignore": "pkg/gen/\n/pkg/app/local_*.py\n/other/\n",
            ".ignore": "big.py\n",
            "pkg/app/main.py": "",
            "pkg/app/big.py": "",
            "pkg/gen/g.py": "",
            "pkg/app/local_x.py": "",
            "other/inside/a.py": "",
        },
    )
    assert by_git(top / "pkg") == {"app/main.py", "app/big.py"}
    assert paths(top / "pkg") == {"app/main.py"}
    assert paths(top / "pkg" / "app") == {"main.py"}
    assert paths(top / "other" / "inside") == set()  # the opened folder lies in an ignored one
    assert why_not(top / "other" / "inside" / "a.py", top / "other" / "inside") == (
        f"ignored by {top}/.gitignore, line 3: /other/"
    )


def test_rules_for_ai_count_from_everywhere_above_and_cannot_be_overruled(tmp_path: Path) -> None:
    lay(tmp_path, {".aiignore": "secret_*.py\n/area/top/pkg/hidden/\n", ".gitignore": "*.py\n", ".ignore": "*.py\n"})
    top = repository(
        tmp_path / "area" / "top",
        {
            ".gitignore": "!secret_*.py\n",
            ".aiignore": "pkg/app/private.py\n",
            "pkg/app/main.py": "",
            "pkg/app/private.py": "",
            "pkg/app/secret_a.py": "",
            "pkg/hidden/b.py": "",
        },
    )
    assert paths(top) == {"pkg/app/main.py"}
    assert paths(top / "pkg") == {"app/main.py"}
    assert paths(top / "pkg" / "hidden") == set()


@pytest.mark.parametrize(
    "pattern", ["**/a/" * 12 + "b", "*a" * 60 + "b", "/".join(["**/*a*a*"] * 12) + "/b", "a*" * 60 + "b/"]
)
def test_no_pattern_takes_long(tmp_path: Path, pattern: str) -> None:
    root = lay(tmp_path, {".gitignore": f"{pattern}\n", "a.py": ""})
    rules = Rules(root)
    assert rules.why_not_file("a" * 200 + ".py") is None  # a matcher that goes back would not be done this century
    assert rules.why_not_file("a/" * 30 + "a.py") is None


def test_paths_are_normalized_before_they_are_judged(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {".gitignore": "/private/\n", "private/a.py": "", "b.py": ""})
    lay(tmp_path, {"outside.py": ""})
    rules = Rules(root)
    assert rules.why_not("x/../private/./a.py") == "ignored by .gitignore, line 1: /private/"
    assert rules.why_not("./private/../b.py") is None
    for path in ("../outside.py", "private/../../outside.py", "..", "/etc/passwd.py"):
        assert rules.why_not(path) == f"it lies outside of {root}"
    assert rules.why_not("private/..") == "it is a folder; name a file in it"
    assert rules.why_not("a\0.py") == "its name has a NUL, which no file has"
    assert rules.why_not("b" * 5000 + ".py") is None  # there is none, which is for others to notice


def test_rules_know_whether_they_have_changed(tmp_path: Path, own_home: Path) -> None:
    top = repository(tmp_path / "top", {"pkg/a.py": "", "pkg/sub/b.py": "", ".gitignore": "x.py\n"})
    root = top / "pkg"
    changes = [
        (root / ".gitignore", "y.py\n", False),
        (root / "sub" / ".aiignore", "y.py\n", False),
        (top / ".gitignore", "y.py\n", True),
        (tmp_path / ".aiignore", "y.py\n", True),
        (top / ".git" / "info" / "exclude", "y.py\n", True),
        (top / ".git" / "config", "[core]\n", True),
        (own_home / ".config" / "git" / "ignore", "y.py\n", True),
        (own_home / ".gitconfig", "[core]\n", True),
        (root / ".git", "gitdir: ../.git\n", True),
    ]
    for file, content, is_outside in changes:
        rules = Rules(root)
        assert rules.why_not("sub/b.py") is None
        assert not rules.has_changed()
        lay(file.parent, {file.name: content})
        assert rules.has_changed(), file
        assert rules.has_changed(outside=True) == is_outside, file
        assert (file in rules.ignore_sources()) == is_outside, file
        rules = Rules(root)
        rules.why_not("sub/b.py")
        file.unlink()
        assert rules.has_changed(), file


def test_a_commit_changes_no_rules(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", {"a.py": ""})
    rules = Rules(root)
    rules.why_not("a.py")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    git(root, "checkout", "-qb", "other")
    assert not rules.has_changed()


def test_new_excludes_of_a_repository_reach_a_running_index(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", {"private.py": "def p(): return 1\n", "main.py": "def m(): return 1\n"})
    database = database_of(root, tmp_path / "cache")
    with working(root, database):
        reader = StoreConnection(database)
        store = reader.store()
        assert store is not None
        assert store.has("private.py")
        with (root / ".git" / "info" / "exclude").open("a") as exclude:
            exclude.write("private.py\n")
        until(lambda: not store.has("private.py"))
        assert store.has("main.py")
        reader.close()
