"""Writing a small file whole or not at all, with the file's name in every error."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ENDING = "~"


def write_whole(file: Path, text: str, *, ending: str = ENDING) -> None:
    """Replace the text of a file in one step: whatever ends it in the middle, the file has the old one.

    `ending`: of the name under which it is written, beside the file; a process that is killed leaves that.
    Raises OSError with the file's name: a write to a full disk alone would raise one without.
    """
    unfinished = file.with_name(f"{file.name}{ending}")
    try:
        try:
            with unfinished.open("w", encoding="utf-8", newline="\n") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            unfinished.replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
