"""Git's settings for ignored files: read without git, which may be missing, and which runs commands it finds there.

A line that is not valid ends its file (git would refuse to work at all); `includeIf "hasconfig:..."` never holds.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.rules.consulted import Consulted, Unreadable
from indexer.rules.wildmatch import matches
from syntax.children import find_program

_MOST_LEVELS = 10  # of files that include each other, as in git
_MOST_FILES = 100  # of one configuration
_SECTION = re.compile(r'\[([A-Za-z0-9.-]+)(?:[ \t\r]+"((?:[^"\\\n]|\\[^\n])*+)")?\]')
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9-]*)[ \t]*(=|(?=\n|\Z))")
_BETWEEN = re.compile(r"(?:[ \t\r\n]|[#;][^\n]*)*+")
_ESCAPED = {"n": "\n", "t": "\t", "b": "\b", '"': '"', "\\": "\\", "\n": "", "": ""}
_FALSE = frozenset({"", "false", "no", "off", "0"})
_FOLDING = ("win32", "darwin")
"""Systems on which names usually ignore case."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in one repository, or outside of all."""

    excludes_file: str | None
    """Rules of the user for all repositories: git's `core.excludesFile`, as an absolute path."""
    ignore_case: bool


def configuration(
    consulted: Consulted, top: Path, git_folder: Path | None = None, common: Path | None = None
) -> Configuration:
    """Read the configuration that holds for files below `top`.

    `git_folder` is what `.git` is or leads to, and `common` what a linked worktree shares with others, else the same.
    """
    known = _LastValues(consulted, git_folder)
    for file in _files_of_the_user():
        known.read(file)
    if git_folder is not None and common is not None:
        known.read(common / "config")
        if known.is_true("extensions.worktreeconfig"):
            known.read(git_folder / "config.worktree")
    values = {**known.values, **_of_the_environment()}
    named = values.get("core.excludesfile", _in_home_configuration("ignore"))
    excludes_file = os.path.normpath(top / _expanded(named)) if named else None
    folds = git_folder is None and sys.platform in _FOLDING
    if "core.ignorecase" in values:
        folds = _is_true(values["core.ignorecase"])
    return Configuration(excludes_file, folds)


class _LastValues:
    """The last value of each name, of files read one after the other."""

    def __init__(self, consulted: Consulted, git_folder: Path | None) -> None:
        self.values: dict[str, str | None] = {}
        self._consulted, self._git_folder = consulted, git_folder
        self._count = 0

    def is_true(self, name: str) -> bool:
        return _is_true(self.values.get(name, ""))

    def read(self, file: Path, level: int = 0) -> None:
        """Read a file and the files that it includes."""
        self._count += 1
        if self._count > _MOST_FILES or level > _MOST_LEVELS:
            return
        try:
            data = self._consulted.read(str(file)) or b""
        except Unreadable:
            return
        for section, subsection, key, value in _settings(os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))):
            if (section, key) == ("include", "path") or (
                (section, key) == ("includeif", "path") and self._holds(subsection, file)
            ):
                if value:
                    self.read(file.parent / _expanded(value), level + 1)
            elif not subsection:
                self.values[f"{section}.{key}"] = value

    def _holds(self, condition: str, file: Path) -> bool:
        """Whether the condition of an `includeIf` in a file holds."""
        kind, _, pattern = condition.partition(":")
        if self._git_folder is None:
            return False
        if kind in ("gitdir", "gitdir/i"):
            if pattern.startswith("./"):
                pattern = f"{file.resolve().parent.as_posix()}{pattern[1:]}"
            elif pattern.startswith("~/"):
                pattern = f"{(home_folder() or Path('~')).as_posix()}{pattern[1:]}"
            elif not Path(pattern).is_absolute():
                pattern = f"**/{pattern}"
            places = {self._git_folder.as_posix(), Path(os.path.realpath(self._git_folder)).as_posix()}
            return any(_fits(pattern, place, fold=kind == "gitdir/i") for place in places)
        return kind == "onbranch" and (branch := self._branch()) is not None and _fits(pattern, branch)

    def _branch(self) -> str | None:
        try:
            head = self._consulted.read(f"{self._git_folder}/HEAD") or b""
        except Unreadable:
            return None
        found = re.match(rb"ref:[ \t]*refs/heads/(.*?)\s*\Z", head)
        return None if found is None else os.fsdecode(found[1])


