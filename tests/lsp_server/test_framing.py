"""Framing: whatever the pieces and the damage, every message that can be told is told."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lsp_server.wire.framing import Damage, FrameReader

BODIES = st.lists(st.binary(max_size=60), max_size=6)


def frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def read(*pieces: bytes) -> list[bytes | Damage]:
    reader = FrameReader()
    return [found for piece in pieces for found in reader.feed(piece)]


@given(bodies=BODIES, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_messages_come_out_whole_however_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, bodies))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read(*(stream[start:end] for start, end in pairwise(edges))) == bodies


def test_header_names_are_case_insensitive_and_other_headers_are_ignored() -> None:
    header = b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length:2\r\n\r\n"
    assert read(header + b"{}") == [b"{}"]


def test_reading_goes_on_after_a_header_without_a_length() -> None:
    damage, body = read(b"Content-Length: many\r\n\r\n" + frame(b"{}"))
    assert isinstance(damage, Damage)
    assert "without Content-Length" in damage.reason
    assert "many" not in damage.reason
    assert body == b"{}"


def test_reading_goes_on_after_bytes_that_belong_to_no_message() -> None:
    found = read(b"}}} what is left of a broken message\r\n", frame(b"[1]"), frame(b"[2]"))
    assert [body for body in found if isinstance(body, bytes)] == [b"[1]", b"[2]"]


def test_endless_garbage_is_not_kept() -> None:
    reader = FrameReader()
    found = [item for _ in range(100) for item in reader.feed(b"x" * 10_000)]
    assert found
    assert all(isinstance(item, Damage) for item in found)
    assert list(reader.feed(b"\r\n" + frame(b"{}")))[-1] == b"{}"


def test_a_message_of_a_terabyte_is_skipped_not_stored() -> None:
    reader = FrameReader()
    (damage,) = reader.feed(b"Content-Length: 1000000000000\r\n\r\nxxxx")
    assert isinstance(damage, Damage)
    assert list(reader.feed(b"x" * 1000)) == []


def test_a_stream_that_ends_inside_a_message_is_known_to() -> None:
    reader = FrameReader()
    assert not reader.is_inside_a_message
    assert list(reader.feed(b"Content-Length: 10\r\n\r\n{}")) == []
    assert reader.is_inside_a_message
