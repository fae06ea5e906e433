"""The messages between the indexer process and its parent: each arrives as it was sent; other lines are refused."""

from __future__ import annotations

import pytest

from indexer.sync.messages import (
    Changed,
    FilesRead,
    IndexMessage,
    Problem,
    Resting,
    UpToDate,
    WaitingInLine,
    decoded,
    encoded,
)

MESSAGES = [
    FilesRead(3, 10_000),
    UpToDate(12),
    WaitingInLine(3),
    Problem("The index of /home/x was damaged.\nA second line, ü and \u2028."),
    Resting(60.0),
    Changed(frozenset({"a/b.py", "ü.py", "line\nfeed.py"})),
    Changed(frozenset(), everything=True, check=True),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_and_arrives_as_it_was_sent(message: IndexMessage | Changed) -> None:
    line = encoded(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decoded(line) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_a_killed_process_has_written_of_a_message_is_no_message(message: IndexMessage | Changed) -> None:
    line = encoded(message)
    for end in range(len(line) - 1):
        with pytest.raises(ValueError, match="no message"):
            decoded(line[:end])


@pytest.mark.parametrize(
    "line",
    [b"[1]", b"7", b"null", b'{"kind": "Other"}', b'{"kind": "UpToDate"}', b'{"kind": "UpToDate", "x": 1}', b"{}"],
)
def test_any_other_line_is_no_message(line: bytes) -> None:
    with pytest.raises(ValueError, match="no message"):
        decoded(line)
