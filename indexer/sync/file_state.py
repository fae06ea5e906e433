"""From a file on disk to what the index keeps of it: its state, and its analysis or the reason why it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexer.files.disk import NotAFile, modified, read_regular, said
from indexer.files.text import LARGEST, Refusal, read_text
from indexer.parsing.analysis import Analysis, analyse_file
from indexer.store.store import FileState
from syntax import NotRead


@dataclass(frozen=True, slots=True)
class FileReading:
    """A file as it was read."""

    state: FileState
    content: Analysis | str | None
    """None where it is what is known already; a text is the reason why it is not used."""
    has_failed: bool = False
    """Whether something went wrong with it that the user should hear of."""


def read_file(
    file: Path, path: str, known: FileState | None, analyse: Callable[[str, str], Analysis] = analyse_file
) -> FileReading | str | None:
    """Read a file whose path in its workspace folder is `path`.

    Returns None where there is none to be read, and a sentence where it cannot be read now. What cannot be analysed is
    refused for what it contains, so it is not tried again before it changes. `analyse` takes its text and its path:
    `analyse_file`, or `analyse_here` in a process that may die.
    """
    try:
        read = _read(file)
    except OSError as error:
        return said(error)
    if read is None:
        return None
    now, data = read
    if known is not None and known.hash == now.hash:
        return FileReading(now, None)
    try:
        text = read_text(data)
        content = text.reason if isinstance(text, Refusal) else analyse(text, path)
    except NotRead as why:
        return FileReading(now, str(why), has_failed=True)
    except Exception as error:  # whatever is wrong with one text costs that text
        return FileReading(now, f"it cannot be analysed ({said(error)})", has_failed=True)
    return FileReading(now, content)


def refuse_file(file: Path, reason: str) -> FileReading | None:
    """Refuse a file for what it contains, without looking at that; None where there is none to be read."""
    try:
        read = _read(file)
    except OSError:
        return None
    return FileReading(read[0], reason, has_failed=True) if read is not None else None


def _read(file: Path) -> tuple[FileState, bytes] | None:
    """A file's state and bytes; None where there is none, or it is none, or too large. Raises OSError."""
    try:
        state, data = read_regular(file, LARGEST)  # its state as it was before: a change is seen the next time
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return None
    if len(data) > LARGEST:
        return None
    return FileState(modified(state), state.st_size, hashlib.blake2b(data, digest_size=16).digest()), data
