"""Notice the death of the editor: a server whose editor was killed must not stay behind with a model in its memory."""

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
    """Call `on_death` from a thread of its own once the process is gone; works alike on POSIX and Windows.

    A process that does not exist now is not watched: the number of an editor outside of our container says nothing.
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
    """Whether it still runs; its number may belong to another process by now, which psutil tells by the start time."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
