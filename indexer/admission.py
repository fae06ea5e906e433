"""Permissions: every document or file is checked here before it reaches a prompt, or is completed itself.

Permission belongs to a document, the workspace folders and the rules of its folder; it is no until it is known. Here
the name decides; `files/text.py` judges the texts of admitted files.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import lru_cache
from pathlib import Path

from indexer.rules.exclusion import Rules
from indexer.secrets import secret_name
from syntax import DocumentId, resolved

_MOST_RULES = 32  # folders whose rules are known: those of the workspace, and of what is opened outside of them
_UNREADABLE = (OSError, RuntimeError, ValueError)  # such as a name that is too long, or a user without a home
_MOST_ANSWERS = 4096  # of one folder's rules
_MOST_CONSULTED = 65_536  # ignore files of one folder, there or not, each of which is looked at before a request


class _Kind(Enum):
    SCRATCH = "the user's own text without a file"
    CELL = "a cell of a notebook on disk"
    FILE = "a file, saved or not"
    OTHER = "an old version, a log, a library's source: text that the user does not write"


class Admission:
    """Which documents may help others, and which may be completed at all. Thread-safe.

    Only `use_folders` and `generation` never wait for a slow disk.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for the rules; held while ignore files are read
        self._folders: frozenset[Path] = frozenset()
        self._folder_changes = 0
        self._rules: OrderedDict[Path, _FolderRules] = OrderedDict()
        self._rule_changes = 0

    @property
    def generation(self) -> tuple[int, int]:
        """Changes as soon as a permission may change: with other folders, or with changed rules."""
        return self._folder_changes, self._rule_changes

    def use_folders(self, roots: Iterable[Path]) -> None:
        """Take these for the workspace folders, and no others. They must be resolved."""
        folders = frozenset(roots)
        if folders != self._folders:
            self._folders = folders
            self._folder_changes += 1

    def refresh(self) -> None:
        """Look whether ignore files have changed. Later questions are answered by their present rules."""
        with self._lock:
            for base in [base for base, rules in self._rules.items() if rules.has_changed()]:
                del self._rules[base]
                self._rule_changes += 1

    def why_not_completed(self, document: DocumentId, opened: Path | None = None) -> str | None:
        """Why there are no suggestions inside a document, unless the user wants them there; None if there are.

        What is named like a secret gets none, nor what `.aiignore` names, wherever it lies; nor what git ignores in a
        workspace folder. Any other kind of file may be completed. `opened`: the path that it was opened by, of whose
        links the first two hold, too.
        """
        reason = self._why_not_link(opened) if opened is not None else None
        if reason is not None:
            return reason
        file = document.file
        if (reason := secret_name(document.path if file is None else file.as_posix())) is not None:
            return reason
        if file is None:
            return None
        is_inside = document.root in self._folders
        try:
            base, path = self._based(document, file)
            with self._lock:
                return self._rules_of(base).why_ignored(path, for_ai=not is_inside)
        except _UNREADABLE as error:
            return f"its rules cannot be read: {error}"

    def why_not_shown(self, document: DocumentId) -> str | None:
        """Why this document may help no other one; None if it may help some, see `may_help`."""
        kind = _kind_of(document)
        if kind in (_Kind.SCRATCH, _Kind.CELL):
            return self.why_not_completed(document)  # a notebook is no code by its name, but its cells are
        if kind is _Kind.OTHER:
            return "it is no file, but what an editor shows"
        if document.root is None or document.root not in self._folders:
            return "it lies outside of every workspace folder"
        return self.why_not_read(document.root, document.path)

    def why_not_read(self, root: Path, path: str) -> str | None:
        """Why a file of a workspace folder helps no document; `path`: relative to it, with forward slashes."""
        if root not in self._folders:
            return f"{root} is no workspace folder"
        try:
            with self._lock:
                return self._rules_of(root).why_not(path)
        except _UNREADABLE as error:
            return f"its rules cannot be read: {error}"

    def may_help(self, helper: DocumentId, asking: DocumentId) -> bool:
        """Whether a document's text may be shown to the model while another one is completed."""
        if helper == asking:
            return False
        is_kin = helper.notebook is not None and helper.notebook == asking.notebook
        return (is_kin or self.helps_all(helper)) and self.why_not_shown(helper) is None

    def helps_all(self, helper: DocumentId) -> bool:
        """Whether an admitted document helps every document, and not only the cells of its own notebook."""
        return helper.root in self._folders or _kind_of(helper) is _Kind.SCRATCH

    def _why_not_link(self, opened: Path) -> str | None:
        """Why a path must not be completed by the name of a link on it; None where no link on it has such a name."""
        for folder, path in _links_on(opened):
            if (reason := secret_name((folder / path).as_posix())) is not None:
                return reason
            base = next((one for one in (folder, *folder.parents) if one in self._folders), folder)
            try:
                with self._lock:
                    named = (folder / path).relative_to(base).as_posix()
                    reason = self._rules_of(base).why_ignored(named, for_ai=True)
            except _UNREADABLE as error:
                return f"its rules cannot be read: {error}"
            if reason is not None:
                return reason
        return None

    def _based(self, document: DocumentId, file: Path) -> tuple[Path, str]:
        """The folder whose rules hold for a document, and its path from there."""
        if document.root is not None and document.root in self._folders:
            return document.root, document.path
        file = resolved(file.parent) / file.name
        base = next((folder for folder in file.parents if (folder / ".git").exists()), file.parent)
        return base, file.relative_to(base).as_posix()

    def _rules_of(self, base: Path) -> _FolderRules:
        if base not in self._rules:
            self._rules[base] = _FolderRules(base)
            if len(self._rules) > _MOST_RULES:
                self._rules.popitem(last=False)
        self._rules.move_to_end(base)
        return self._rules[base]


