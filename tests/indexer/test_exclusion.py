"""Which ignore files count for a file: those of its own repository, whichever folder the editor has opened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer import database_of, index_now, why_not
from indexer.files.walk import walk
from indexer.problems import Problems
from indexer.rules.consulted import LARGEST
from indexer.rules.exclusion import Rules
from indexer.store.connection import StoreConnection
from tests.indexer.sync_loops import until, working
from tests.indexer.test_walk import lay

pytestmark = pytest.mark.usefixtures("own_home")
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files, or wants a privilege for them")


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without git's configuration."""
    home = tmp_path_factory.mktemp("home").resolve()
    for name in list(os.environ):
        if name.startswith("GIT_") or name == "XDG_CONFIG_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user with a name."""
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    return subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True, text=True
    ).stdout


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with files, none of them committed."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", ".")
    return lay(folder, files)


def by_git(folder: Path) -> set[str]:
    """The Python files that git would show."""
    listed = git(folder, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    return {path for path in listed if path.endswith(".py")}


def paths(root: Path) -> set[str]:
    """The files that are indexed. Asked for one by one, the rules say the same."""
    found = {one.path for one in walk(Rules(root))}
    there = {file.relative_to(root).as_posix() for file in root.rglob("*.py") if not file.is_symlink()}
    assert {path for path in there if why_not(root / path, root) is None} == found
    return found


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


def test_a_linked_worktree_shares_the_excludes_of_its_repository(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", {"m.py": ""})
    git(main, "add", ".")
    git(main, "commit", "-qm", "x")
    lay(main, {".git/info/exclude": "scratch_*.py\n"})
    git(main, "worktree", "add", "-q", "../linked")
    linked = lay(tmp_path / "linked", {"scratch_a.py": "", "b.py": ""})
    assert paths(linked) == by_git(linked) == {"m.py", "b.py"}
    git(linked, "config", "extensions.worktreeConfig", "true")
    git(linked, "config", "--worktree", "core.excludesFile", str(tmp_path / "mine"))
    lay(tmp_path, {"mine": "b.py\n"})
    assert paths(linked) == by_git(linked) == {"m.py"}
    lay(main, {"b.py": ""})
    assert paths(main) == by_git(main) == {"m.py", "b.py"}


def test_submodules_and_inner_repositories_follow_their_own_rules(tmp_path: Path) -> None:
    other = repository(tmp_path / "other", {"a.py": ""})
    git(other, "add", ".")
    git(other, "commit", "-qm", "x")
    outer = repository(tmp_path / "outer", {".gitignore": "local.py\n/clone/\n/build/\n", ".aiignore": "never.py\n"})
    git(outer, "submodule", "--quiet", "add", str(other), "sub")
    inner = {"local.py": "", "never.py": "", "own.py": "", ".gitignore": "own.py\n"}
    for folder in ("sub", "clone", "build/deps"):
        lay(outer / folder, inner)
    for folder in ("clone", "build/deps"):
        git(outer / folder, "init", "-q", ".")
    lay(outer, {".git/modules/sub/info/exclude": "shared.py\n", "sub/shared.py": "", "local.py": ""})
    assert (outer / "sub" / ".git").is_file()
    assert by_git(outer / "sub") == {"a.py", "local.py", "never.py"}
    assert paths(outer / "sub") == {"a.py", "local.py"}
    assert paths(outer / "clone") == {"local.py"}
    assert paths(outer) == {"sub/a.py", "sub/local.py"}  # what is ignored is not even looked into
    assert "ignored by .gitignore, line 2" in str(Rules(outer).why_not("clone/local.py"))


def test_a_folder_that_is_ignored_from_outside_says_so(tmp_path: Path) -> None:
    outer = repository(tmp_path / "outer", {".gitignore": "/versions/\n", "versions/3.11/lib/a.py": ""})
    said: list[str] = []
    inside = outer / "versions" / "3.11"
    assert list(walk(Rules(inside), Problems(said.append))) == []
    assert said == [f"{inside} is left out of the index: it is ignored by {outer}/.gitignore, line 1: /versions/."]
    git(inside, "init", "-q", ".")
    assert paths(inside) == {"lib/a.py"}  # a repository that is opened itself has its own rules


def test_git_folders_may_lie_elsewhere(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {"mine.py": "", "b.py": ""})
    git(root, "init", "-q", "--separate-git-dir", str(tmp_path / "elsewhere"), ".")
    lay(tmp_path, {"elsewhere/info/exclude": "mine.py\n"})
    assert paths(root) == by_git(root) == {"b.py"}
    (root / ".git").write_text("gitdir: ../elsewhere\n")
    assert paths(root) == by_git(root) == {"b.py"}


@pytest.mark.parametrize("made", ["folder", "file", "dangling"])
def test_what_is_only_named_git_is_no_repository(tmp_path: Path, made: str) -> None:
    top = repository(tmp_path / "top", {".gitignore": "private.py\n", "sub/private.py": "", "sub/a.py": ""})
    if made == "folder":
        (top / "sub" / ".git" / "info").mkdir(parents=True)
    else:
        (top / "sub" / ".git").write_text("gitdir: /nowhere/at/all\n" if made == "dangling" else "hello")
    assert paths(top / "sub") == {"a.py"}
    assert paths(top) == {"sub/a.py"}


def test_configuration_names_further_excludes(tmp_path: Path, own_home: Path) -> None:
    root = repository(tmp_path / "area" / "root", dict.fromkeys(["a.py", "b.py", "c.py", "d.py"], ""))
    lay(own_home, {".config/git/ignore": "a.py\n"})
    assert paths(root) == by_git(root) == {"b.py", "c.py", "d.py"}
    lay(own_home, {".gitconfig": "[include]\n\tpath = more\n", "more": '[CORE]\n excludesFile = "~/my rules" ; mine\n'})
    lay(own_home, {"my rules": "b.py\n"})
    assert paths(root) == by_git(root) == {"a.py", "c.py", "d.py"}
    lay(own_home, {"more": f'[includeIf "gitdir:{tmp_path.as_posix()}/area/"]\npath = ~/area\n'})
    lay(own_home, {"area": "[core]\nexcludesfile = ~/of area\n", "of area": "c.py\n"})
    assert paths(root) == by_git(root) == {"a.py", "b.py", "d.py"}
    git(root, "config", "core.excludesFile", "d.py")  # a relative path begins at the top
    lay(root, {"d.py": "a.py\n"})
    assert paths(root) == by_git(root) == {"b.py", "c.py", "d.py"}
    git(root, "config", "core.excludesFile", "")
    assert paths(root) == by_git(root) == {"a.py", "b.py", "c.py", "d.py"}


def test_capital_letters_count_as_the_repository_says(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", {".gitignore": "/Gen/\nLOCAL_*.py\n", "gen/a.py": "", "local_b.py": ""})
    for value in ("true", "false"):
        git(root, "config", "core.ignoreCase", value)
        assert paths(root) == by_git(root) == (set() if value == "true" else {"gen/a.py", "local_b.py"})


def test_the_environment_of_a_hook_names_no_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "root", {".gitignore": "private.py\n", "private.py": "", "a.py": ""})
    other = repository(tmp_path / "other", {".git/info/exclude": "*\n"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert paths(root) == {"a.py"}


def test_in_no_repository_the_folders_below_the_home_count(own_home: Path) -> None:
    lay(own_home, {".gitignore": "*\n", ".aiignore": "never.py\n", "code/.gitignore": "local.py\n"})
    opened = lay(own_home / "code" / "project", {"a.py": "", "local.py": "", "never.py": ""})
    assert paths(opened) == {"a.py"}


@UNIX
def test_a_user_without_a_home_has_rules_all_the_same(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {".gitignore": "b.py\n", "a.py": "", "b.py": ""})
    code = (
        "import os, sys, pathlib; os.getuid = lambda: 54321; "
        "from indexer.rules.exclusion import Rules; from indexer.files.walk import walk; "
        "print([found.path for found in walk(Rules(pathlib.Path(sys.argv[1])))])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout == "['a.py']\n", done.stderr


@UNIX
def test_only_regular_files_are_opened(tmp_path: Path, own_home: Path) -> None:
    root = repository(tmp_path / "root", {"a/x.py": "", "b/x.py": "", "c/x.py": "", "d/x.py": "", "rules": "x.py\n"})
    os.mkfifo(root / "a" / ".gitignore")
    (root / "b" / ".gitignore").mkdir()
    (root / "c" / ".gitignore").symlink_to(root / "rules")  # git does not follow it
    (root / "d" / ".aiignore").symlink_to(root / "rules")
    rules = Rules(root)
    assert {found.path for found in walk(rules)} == {"a/x.py", "b/x.py", "c/x.py"}
    assert not rules.has_changed()
    assert paths(root) == {"a/x.py", "b/x.py", "c/x.py"}
    (own_home / ".gitignore").symlink_to(root / "rules")  # the user's own, which git follows
    lay(own_home, {".gitconfig": "[core]\nexcludesFile = ~/.gitignore\n"})
    assert paths(root) == set()


def test_where_rules_cannot_be_read_nothing_is(tmp_path: Path) -> None:
    root = lay(tmp_path, {"a/x.py": "", "b/x.py": ""})
    (root / "a" / ".gitignore").write_bytes(b"#" * (LARGEST + 1))
    (root / "b" / ".aiignore").write_bytes(b"[a-z]\n" * 50_000)
    assert paths(root) == set()
    assert Rules(root).why_not("a/x.py") == f"a/.gitignore cannot be read: it has more than {LARGEST:,} bytes"
    assert "lines with wildcards" in str(Rules(root).why_not("b/x.py"))
    if sys.platform != "win32" and os.getuid() != 0:
        (root / "b" / ".aiignore").chmod(0)
        assert Rules(root).why_not("b/x.py") == "b/.aiignore cannot be read: Permission denied"


def unusable_link(file: Path) -> None:
    file.symlink_to("nowhere")


def link_to_itself(file: Path) -> None:
    file.symlink_to(file.name)


def utf16_without_a_mark(file: Path) -> None:
    file.write_bytes("private.py\n".encode("utf-16-le"))


def utf32(file: Path) -> None:
    file.write_bytes("private.py\n".encode("utf-32"))


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, utf16_without_a_mark, utf32]
    + ([unusable_link, link_to_itself, os.mkfifo] if sys.platform != "win32" else []),
    ids=lambda make: make.__name__,
)
def test_rules_for_ai_that_cannot_be_understood_hide_all(tmp_path: Path, make: Callable[[Path], object]) -> None:
    root = lay(tmp_path, {"a/private.py": "", "b.py": ""})
    before = Rules(root)
    assert {found.path for found in walk(before)} == {"a/private.py", "b.py"}
    asked = Rules(root)
    assert asked.why_not("a/private.py") is None
    make(root / "a" / ".aiignore")
    assert before.has_changed()
    assert asked.has_changed()
    rules = Rules(root)
    assert str(rules.why_not("a/private.py")).startswith("a/.aiignore cannot be read: it is no ")
    assert not rules.has_changed()
    assert paths(root) == {"b.py"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_rules_for_ai_may_be_written_by_powershell(tmp_path: Path, encoding: str) -> None:
    root = lay(tmp_path, {"private.py": "", "b.py": ""})
    (root / ".aiignore").write_text("private.py\r\n", encoding=encoding, newline="")
    assert paths(root) == {"b.py"}


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
