"""Logging to stderr, from a thread of its own: an editor that never reads stderr must not stop the server."""

from __future__ import annotations

import logging
import os
import sys
import threading
from queue import Full, Queue

LEVEL_VARIABLE = "MELLUM_LSP_LOG"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_WAITING_RECORDS = 1000


class BackgroundHandler(logging.Handler):
    """Writes records to stderr on a daemon thread; drops them when a thousand are waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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


def start_logging() -> BackgroundHandler:
    """Log to stderr."""
    handler = BackgroundHandler()
    logging.getLogger().addHandler(handler)
    set_level(None)
    return handler


def set_level(name: str | None) -> None:
    """Set the level by its name; None means what the environment asks for, and without that `warning`."""
    level = _LEVELS.get((name or os.environ.get(LEVEL_VARIABLE, "")).lower(), logging.WARNING)
    logging.getLogger().setLevel(level)
    # pygls logs whole messages, with the text of documents in them; what goes wrong in it reaches our own log anyway
    logging.getLogger("pygls").setLevel(logging.DEBUG if level == logging.DEBUG else logging.CRITICAL)
