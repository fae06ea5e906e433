"""Whose ignore files count: those of a file's own repository, whichever folder the editor has opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.files.walk import walk
from indexer.problems import Problems
from indexer.rules.exclusion import Rules
from tests.indexer.repositories import by_git, git, paths, repository
from tests.indexer.test_walk import lay

pytestmark = pytest.mark.usefixtures("own_home")


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no user ids")
def test_a_user_without_a_home_has_rules(tmp_path: Path) -> None:
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