def _fits(pattern: str, text: str, *, fold: bool = False) -> bool:
    if pattern.endswith("/"):
        pattern += "**"
    return matches(os.fsencode(pattern), os.fsencode(text), fold=fold)


def _is_true(value: str | None) -> bool:
    """A name without a value is true."""
    return value is None or value.lower() not in _FALSE


def _files_of_the_user() -> Iterator[Path]:
    """Configuration of the system and of the user, the strongest last."""
    if not _is_true(os.environ.get("GIT_CONFIG_NOSYSTEM", "")):
        yield Path(os.environ.get("GIT_CONFIG_SYSTEM") or _system_file())
    if (instead := os.environ.get("GIT_CONFIG_GLOBAL")) is not None:
        files: list[str | None] = [instead]
    else:
        files = [_in_home_configuration("config"), _expanded("~/.gitconfig")]
    yield from (Path(file) for file in files if file and Path(file).is_absolute())


def _system_file() -> Path:
    """Git was built to look for it beside itself."""
    program = find_program("git")
    prefix = Path(program or "/usr/bin/git").parents[1]
    return Path("/etc/gitconfig") if prefix == Path("/usr") else prefix / "etc" / "gitconfig"


def _of_the_environment() -> dict[str, str]:
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    pairs = [
        (os.environ.get(f"GIT_CONFIG_KEY_{n}"), os.environ.get(f"GIT_CONFIG_VALUE_{n}"))
        for n in range(min(int(count), _MOST_FILES) if count.isdecimal() else 0)
    ]
    return {key.lower(): value for key, value in pairs if key is not None and value is not None}


def _in_home_configuration(name: str) -> str | None:
    """A file of git's in the user's folder for configuration; None for a user without a home."""
    folder = os.environ.get("XDG_CONFIG_HOME") or _expanded("~/.config")
    return f"{folder}/git/{name}" if Path(folder).is_absolute() else None


def home_folder() -> Path | None:
    """The user's home, without symbolic links; None for a user without one."""
    folder = _expanded("~")
    return Path(os.path.realpath(folder)) if Path(folder).is_absolute() else None


def _expanded(name: str) -> str:
    """With `~` replaced; unchanged where there is no such home."""
    home = os.environ.get("HOME")
    if home and (name == "~" or name.startswith("~/")):
        return home + name[1:]
    return os.path.expanduser(name)  # noqa: PTH111 - Path.expanduser raises where there is no home


def _settings(text: str) -> Iterator[tuple[str, str, str, str | None]]:
    """Section, subsection, key and value of each setting, up to the first that is not valid."""
    text = text.replace("\r\n", "\n")
    section = subsection = ""
    at = 0
    while at < len(text):
        between = _BETWEEN.match(text, at)
        at = between.end() if between is not None else at
        if (found := _SECTION.match(text, at)) is not None:
            section, _, subsection = found[1].lower().partition(".")
            if found[2] is not None:
                subsection = re.sub(r"\\(.)", r"\1", found[2])
            at = found.end()
        elif (found := _KEY.match(text, at)) is not None:
            value, at = None, found.end()
            if found[2]:
                read = _value(text, at)
                if read is None:
                    return
                value, at = read
            yield section, subsection, found[1].lower(), value
        else:
            return


def _value(text: str, at: int) -> tuple[str, int] | None:
    """The value after an equals sign, and the end of its line; None if it is not valid."""
    value, spaces, is_quoted = "", "", False
    while at < len(text) and text[at] != "\n":
        character = text[at]
        at += 1
        if not is_quoted and character in " \t\r":
            spaces += " " if value else ""
        elif not is_quoted and character in "#;":
            end = text.find("\n", at)
            return value, len(text) if end < 0 else end
        else:
            value, spaces = value + spaces, ""
            if character == '"':
                is_quoted = not is_quoted
            elif character == "\\":
                character = text[at : at + 1]
                if character not in _ESCAPED:
                    return None
                value += _ESCAPED[character]
                at += 1
            else:
                value += character
    return None if is_quoted else (value, at)
