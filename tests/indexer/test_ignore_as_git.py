"""Ignore files mean what they mean to git: generated rules and paths, each judged by the real git as well.

`python -m tests.indexer.test_ignore_as_git TREES [FIRST]` compares that many, and counts them.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexer.files.walk import walk
from indexer.rules.consulted import Consulted
from indexer.rules.exclusion import Rules
from indexer.rules.git_configuration import configuration
from indexer.rules.ignore_files import Ignored, shown

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="compares with git, which is not installed")

SEPARATORS = [b"\t", b"\x0b", b"\x0c", b"\x85", "\u2028".encode(), b"\r", b"\0"]
_BRACKETS = b"""
[ab] [!a] [^b] [a-c] []a] [a-\\]] [\\a] [[:alpha:]] [[:digit:]x] [[:upper:]] [[:space:]] [[:punct:]] [[:foo:]] [[:]
[[::] [ ] - [z-a] [a/b] [!/] [--a] [a-c-e] [[-b] [A-z] [!]a] [: :] [a\\-c]
"""
_TEXTS = "a b A ab a.py c 1 é {a,b} $ ^ ( | + . ! #"
PIECES = [
    *_TEXTS.encode().split(),
    *[b"\xff", b" ", b"  ", b"\\ ", b"\\", b"\\\\", b"\\*", b"\\[", b"\\A", b"/", b"/", b"/", b"d/"],
    *[b"*", b"*", b"?", b"**", b"**/", b"/**", b"/**/", b"***", b"**\\/"],
    *_BRACKETS.split(),
    *SEPARATORS,
]
_NAMES = "a b A B ab a.py aa abab c d - 1 a1 é z ! # !a #a [a] {a,b} ^ $ a+ ] [ [:"
NAMES = _NAMES.encode().split()
if sys.platform != "win32":
    NAMES += [b"*", b"\\", b"a\\", b" ", b"a ", b"a  ", b"a b", b".", b"\xff", b"a\r", b"x\x85", *SEPARATORS[:-1]]


@dataclass(frozen=True)
class Count:
    """What was compared."""

    paths: int
    pairs: int
    """Of a pattern and a path that it matches."""
    ignored: int

    def __add__(self, other: Count) -> Count:
        return Count(self.paths + other.paths, self.pairs + other.pairs, self.ignored + other.ignored)


def pattern(chance: random.Random) -> bytes:
    """A line of an ignore file, mostly an odd one."""
    text = b"".join(chance.choices(PIECES, k=chance.randint(1, chance.choice([2, 4, 6, 9]))))
    start = b"!" if chance.random() < 0.3 else b""
    start += b"/" if chance.random() < 0.15 else b""
    return start + text + (b"/" if chance.random() < 0.15 else b"")


def ignore_file(chance: random.Random, lines: int) -> bytes:
    """Some lines, with the line ends of one system or another."""
    text = chance.choice([b"\n", b"\n", b"\r\n"]).join(pattern(chance) for _ in range(chance.randint(1, lines)))
    mark = b"\xef\xbb\xbf" if chance.random() < 0.1 else b""
    return mark + text + chance.choice([b"", b"\n", b"\n\n"])


def name(chance: random.Random) -> bytes:
    """A file's name."""
    found = b"".join(chance.choices(NAMES, k=chance.choice([1, 1, 2])))
    return b"a" if found in (b".", b"..") else found


def git(folder: Path, *arguments: str, data: bytes = b"") -> bytes:
    """What git prints; 1 is what it returns where nothing is ignored."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=data, capture_output=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def compare(root: Path, seed: int, folders: int, paths: int) -> Count:
    """Lay a tree of ignore files, and judge paths in it as git does; nearly none of the paths exists."""
    chance, rules = random.Random(seed), 0
    git(root, "init", "-q", ".")
    git(root, "config", "core.ignoreCase", "true" if seed % 4 == 3 else "false")
    git(root, "config", "core.excludesFile", f"{root}/.git/everywhere")
    written: dict[str, int] = {}
    places = [f"f{n}" + chance.choice(["", "", "/a", "/a/b", "/ab"]) for n in range(folders)]
    for place in ["", *places]:
        (root / place).mkdir(parents=True, exist_ok=True)
    files = [root / ".git" / "info" / "exclude", root / ".git" / "everywhere"]
    files += [(root / place / ".gitignore") for place in places]
    files += [parent / ".gitignore" for place in places if (parent := (root / place).parent) != root]
    for file in dict.fromkeys(files):
        data = ignore_file(chance, 2 if ".git" in file.parent.parts else 5)
        file.write_bytes(data)
        written[file.relative_to(root).as_posix()] = len(data.split(b"\n"))
    asked = [
        os.fsencode(place) + b"/" + b"/".join(name(chance) for _ in range(chance.randint(1, 4)))
        for place in places
        for _ in range(paths)
    ]
    said = git(root, "check-ignore", "-v", "-n", "-z", "--no-index", "--stdin", data=b"\0".join([*asked, b""]))
    fields = said.split(b"\0")[:-1]
    assert len(fields) == 4 * len(asked)
    ignored, count = Ignored(root, Consulted()), 0
    for at, path in enumerate(asked):
        source, line, text, _ = fields[4 * at : 4 * at + 4]
        expected = None
        if source and not text.startswith(b"!"):
            expected = f"ignored by {shown(os.fsdecode(source)).removeprefix(f'{root}/')}, line {int(line)}: "
            count += 1
        found, parts = None, os.fsdecode(path).split("/")
        for end in range(1, len(parts) + 1):
            found = found or ignored.why_not("/".join(parts[:end]), is_folder=end < len(parts))
        assert (found is None) if expected is None else (found or "").startswith(expected), (
            seed,
            path,
            expected,
            found,
        )
        place = os.fsdecode(path)
        rules += sum(lines for file, lines in written.items() if place.startswith(file.removesuffix(".gitignore")))
    return Count(len(asked), rules, count)


def test_generated_rules_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    count = Count(0, 0, 0)
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        count += compare(tmp_path.resolve() / str(seed), seed, folders=60, paths=25)
    assert count.paths == 8 * 60 * 25
    assert count.pairs > 50_000
    assert count.ignored > 1_000


@pytest.mark.slow
def test_many_generated_rules_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    for seed in range(1000, 1060):
        (tmp_path / str(seed)).mkdir()
        compare(tmp_path.resolve() / str(seed), seed, folders=100, paths=60)


_FILES = "a.py b.py ab.py c.py local_a.py gen.py gen_1.py é.py [a].py !a.py #a.py"
FILES = [*_FILES.split(), "a b.py"]
FOLDERS = ["a", "b", "ab", "gen", "local", "out.d", "deep"]
_LINES = """
*.py */ !*/ !*.py a b/ /a /a/ !/a a/** **/a !**/a **/gen/** gen* !gen*.py a/*/b.py /*/a.py !a/ local_* /out.d !/deep/
deep/* !deep/a.py [a-c].py !b.py [!a]*.py [[:alpha:]].py gen_[[:digit:]].py \\!a.py \\#a.py \\[a].py é.py * !* **/ !**/
a/**/b **.py a**.py /** !gen/ *.d b*/*.py ?.py ??
"""
LINES = [*_LINES.split(), "a\\ b.py", "a b.py  "]


@pytest.mark.parametrize("seed", range(6))
def test_of_a_tree_those_files_are_found_that_git_lists(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = tmp_path.resolve()
    git(root, "init", "-q", ".")
    git(root, "config", "core.excludesFile", f"{root}/.git/everywhere")
    folders = {root}
    for _ in range(60):
        folders.add(root.joinpath(*chance.choices(FOLDERS, k=chance.randint(1, 4))))
    for folder in sorted(folders):
        folder.mkdir(parents=True, exist_ok=True)
        for file in chance.sample(FILES, 5):
            (folder / file).write_text("")
    for folder in [root, *chance.sample(sorted(folders - {root}), 12)]:
        (folder / ".gitignore").write_text("\n".join(chance.choices(LINES, k=chance.randint(1, 4))), encoding="utf-8")
    (root / ".git" / "info" / "exclude").write_text(chance.choice(LINES), encoding="utf-8")
    (root / ".git" / "everywhere").write_text(chance.choice(LINES), encoding="utf-8")
    for opened in [root, *chance.sample(sorted(folder for folder in folders if folder != root), 8)]:
        listed = git(opened, "ls-files", "-co", "--exclude-standard", "-z").split(b"\0")
        by_git = {path for path in map(os.fsdecode, listed) if path.endswith(".py")}
        rules = Rules(opened)
        assert {found.path for found in walk(rules)} == by_git, opened
        there = {file.relative_to(opened).as_posix() for file in opened.rglob("*.py")}
        assert {path for path in there if Rules(opened).why_not(path) is None} == by_git


VALUES = ["~/i", "/abs/i", "rel/i", '"~/q\\"i"', r"a\\b", '""', "é", "~nobody-of-this-name/x", "", "a  b", "a\tb ; c"]
VALUES += ['"a;b" # c', '"a" "b"', "~/con\\\n tinued", '"" z', "  sp  "]
_CONDITIONS = """
gitdir:{0}/area/ gitdir:area/ gitdir:AREA/ gitdir/i:AREA/ gitdir:**/repo/.git gitdir:./ gitdir:./**/.git gitdir:~/
gitdir:nope/ gitdir:{0}/area/repo/.git gitdir:{0}/ar?a/** onbranch:main onbranch:feat/ onbranch:f*
"""
CONDITIONS = _CONDITIONS.split()


def written(chance: random.Random, around: Path) -> str:
    """A file of git's configuration."""
    parts = []
    for _ in range(chance.randint(1, 5)):
        kind = chance.random()
        if kind < 0.6:
            parts.append(chance.choice(["[core]", "[core] ", "[CORE]\n# c", "[core]; x", '[core "sub"]', "[other]"]))
            is_case = chance.random() < 0.3
            value = chance.choice(["true", "no", "1", "off", "yes", "0"] if is_case else VALUES)
            key = "ignorecase" if is_case else chance.choice(["excludesFile", "excludesfile", "EXCLUDESFILE"])
            parts.append(chance.choice(["", "\t", " "]) + key + chance.choice([" = ", "=", " =\t"]) + value)
        else:
            start = (
                "[include]" if kind < 0.8 else f'[includeIf "{chance.choice(CONDITIONS).format(around.as_posix())}"]'
            )
            parts.append(f"{start}\n path = {chance.choice(['one', '~/two', '../home/one', 'none'])}")
    end = chance.choice(["\n", "\n", "\r\n"])
    return ("\ufeff" if chance.random() < 0.1 else "") + end.join(parts) + chance.choice(["", end])


def compare_configuration(around: Path, seed: int) -> bool:
    """Write configurations of a user and a repository, and read them as git does; False if git calls them invalid."""
    chance = random.Random(seed)
    home, repository = around / "home", around / "area" / "repo"
    (home / ".config" / "git").mkdir(parents=True)
    repository.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(home))
        environment.delenv("XDG_CONFIG_HOME", raising=False)
        git(repository, "init", "-q", "-b", chance.choice(["main", "feat/x"]), ".")
        inner = repository / ".git" / "config"
        for file in (home / ".gitconfig", home / ".config" / "git" / "config", inner, home / "one", home / "two"):
            if chance.random() < 0.7:
                before = file.read_text(encoding="utf-8") if file == inner else ""
                file.write_text(
                    before + written(chance, around).removeprefix("\ufeff" * bool(before)), "utf-8", newline=""
                )
        command = ["git", "-C", str(repository), "config", "-z", "--get"]
        excludes = subprocess.run([*command, "--type=path", "core.excludesFile"], capture_output=True)
        case = subprocess.run([*command, "--type=bool", "core.ignoreCase"], capture_output=True)
        if max(excludes.returncode, case.returncode) > 1:
            return False
        found = configuration(Consulted(), repository, repository / ".git", repository / ".git")
    named = os.fsdecode(excludes.stdout[:-1])
    expected = str(home / ".config" / "git" / "ignore") if excludes.returncode else str(repository / named)
    assert found.excludes_file == (expected if named or excludes.returncode else None), seed
    assert found.ignore_case == (case.stdout.rstrip(b"\0") == b"true"), seed
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="paths in these configurations are those of other systems")
def test_configuration_says_what_it_says_to_git(tmp_path: Path) -> None:
    valid = [compare_configuration(tmp_path.resolve() / str(seed), seed) for seed in range(80)]
    assert sum(valid) > 40


if __name__ == "__main__":
    total, first = Count(0, 0, 0), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for number in range(first, first + int(sys.argv[1])):
        with tempfile.TemporaryDirectory() as place:
            total += compare(Path(place).resolve(), number, folders=100, paths=60)
    print(
        f"{total.paths:,} paths, {total.pairs:,} pairs of a line and a path, {total.ignored:,} ignored, no difference"
    )
