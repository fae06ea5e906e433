"""Logging to stderr on a thread of its own: an editor that never reads stderr must not stop the server.

No text of a document is logged. Of an error only the parts that cannot contain such text are, see `syntax.tracebacks`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from queue import Full, Queue
from types import TracebackType
from typing import Any

from syntax.sentences import shortened

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
        """Format a record now, as its arguments may change, and queue it."""
        try:
            self._waiting.put_nowait(self.format(record))
        except Full:
            pass  # the client does not read stderr
        except Exception:
            self.handleError(record)

    def drain(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until the queue is written; returns whether it is."""
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
                    sys.stderr.write(f"{item}\n")  # in one write; `print` makes two where Python does not buffer
                    sys.stderr.flush()
                except (OSError, ValueError):
                    return  # stderr is closed, so there is nowhere to report this


class _Discreet(logging.Formatter):
    """Formats records without text of documents."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a copy of the record; errors among its arguments are described, not quoted."""
        record = logging.makeLogRecord(record.__dict__)
        record.exc_text = None  # another handler may have formatted it
        if isinstance(record.args, tuple):
            record.args = tuple(_described(one) if isinstance(one, BaseException) else one for one in record.args)
        if record.name == "asyncio":  # asyncio quotes callbacks with their arguments, and tasks with their errors
            record.msg, record.args = re.split(r"[\n(<:]", record.getMessage())[0], ()
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's own name
        """The traceback, without texts."""
        try:
            from syntax.tracebacks import traceback_of  # a slow import, and errors are rare
        except (ImportError, OSError):  # no file can be opened any more
            return str(ei[0].__name__)
        return traceback_of(ei[1])


def _described(error: BaseException) -> str:
    try:
        from syntax.tracebacks import described
    except (ImportError, OSError):
        return type(error).__name__
    return described(error)


def is_shown(uri: str) -> bool:
    """Whether a URI may be logged: damage may have put text of a document in its place."""
    return _URI.fullmatch(uri) is not None


def shown_uri(uri: str) -> str:
    """A document's URI for the log, or the words `a document`."""
    return shortened(uri, _LONGEST_URI) if is_shown(uri) else "a document"


def start_logging() -> BackgroundHandler:
    """Log to stderr; also the errors that end a thread or the process."""
    handler = BackgroundHandler()
    log = logging.getLogger(__name__)

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("The server ends", exc_info=error)
        handler.drain(timeout=1.0)

    sys.excepthook = end
    sys.unraisablehook = lambda arguments: log.error("An error was ignored", exc_info=arguments.exc_value)
    threading.excepthook = lambda arguments: log.error("A thread has ended", exc_info=arguments.exc_value)
    logging.getLogger().addHandler(handler)
    set_level(None)
    return handler


def set_level(name: str | None) -> None:
    """Set the level by its name; the default is that of the environment, else `warning`."""
    level = _LEVELS.get((name or os.environ.get(LEVEL_VARIABLE, "")).lower(), logging.WARNING)
    logging.getLogger().setLevel(level)
    # pygls logs whole messages with text of documents; its errors reach our own log anyway
    logging.getLogger("pygls").setLevel(logging.CRITICAL + 1)
