"""Opt-in samples: the code around suggestions, the suggestions, and what the user wrote there, in a file of their own.

They are for teaching the model: `python -m training.feedback` makes pairs of a better and a worse answer from them. The
file of numbers never holds code; this one does, and exists only where the setting `collectSamples` is true.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsp_server.statistics.events import Outcome

BEFORE, AFTER = 6_000, 2_000
"""Code points of the document before and after the cursor that are kept."""
MOST_BYTES = 100_000_000
_ANCHOR = 200  # code points before the cursor by which the place is found again
_BELOW = 80  # code points below it
_LONGEST = 2_000  # code points of what was written
_PRUNED = 0.1  # of the samples, where they have become too many
_TABLE = """
CREATE TABLE IF NOT EXISTS samples(
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, path TEXT NOT NULL, language TEXT NOT NULL,
    model TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, suggestion TEXT NOT NULL, outcome TEXT NOT NULL,
    finished INTEGER NOT NULL, written TEXT NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a suggestion was shown."""

    path: str
    """Relative to the workspace, as the model sees it."""
    before: str
    after: str

    @classmethod
    def of(cls, path: str, text: str, offset: int) -> Surroundings:
        """The code around an offset of a document."""
        return cls(path, text[max(offset - BEFORE, 0) : offset], text[offset : offset + AFTER])

    def written_in(self, text: str) -> str | None:
        """What stands at the place in a later text of the document; None where the place is not found."""
        anchor, below = self.before[-_ANCHOR:], self.after.lstrip()[:_BELOW]
        if not anchor.strip() or text.count(anchor) != 1:
            return None
        start = text.index(anchor) + len(anchor)
        end = text.find(below, start) if below else len(text)
        return text[start:end] if start <= end <= start + _LONGEST else None


@dataclass(frozen=True, slots=True)
class Sample:
    """A suggestion, where it was shown, and what was written there half a minute after its end."""

    at: float
    language: str
    model: str
    surroundings: Surroundings
    suggestion: str
    outcome: Outcome
    is_finished: bool
    """Whether the user put all of the suggestion there."""
    written: str


def samples_file(statistics: Path) -> Path:
    """The file of samples, beside the one of numbers."""
    return statistics.with_name("samples.sqlite")


def add_samples(file: Path, samples: Sequence[Sample], *, most_bytes: int = MOST_BYTES) -> None:
    """Write samples, but for those with what looks like a secret. Raises sqlite3.Error and OSError."""
    from indexer import secrets_in  # loads patterns: not before there are samples

    clean = [
        one
        for one in samples
        if not secrets_in(f"{one.surroundings.before}{one.suggestion}\n{one.written}{one.surroundings.after}")
    ]
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with contextlib.closing(sqlite3.connect(file, timeout=10.0)) as database, database:
        database.execute("PRAGMA secure_delete = ON")
        database.execute(_TABLE)
        database.executemany(
            "INSERT INTO samples(at, path, language, model, before, after, suggestion, outcome, finished, written) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    int(one.at), one.surroundings.path, one.language, one.model, one.surroundings.before,
                    one.surroundings.after, one.suggestion, one.outcome, one.is_finished, one.written,
                )
                for one in clean
            ],
        )  # fmt: skip
        [pages], [free], [size] = (
            database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size > most_bytes:
            database.execute(
                "DELETE FROM samples WHERE id <= (SELECT min(id) + (max(id) - min(id)) * ? FROM samples)", (_PRUNED,)
            )


def count_samples(file: Path) -> int:
    """How many samples there are. Raises sqlite3.Error."""
    if not file.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM samples").fetchone()[0])
