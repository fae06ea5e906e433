"""Limits that the system sets to a process that runs what may hang or grow: the system itself ends it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys

_MOST_MEMORY = 2 << 30  # bytes of address space


class Alarm:
    """Ends the process that works longer than so many seconds of its processor's time within `with`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_timer = hasattr(signal, "setitimer")
        if self._has_timer:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
        else:
            self._nothing = open(os.devnull, "wb")  # noqa: PTH123, SIM115 - kept as long as the process

    def __enter__(self) -> None:
        if self._has_timer:
            signal.setitimer(signal.ITIMER_PROF, self._seconds)  # 1 µs; no handler: the interpreter may be held
        else:
            faulthandler.dump_traceback_later(5 * self._seconds, exit=True, file=self._nothing)

    def __exit__(self, *_: object) -> None:
        if self._has_timer:
            signal.setitimer(signal.ITIMER_PROF, 0)
        else:
            faulthandler.cancel_dump_traceback_later()


def be_expendable() -> None:
    """Leave no core dump and no message box, take no more memory than 2 GiB, and ignore the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
        return
    import resource

    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, _MOST_MEMORY)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))
