"""The ignore files of a workspace folder: where each of them counts, and which one is stronger.

A file is judged as its own repository judges it: by `.gitignore` and `.ignore` of all folders from the repository's top
down, by its `info/exclude` and by git's `core.excludesFile`. In no repository, the folders below the home folder count.
A repository that another one ignores counts where it is opened itself, or a folder in it; from outside, it is ignored
like any folder. `.aiignore` counts in all folders above, and no other file overrules it.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from indexer.rules.consulted import Consulted, Unreadable
from indexer.rules.git_configuration import configuration, home_folder
from indexer.rules.ignore_file import IgnoreFile, parsed
from indexer.rules.repository import Repository, repository_at

_OF_GIT, _, FOR_AI = IGNORE_FILES = (".gitignore", ".ignore", ".aiignore")
"""In the order of their weight within one folder."""
_LONGEST_SHOWN = 120  # characters of a line


@dataclass(frozen=True, slots=True)
class _Source:
    """An ignore file, and the part of a path that it is matched against."""

    name: str
    """Its name for the user."""
    file: IgnoreFile
    begins: int
    """How many bytes of an absolute path to skip for the path from the ignore file's folder."""


@dataclass(frozen=True, slots=True)
class _RulesInFolder:
    """The rules that hold in a folder, the strongest source first."""

    for_ai: tuple[_Source, ...] = ()
    by_git: tuple[_Source, ...] = ()
    """All other ignore files."""
    fold: bool = False
    """Whether patterns ignore case."""
    closed: str | None = None
    """Why nothing in it is read."""
    closed_for_ai: str | None = None
    """The same, if the reason is an `.aiignore`."""

    def ignored(self, path: bytes, *, is_folder: bool, for_ai: bool = False) -> str | None:
        """Why something right in the folder is ignored, by its absolute path; None if it is not.

        With `for_ai`, by an `.aiignore`: where another repository begins, the other rules of this one say nothing.
        """
        closed = self.closed_for_ai if for_ai else self.closed
        if closed is not None:
            return closed
        for sources in (self.for_ai,) if for_ai else (self.for_ai, self.by_git):
            for source in sources:
                found = source.file.last_match(path[source.begins :], is_folder=is_folder, fold=self.fold)
                if found is not None and not found.is_negated:
                    return f"ignored by {source.name}, line {found.line}: {_line_shown(found.text)}"
                if found is not None:
                    break
        return None


