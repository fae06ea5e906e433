"""From a file on disk to what the store has to note: its state, and its analysis or the reason for its refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexer.files.disk import NotAFile, modified, read_regular, said
from indexer.files.text import LARGEST, Refusal, read_text
from indexer.parsing.analysis import Analysis, analyse_file
from indexer.store.rows import FileState
from syntax import NotRead


@dataclass(frozen=True, slots=True)
class FileUpdate:
    """What the store has to note of a file that was read."""

    state: FileState
    content: Analysis | str | None
    """None where the content is the known one; a text is the reason why the content is refused."""
    has_failed: bool = False
    """Whether an error caused the refusal; then the user sees the reason."""


Outcome = FileUpdate | str | None
"""What `read_file` returns: an update; a sentence, why the file cannot be read now; or None where there is no file."""


def read_file(
    file: Path, path: str, known: FileState | None, analyse: Callable[[str, str], Analysis] = analyse_file
) -> Outcome:
    """Read a file whose path in its workspace folder is `path`.

    A file that cannot be analysed is refused for its content, so it is not tried again before it changes. `analyse`
    takes its text and its path: `analyse_file`, or `analyse_here` in an expendable process.
    """
    try:
        read = _read(file)
    except OSError as error:
        return said(error)
    if read is None:
        return None
    now, data = read
    if known is not None and known.hash == now.hash:
        return FileUpdate(now, None)
    try:
        text = read_text(data)
        content = text.reason if isinstance(text, Refusal) else analyse(text, path)
    except NotRead as why:
        return FileUpdate(now, str(why), has_failed=True)
    except Exception as error:  # an error of any kind costs this file alone
        return FileUpdate(now, f"it cannot be analysed ({said(error)})", has_failed=True)
    return FileUpdate(now, content)


def refuse_file(file: Path, reason: str) -> FileUpdate | None:
    """Refuse a file for its content, without decoding it; None where there is no file."""
    try:
        read = _read(file)
    except OSError:
        return None
    return FileUpdate(read[0], reason, has_failed=True) if read is not None else None


def _read(file: Path) -> tuple[FileState, bytes] | None:
    """A file's state and bytes; None where there is no regular file, or it is too large. Raises OSError."""
    try:
        state, data = read_regular(file, LARGEST)  # the state before the read: a later change is seen the next time
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return None
    if len(data) > LARGEST:
        return None
    return FileState(modified(state), state.st_size, hash_of(data)), data


def hash_of(data: bytes) -> bytes:
    """By which a content is known again."""
    return hashlib.blake2b(data, digest_size=16).digest()
