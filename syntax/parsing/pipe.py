"""Messages over a pair of pipes, each with its length before it, and with a limit of time on this side."""

from __future__ import annotations

import contextlib
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

_LENGTH = struct.Struct("<I")
_LARGEST = 1 << 28  # bytes
_PIECE = 1 << 16
_ROOM = 1 << 20  # bytes that a pipe is asked to hold, where the system allows it


class Pipe:
    """One end. Times are those of `time.monotonic`; None waits without a limit."""

    def __init__(self, source: int, sink: int, give_up: Callable[[], None]) -> None:
        """`source` and `sink` are file descriptors. `give_up` ends the other side, which ends all waiting.

        It is called only where a system cannot wait for pipes with a limit of time.
        """
        self._source, self._sink, self._give_up = source, sink, give_up
        self._received = bytearray()
        self._can_wait = sys.platform != "win32"
        if self._can_wait:
            self._readable, self._writable = select.poll(), select.poll()
            self._readable.register(source, select.POLLIN)
            self._writable.register(sink, select.POLLOUT)
            os.set_blocking(source, False)
            os.set_blocking(sink, False)
            if sys.platform == "linux":
                import fcntl

                with contextlib.suppress(OSError):
                    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _ROOM)

    def send(self, message: bytes, until: float | None = None) -> None:
        """Send a message. Raises TimeoutError, after which the pipe is of no use; OSError where nothing listens."""
        left = memoryview(_LENGTH.pack(len(message)) + message)
        with self._limit(until):
            while left:
                if self._can_wait:
                    _wait(self._writable, until)
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self._sink, left) :]

    def receive(self, until: float | None = None) -> bytes:
        """Wait for a message. Raises TimeoutError, after which it may still come; EOFError at the end."""
        with self._limit(until):
            while (message := self._take()) is None:
                if self._can_wait:
                    _wait(self._readable, until)
                with contextlib.suppress(BlockingIOError):
                    piece = os.read(self._source, _PIECE)
                    if not piece:
                        raise EOFError
                    self._received += piece
        return message

    def is_readable(self) -> bool:
        """Whether the other side has said something that was not received, or has ended. Windows does not tell."""
        return self._can_wait and bool(self._readable.poll(0))

    def _take(self) -> bytes | None:
        if len(self._received) < _LENGTH.size:
            return None
        length = _LENGTH.unpack_from(self._received)[0]
        if length > _LARGEST:
            raise EOFError  # no message of ours
        end = _LENGTH.size + length
        if len(self._received) < end:
            return None
        message = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        return message

    @contextlib.contextmanager
    def _limit(self, until: float | None) -> Iterator[None]:
        """Where the system does not tell when a pipe is ready (Windows), end the other side when time is over."""
        if self._can_wait or until is None:
            yield
            return
        timer = threading.Timer(max(until - time.monotonic(), 0.0), self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _wait(ready: select.poll, until: float | None) -> None:
    if until is None:
        ready.poll()
    elif not ready.poll(max(until - time.monotonic(), 0.0) * 1000):
        raise TimeoutError