class Ignored:
    """The ignore files of a workspace folder; each is read once, with the first question about its folder."""

    def __init__(self, root: Path, consulted: Consulted) -> None:
        """Take a folder in whose path there is no symbolic link, and what shall remember the files."""
        self._root, self._consulted = root, consulted
        self._above = slashed(root)
        self._known = {"": self._rules_of_root()}

    def why_not(self, path: str, *, is_folder: bool, for_ai: bool = False) -> str | None:
        """Why something is left out whose folder is not; None if it is not. `path` is relative to the root.

        `for_ai`: only `.aiignore` counts.
        """
        rules, absolute = self._rules_in(path.rpartition("/")[0]), os.fsencode(self._above + path)
        return rules.ignored(absolute, is_folder=is_folder, for_ai=for_ai)

    def why_not_inside(self, folder: str, files: Collection[str]) -> str | None:
        """Why nothing in a folder is read, whose files have these names: an ignore file of it cannot be read."""
        return self._rules_in(folder, files).closed

    def _rules_of_root(self) -> _RulesInFolder:
        """The rules of all folders from the file system's root down to this one."""
        folders, home = [*reversed(self._root.parents), self._root], home_folder()
        repository = next(filter(None, (repository_at(one, self._consulted) for one in reversed(folders))), None)
        settings = configuration(self._consulted, self._root) if repository is None else repository.configuration
        rules = _RulesInFolder(fold=settings.ignore_case)
        for folder in folders:
            is_top = repository is not None and folder == repository.top
            if repository is not None:
                is_ruled = folder.is_relative_to(repository.top)
            else:
                is_ruled = folder == self._root or home is None or not home.is_relative_to(folder)
            above = os.fsencode(folder.as_posix())
            closed = rules.ignored(above, is_folder=True, for_ai=is_top)
            closed_for_ai = rules.ignored(above, is_folder=True, for_ai=True)
            names = IGNORE_FILES if is_ruled else (FOR_AI,)
            rules = self._rules_inside(
                replace(rules, closed=closed, closed_for_ai=closed_for_ai),
                folder,
                names,
                repository if is_top else None,
            )
        if repository is None:
            try:
                rules = replace(rules, by_git=rules.by_git + self._source(settings.excludes_file, self._root))
            except Unreadable as error:
                rules = replace(rules, closed=rules.closed or str(error))
        return rules

    def _rules_in(self, folder: str, files: Collection[str] | None = None) -> _RulesInFolder:
        """What holds in a folder; `files` are the names of those in it, where they are known."""
        if folder not in self._known:
            path = self._root / folder
            names = IGNORE_FILES if files is None else [name for name in IGNORE_FILES if name in files]
            for name in (name for name in IGNORE_FILES if name not in names):
                self._consulted.has_none([f"{slashed(path)}{name}"], strict=name == FOR_AI)
            outer = self._rules_in(folder.rpartition("/")[0])
            self._known[folder] = self._rules_inside(outer, path, names, repository_at(path, self._consulted))
        return self._known[folder]

    def _rules_inside(
        self, outer: _RulesInFolder, folder: Path, names: Collection[str], begun: Repository | None
    ) -> _RulesInFolder:
        """What holds in a folder: what holds around it, and what its ignore files add; a repository may begin there."""
        if not names and begun is None:
            return outer
        for_ai, by_git, fold = outer.for_ai, outer.by_git, outer.fold
        try:
            if begun is not None:
                everywhere = self._source(begun.configuration.excludes_file, folder)
                by_git, fold = self._source(str(begun.exclude), folder) + everywhere, begun.configuration.ignore_case
            for name in names:
                # git does not follow a link of this name: it comes with the repository
                file = f"{slashed(folder)}{name}"
                own = self._source(file, folder, follow=name != _OF_GIT, is_for_ai=name == FOR_AI)
                if name == FOR_AI:
                    for_ai = own + for_ai
                else:
                    by_git = own + by_git
        except Unreadable as error:  # of an `.aiignore`, perhaps
            reason = str(error)
            return replace(outer, closed=outer.closed or reason, closed_for_ai=outer.closed_for_ai or reason)
        return _RulesInFolder(for_ai, by_git, fold, outer.closed, outer.closed_for_ai)

    def _source(
        self, file: str | None, folder: Path, *, follow: bool = True, is_for_ai: bool = False
    ) -> tuple[_Source, ...]:
        """An ignore file with rules for what lies in a folder; empty where it has no rule. Raises Unreadable.

        An `.aiignore` is there for a reason: what git would take for no rules at all, such as a broken link or a text
        in UTF-16, must be understood here, or is Unreadable.
        """
        if file is None:
            return ()
        name = shown(file.removeprefix(self._above))
        try:
            data = self._consulted.read(file, follow=follow, strict=is_for_ai) or b""
            rules = parsed(_in_utf8(data) if is_for_ai else data)
        except Unreadable as error:
            raise Unreadable(f"{name} cannot be read: {error}") from error
        return (_Source(name, rules, len(os.fsencode(slashed(folder)))),) if rules.patterns else ()


def _in_utf8(data: bytes) -> bytes:
    """Rules as Windows' PowerShell writes them, in UTF-16, and all others as they are. Raises Unreadable."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise Unreadable("it is no text in UTF-16") from error
    if b"\0" in data:
        raise Unreadable("it is no text")
    return data


def slashed(folder: Path) -> str:
    """An absolute path that the name of something in the folder can be appended to."""
    return f"{folder.as_posix().rstrip('/')}/"


def shown(path: str) -> str:
    """A path as text: what is no UTF-8 in it, and what would move a terminal's cursor, is replaced."""
    return _printable(os.fsencode(path))


def _line_shown(line: bytes) -> str:
    return _printable(line if len(line) <= _LONGEST_SHOWN else line[:_LONGEST_SHOWN] + "…".encode())


def _printable(text: bytes) -> str:
    characters = text.decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in characters)
