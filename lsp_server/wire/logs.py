"""Logging to stderr, from a thread of its own: an editor that never reads stderr must not stop the server.

No text of a document gets there, whatever goes wrong: of errors only what cannot hold any, see `syntax.tracebacks`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from queue import Full, Queue
from typing import Any

LEVEL_VARIABLE = "MELLUM_LSP_LOG"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_WAITING_RECORDS = 1000


_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\w/%.~:@!$&*+,;=#?()'-]*")
_LONGEST_URI = 200


class BackgroundHandler(logging.Handler):
    """Writes records to stderr on a daemon thread; drops them when a thousand are waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._waiting: Queue[str | threading.Event] = Queue(_WAITING_RECORDS)
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, formatted now: its arguments may change."""
        try:
            self._waiting.put_nowait(self.format(record))
        except Full:
            pass  # nobody reads stderr
        except Exception:
            self.handleError(record)

    def drain(self, timeout: float) -> bool:
        """Wait until everything logged so far is written, at most `timeout` seconds; returns whether it is."""
        written = threading.Event()
        try:
            self._waiting.put(written, timeout=timeout)
        except Full:
            return False
        return written.wait(timeout)

    def _write_all(self) -> None:
        while True:
            item = self._waiting.get()
            if isinstance(item, threading.Event):
                item.set()
            elif sys.stderr is not None:  # None under pythonw
                try:
                    print(item, file=sys.stderr, flush=True)
                except (OSError, ValueError):
                    return  # stderr is closed, and so is the only place to say so


class _Discreet(logging.Formatter):
    """Tells of errors what cannot be text of a document."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a copy of the record: errors among its arguments are described, not quoted."""
        record = logging.makeLogRecord(record.__dict__)
        record.exc_text = None  # another handler may have formatted it
        if isinstance(record.args, tuple):
            record.args = tuple(_described(one) if isinstance(one, BaseException) else one for one in record.args)
        if record.name == "asyncio":  # it quotes callbacks with their arguments, and tasks with their errors
            record.msg, record.args = re.split(r"[\n(<:]", record.getMessage())[0], ()
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's own name
        """Where the error happened."""
        from syntax.tracebacks import traceback_of  # importing the grammars takes a while, and errors are rare

        return traceback_of(ei[1])


def _described(error: BaseException) -> str:
    from syntax.tracebacks import described

    return described(error)


def is_shown(uri: str) -> bool:
    """Whether a URI may stand in the log: not one in whose place damage has put text of a document."""
    return _URI.fullmatch(uri) is not None


def shown_uri(uri: str) -> str:
    """A document's URI for the log, or no more than that it is one."""
    return uri[:_LONGEST_URI] if is_shown(uri) else "a document"


def start_logging() -> BackgroundHandler:
    """Log to stderr, also what ends a thread or the process."""
    handler = BackgroundHandler()
    log = logging.getLogger(__name__)
    sys.excepthook = lambda kind, error, trace: log.critical("The server ends", exc_info=error)
    sys.unraisablehook = lambda arguments: log.error("An error was ignored", exc_info=arguments.exc_value)
    threading.excepthook = lambda arguments: log.error("A thread has ended", exc_info=arguments.exc_value)
    logging.getLogger().addHandler(handler)
    set_level(None)
    return handler


def set_level(name: str | None) -> None:
    """Set the level by its name; None means what the environment asks for, and without that `warning`."""
    level = _LEVELS.get((name or os.environ.get(LEVEL_VARIABLE, "")).lower(), logging.WARNING)
    logging.getLogger().setLevel(level)
    # pygls logs whole messages, with the text of documents in them; what goes wrong in it reaches our own log anyway
    logging.getLogger("pygls").setLevel(logging.CRITICAL + 1)
