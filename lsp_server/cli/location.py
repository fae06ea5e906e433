"""A location in a file as one writes it on a command line: `FILE`, `FILE:LINE` or `FILE:LINE:COLUMN`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from indexer import read_regular
from syntax import Cursor, DocumentId, file_uri, identify, language_of, resolved

_ROOT_MARKERS = (".git", ".hg", "pyproject.toml", "package.json", "Cargo.toml", "go.mod", "pom.xml")
_LARGEST = 100_000_000  # bytes


class LocationError(Exception):
    """A location that does not exist; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class Location:
    """A cursor in a file on disk."""

    file: Path
    cursor: Cursor
    """As an editor has it that opened the folder of the file's project."""

    @property
    def line(self) -> int:
        """The cursor's line, from 1."""
        return self.cursor.text.count("\n", 0, self.cursor.offset) + 1

    @property
    def column(self) -> int:
        """The cursor's column, from 1, in code points."""
        return self.cursor.offset - (self.cursor.text.rfind("\n", 0, self.cursor.offset) + 1) + 1


def erased(location: Location, lines: int) -> Location:
    """The location before its code was written: without the rest of the cursor's line and `lines` - 1 lines below it.

    A cursor at the end of a line moves to its first character that is not blank: the whole line is removed.
    """
    if lines < 1:
        return location
    text, offset = location.cursor.text, location.cursor.offset
    end = _line_end(text, offset)
    if end == offset:
        start = text.rfind("\n", 0, offset) + 1
        offset = start + len(text[start:end]) - len(text[start:end].lstrip())
    for _ in range(lines - 1):
        newline = text.find("\n", end)
        if newline < 0:
            end = len(text)
            break
        end = _line_end(text, newline + 1)
    return replace(location, cursor=replace(location.cursor, text=text[:offset] + text[end:], offset=offset))


def parse_location(written: str) -> Location:
    """Find a location. Lines and columns count from 1; the default column is the line's end, the default line the last.

    Raises LocationError where there is no such file, line or column.
    """
    match = re.fullmatch(r"(.+?)(?::(\d{1,18}))?(?::(\d{1,18}))?", written, re.DOTALL)
    assert match is not None or not written
    name, line, column = match.groups() if match else ("", None, None)
    try:
        file = Path(name).expanduser()
    except RuntimeError as error:  # `~name` of an unknown user
        raise LocationError(f"{name} cannot be read: {error}") from error
    text = read_source(file)
    offset = len(text)
    if line is not None:
        offset = _offset(text, int(line), int(column) if column else None, name)
    return Location(file, Cursor(identity_in(workspace_of(file), file), language_of(file.name), text, offset))


def read_source(file: Path) -> str:
    """Read a source file with its newlines as they are; links are followed. Raises LocationError."""
    try:
        data = read_regular(file.resolve(strict=True), _LARGEST)[1]
        if len(data) > _LARGEST:
            raise LocationError(f"{file} has more than {_LARGEST // 1_000_000} MB, which no editor would send")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocationError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (OSError, RuntimeError) as error:  # the second: a link to itself, before Python 3.13
        raise LocationError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def identity_in(root: Path, file: Path) -> DocumentId:
    """The identity of a file in an editor that opened the folder `root`, which must be resolved."""
    return identify(file_uri(file.absolute()), [root])


def workspace_of(file: Path) -> Path:
    """The folder that an editor would open for a file: that of its project, else the one that it lies in. Resolved."""
    return project_root(file) or resolved(file).parent


def project_root(file: Path) -> Path | None:
    """Find the nearest folder above a file that looks like a project. Resolved."""
    folders = resolved(file).parents
    return next((folder for folder in folders if any((folder / marker).exists() for marker in _ROOT_MARKERS)), None)


def _line_end(text: str, offset: int) -> int:
    """The end of the line of `offset`, before its newline."""
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    return end - text[offset:end].endswith("\r")


def _offset(text: str, line: int, column: int | None, name: str) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
        if start == 0:
            raise LocationError(f"{name} has no line {line}, only {text.count(chr(10)) + 1}")
    if line < 1 or column == 0:
        raise LocationError("Lines and columns count from 1")
    end = _line_end(text, start)
    if column is None:
        return end
    if start + column - 1 > end:
        raise LocationError(f"Line {line} of {name} has no column {column}, only {end - start + 1}")
    return start + column - 1
