"""Errors as they may be logged: where they happened, and never the text of a document that they may quote.

What a library says of a value that it could not use often holds the value: `ValueError`, `KeyError`, errors of cattrs
or of a query. Of such errors only the kind is logged.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import traceback
from typing import Any

_HOLD_NO_TEXT = (OSError, ImportError, MemoryError, NameError, AttributeError, IndexError, RecursionError)
_OURS = ("lsp_server", "indexer", "engine", "export", "syntax", "onnxruntime")
"""Packages whose own errors are about models and files."""


def described(error: BaseException) -> str:
    """The kind of an error, and what it says where that cannot be text of a document."""
    kind = type(error).__name__
    if isinstance(error, sqlite3.Error):
        return f"{kind} {getattr(error, 'sqlite_errorname', '')}".rstrip()
    if isinstance(error, _HOLD_NO_TEXT) or type(error).__module__.partition(".")[0] in _OURS:
        return f"{kind}: {error}"
    return kind


def traceback_of(error: BaseException | None) -> str:
    """Where an error happened, with those that it came from, first cause first."""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        parts.append("".join(["Traceback:\n", *traceback.format_tb(error.__traceback__), described(error)]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nwhich led to\n".join(reversed(parts))


def install() -> None:
    """Log in this way what ends a thread or the process."""

    def say(error: BaseException | None) -> None:
        if sys.stderr is not None:
            sys.stderr.write(f"{traceback_of(error)}\n")
            sys.stderr.flush()

    def on_thread(arguments: Any) -> None:
        if arguments.exc_type is not SystemExit:
            say(arguments.exc_value)

    sys.excepthook = lambda kind, error, trace: say(error)
    sys.unraisablehook = lambda arguments: say(arguments.exc_value)
    threading.excepthook = on_thread
