"""From a file on disk to what the index keeps of it: its state, and its analysis or the reason why it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexer.analysis import Analysis, analyse_file
from indexer.reading import LARGEST, Refusal, read_text
from indexer.store import FileState
from syntax import NotRead


@dataclass(frozen=True, slots=True)
class FileReading:
    """A file as it was read."""

    state: FileState
    content: Analysis | str | None
    """None where it is what is known already; a text is the reason why it is not used."""


def read_file(
    file: Path, path: str, known: FileState | None, analyse: Callable[[str, str], Analysis] = analyse_file
) -> FileReading | None:
    """Read a file whose path in its workspace folder is `path`; None where there is none, or none to be read.

    `analyse` takes its text and its path: `analyse_file`, or `analyse_here` in a process that may die.
    """
    try:
        state = file.stat()  # before its content: a change between the two is seen the next time
        data = file.read_bytes() if state.st_size <= LARGEST else None
    except OSError:
        return None
    if data is None:
        return None
    now = FileState(state.st_mtime_ns, state.st_size, hashlib.blake2b(data, digest_size=16).digest())
    if known is not None and known.hash == now.hash:
        return FileReading(now, None)
    text = read_text(data)
    if isinstance(text, Refusal):
        return FileReading(now, text.reason)
    try:
        return FileReading(now, analyse(text, path))
    except NotRead as why:
        return FileReading(now, str(why))
