"""The `Content-Length` framing of LSP: splits a stream of bytes into messages.

Damage is reported and skipped: after a header without a length, reading continues at the next header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HEADER_START = re.compile(rb"content-length", re.IGNORECASE)
_LONGEST_HEADER = 16 * 1024
LONGEST_BODY = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are not a message."""

    reason: str
    """What is wrong with them, without a quotation: the bytes may be text of a document."""


class FrameReader:
    """Splits a stream of bytes into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body_length: int | None = None
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[bytes | Damage]:
        """Take more bytes; yield each body that they complete."""
        self._buffer += data
        while True:
            if self._skip:
                skipped = min(self._skip, len(self._buffer))
                del self._buffer[:skipped]
                self._skip -= skipped
            if self._body_length is None:
                damage = self._read_header()
                if damage is not None:
                    yield damage
                    continue
            if self._body_length is None or len(self._buffer) < self._body_length:
                return
            body = bytes(self._buffer[: self._body_length])
            del self._buffer[: self._body_length]
            self._body_length = None
            yield body

    @property
    def is_inside_a_message(self) -> bool:
        """Whether the stream is in the middle of a message."""
        return bool(self._buffer) or self._body_length is not None or self._skip > 0

    def _read_header(self) -> Damage | None:
        """Consume a header if it is complete, and set the length of the body that follows."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return self._drop_overlong_header()
        header = bytes(self._buffer[:end])
        lengths = _LENGTH.findall(header)
        if not lengths:
            # the bytes that follow may belong to the next header: keep them from its possible start
            start = _HEADER_START.search(self._buffer, 1)
            del self._buffer[: start.start() if start else end + 4]
            return Damage(f"a header without Content-Length, of {len(header):,} bytes")
        del self._buffer[: end + 4]
        length = int(lengths[-1])
        if length > LONGEST_BODY:
            self._skip = length
            return Damage(f"a message of {length:,} bytes, longer than the {LONGEST_BODY:,} that are read")
        self._body_length = length
        return None

    def _drop_overlong_header(self) -> Damage | None:
        if len(self._buffer) <= _LONGEST_HEADER:
            return None
        start = _HEADER_START.search(self._buffer, 1)
        del self._buffer[: start.start() if start else len(self._buffer) - len(b"content-length")]
        return Damage(f"no end of a header in {_LONGEST_HEADER:,} bytes")
