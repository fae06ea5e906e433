"""Ends the server when its editor dies: a server without an editor must not keep a model in memory."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

import psutil

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_END = 5.0

log = logging.getLogger(__name__)


def watch(process_id: int, on_death: Callable[[], None]) -> None:
    """Call `on_death` on a thread of its own when the process ends. Works on POSIX and Windows.

    A process that does not exist now is not watched: its number may be that of an editor outside of our container.
    """
    try:
        parent = psutil.Process(process_id)
    except (psutil.Error, ValueError, OverflowError):
        log.warning("There is no process %s to watch; the end of the connection will end the server", process_id)
        return

    def look() -> None:
        while _is_alive(parent):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        log.info("The editor (process %s) is gone", process_id)
        on_death()
        time.sleep(_SECONDS_TO_END)
        log.error("The server did not end by itself")
        os._exit(1)

    threading.Thread(target=look, name="parent", daemon=True).start()


def _is_alive(process: psutil.Process) -> bool:
    """Whether the process runs. Another process may have its number; psutil compares the start time."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