def why_not_root(root: Path) -> str | None:
    """Why a folder is never indexed: it is the home folder, a folder above it, or a whole disk."""
    root = resolved(root)
    if root == Path(root.anchor):
        return f"{root} is a whole disk"
    try:
        home = resolved(Path.home())
    except RuntimeError:  # an unknown user without HOME
        return None
    if root == home:
        return f"{root} is the home folder"
    return f"{root} holds the home folder" if home.is_relative_to(root) else None


class _FolderRules:
    """The rules in and below a folder, with remembered answers, and whether they are still those on disk."""

    def __init__(self, base: Path) -> None:
        self._rules = Rules(base)
        self._reasons: dict[str, str | None] = {}
        self._ignored: dict[tuple[str, bool], str | None] = {}

    def has_changed(self) -> bool:
        """Whether an ignore file was written, made or removed since it was read."""
        if len(self._reasons) + len(self._ignored) > _MOST_ANSWERS:  # the same rules give the same answers again
            self._reasons.clear()
            self._ignored.clear()
        return self._rules.has_changed(most=_MOST_CONSULTED)

    def why_not(self, path: str) -> str | None:
        """Why a file is not read, by its name and by all folders above it."""
        if path not in self._reasons:
            self._reasons[path] = self._rules.why_not(path)
        return self._reasons[path]

    def why_ignored(self, path: str, *, for_ai: bool) -> str | None:
        """Which line of an ignore file, or of `.aiignore` alone, names a file of any kind."""
        if (path, for_ai) not in self._ignored:
            self._ignored[path, for_ai] = self._rules.why_ignored(path, for_ai=for_ai)
        return self._ignored[path, for_ai]


def _links_on(file: Path) -> Iterator[tuple[Path, str]]:
    """For each link on a path: its folder, itself without links, and the rest of the path."""
    at, parts = Path(file.anchor), file.parts[1:]
    for number, part in enumerate(parts):
        here = at / part
        if os.path.islink(here):  # noqa: PTH114 - Path.is_symlink raises where a name is too long
            yield at, os.path.normpath("/".join(parts[number:]))
            at = resolved(here)
        else:
            at = at.parent if part == ".." else here


@lru_cache(maxsize=_MOST_ANSWERS)
def _kind_of(document: DocumentId) -> _Kind:
    if document.is_scratch:
        return _Kind.SCRATCH
    if document.notebook is not None:
        return _Kind.CELL
    return _Kind.FILE if document.is_file else _Kind.OTHER
