"""Shared by the commands: output, failures, and sentences for errors."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from lsp_server.configuration.settings import Provider
from syntax.sentences import shortened

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
ModelOption = Annotated[str | None, typer.Option(help="A model's name or folder. Default: the embedded default model.")]
ProviderOption = Annotated[Provider, typer.Option(help="What to run the model on; auto: what it was exported for.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for tools.")]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_BE_WRITTEN = (*_FULL, errno.EFBIG, errno.EROFS)


def print_json(value: Any) -> None:
    """Print one JSON object, for tools."""
    print(json.dumps(value, ensure_ascii=False))


def failure(sentence: str, *, code: int = 1) -> typer.Exit:
    """Print a sentence in red; the caller raises the returned error."""
    err.print(Text(shortened(sentence), style="red"), soft_wrap=True)
    return typer.Exit(code)


def error_sentence(error: Exception, file: Path | None = None) -> str:
    """A sentence for an error of the disk or the system; other errors have a text of their own.

    `file`: what was used where the error does not say it, as that of a write to a full disk.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or type(error).__name__
    done = "written" if error.errno in _CANNOT_BE_WRITTEN else "used"
    mend = "; make room on its disk" if error.errno in _FULL else ""
    if (name := error.filename2 or error.filename or file) is None:
        return f"The output cannot be written: {error.strerror}" if done == "written" else error.strerror
    return f"{name} cannot be {done}: {error.strerror}{mend}"


def drop_output() -> None:
    """Redirect output that cannot be written, so that Python's last flush succeeds."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
