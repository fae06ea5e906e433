"""Which document is which: the one identity that every table of the server and of the index is keyed by.

A URI is taken apart before it is decoded, and decoded once, so that `#`, `?` and `%` in names stay what they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

_PARTS = re.compile(r"(?s)(?:([A-Za-z][A-Za-z0-9+.-]*):)?(//[^/?#]*)?([^?#]*)(\?[^#]*)?(#.*)?")
_DRIVE = re.compile(r"/[A-Za-z]:(?=/|$)")
_UNQUOTED = "/:@!$&'()*+,;=~-._"
_FILE, _UNTITLED = "file", "untitled"
_NOWHERE = "file://"  # what Neovim calls a buffer without a name
_SCRATCH = frozenset({_UNTITLED, "buffer"})  # of documents that were never saved; the second is Sublime Text's
_CELLS = frozenset({"vscode-notebook-cell"})
_REMEMBERED = 1024  # URIs: each comes with every keystroke


@dataclass(frozen=True, slots=True)
class DocumentId:
    """A document. For one on disk, it is the file that it leads to, links resolved, however it was opened."""

    uri: str
    """Normalized: two spellings of one URI are one document."""
    root: Path | None
    """The workspace folder that it lies in, resolved; the innermost of several. None outside of all."""
    path: str
    """Relative to that folder, with forward slashes; else its name. Not unique."""

    def __hash__(self) -> int:
        """By the URI alone: the hash of a text is remembered, and tables are asked with every keystroke."""
        return hash(self.uri)

    @classmethod
    def in_folder(cls, root: Path, path: str) -> DocumentId:
        """Name a file of a workspace folder; `root` must be resolved."""
        return cls(file_uri(root / path), root, path)

    @classmethod
    def scratch(cls, path: str) -> DocumentId:
        """Name a document that has no file."""
        return cls(f"{_UNTITLED}:{_quoted(path)}", None, path)

    @property
    def file(self) -> Path | None:
        """Where it lies, or will when it is saved; for a notebook's cell where the notebook does. None if nowhere."""
        return self.root / self.path if self.root is not None else path_in(self.uri)

    @property
    def shown(self) -> str:
        """The path as text that any tokenizer can take: names on disk need not be UTF-8."""
        return _as_text(self.path)

    @property
    def project(self) -> str:
        """The name of the workspace folder, as such text; empty outside of all."""
        return _as_text(self.root.name) if self.root is not None else ""

    @property
    def notebook(self) -> str | None:
        """What all cells of one notebook have in common; None for what is no cell."""
        return self.uri.partition("#")[0] if self._scheme in _CELLS else None

    @property
    def is_file(self) -> bool:
        """Whether it is a file, or a document that was given a place and not saved yet."""
        return self._scheme in (_FILE, _UNTITLED) and self.file is not None

    @property
    def is_scratch(self) -> bool:
        """Whether it is the user's own text, and has no place on disk."""
        return self.uri == _NOWHERE or (self._scheme in (*_SCRATCH, *_CELLS) and self.file is None)

    @property
    def _scheme(self) -> str:
        return self.uri.partition(":")[0]


def _as_text(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "replace").decode("utf-8")


def identify(uri: str, roots: Iterable[Path]) -> DocumentId:
    """Find out which document a URI means. Reads the links on its path; `roots`: workspace folders, resolved."""
    uri = normalized(uri)
    scheme, _, path, _, fragment = _parts(uri)
    file = path_in(uri)
    if file is None or scheme not in (_FILE, _UNTITLED, *_CELLS):
        name = unquote(path, errors="surrogateescape").strip("/")
        return DocumentId(uri, None, (name if scheme in _SCRATCH else name.rpartition("/")[2]) or uri)
    file = resolved(file)
    uri = file_uri(file)
    if scheme in _CELLS:
        uri = f"{scheme}{uri.removeprefix(_FILE)}{fragment}"
    root = max((root for root in roots if file.is_relative_to(root)), key=lambda root: len(root.parts), default=None)
    return DocumentId(uri, root, file.relative_to(root).as_posix() if root is not None else file.name)


@lru_cache(maxsize=_REMEMBERED)
def normalized(uri: str) -> str:
    """Spell a URI in the one way that all its spellings have in common. Never raises: clients send anything."""
    scheme, authority, path, query, fragment = _parts(uri)
    path = _requoted(path)
    if _DRIVE.match(path):
        path = path[0] + path[1].lower() + path[2:]
    if scheme == _FILE:
        authority = "//" if authority in ("", "//localhost") else authority
    more = "".join(mark and mark[0] + _requoted(mark[1:]) for mark in (query, fragment))
    return (f"{scheme}:" if scheme else "") + authority.lower() + path + more


def path_in(uri: str) -> Path | None:
    """The absolute path that a URI of any scheme has in it, as it stands there; None where there is none."""
    scheme, authority, path, _, _ = _parts(normalized(uri))
    path = unquote(path, errors="surrogateescape")
    if not scheme or not path.startswith("/") or "\0" in path:
        return None
    if scheme == _FILE and authority != "//":
        return Path(authority + path) if os.name == "nt" else None  # a share in the network, which others must mount
    return Path(path[1:] if os.name == "nt" and _DRIVE.match(path) else path)


def file_uri(file: Path) -> str:
    """The URI of a file, normalized."""
    path = file.as_posix()
    return normalized(f"{_FILE}:{path if path.startswith('//') else '//' + '/' * (path[0] != '/') + _quoted(path)}")


def resolved(file: Path) -> Path:
    """Follow all links on a path, and all `..`. What is not there, or cannot be asked for, stays as it is."""
    return _shared(os.path.realpath(file))


@lru_cache(maxsize=_REMEMBERED)
def _shared(path: str) -> Path:
    """One object for each path: the same object is found in a table four times as fast as an equal one."""
    return Path(path)


def _parts(uri: str) -> tuple[str, str, str, str, str]:
    """Scheme, authority, path, query and fragment; all but the first with the marks that they begin with.

    What stands after the authority of a file's URI is its path: files have no query, and some clients quote no `#`.
    """
    found = _PARTS.fullmatch(uri)
    assert found is not None  # it takes any text
    scheme, authority, path, query, fragment = (part or "" for part in found.groups())
    if scheme.lower() == _FILE:
        path, query, fragment = path + query + fragment, "", ""
    return scheme.lower(), authority, path, query, fragment


def _requoted(text: str) -> str:
    return _quoted(unquote(text, errors="surrogateescape"))


def _quoted(text: str) -> str:
    try:
        return quote(text, safe=_UNQUOTED, errors="surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file's name has
        return quote(text, safe=_UNQUOTED, errors="surrogatepass")
