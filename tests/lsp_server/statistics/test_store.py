"""The file of events: written by several processes at once, killed at any moment, bounded, and emptied on request."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evaluation.statistics import an_answer, start_writer
from lsp_server.statistics.events import Event, Kept, Outcome, Typed, When
from lsp_server.statistics.recorder import Recorder
from lsp_server.statistics.store import NewerFile, Store, bucket_of, reading, seconds_of


def count(file: Path, table: str = "answers", what: str = "count(*)") -> int:
    with reading(file) as database:
        return int(database.execute(f"SELECT {what} FROM {table}").fetchone()[0] or 0)


def test_several_processes_write_at_once_and_none_is_lost(tmp_path: Path) -> None:
    file, events, batches = tmp_path / "statistics.sqlite", 50, 20
    writers = [start_writer(file, batches, events) for _ in range(3)]
    assert [int(writer.communicate(timeout=100)[0]) for writer in writers] == [events * batches] * 3
    assert count(file) == 3 * events * batches
    assert count(file, "days", "sum(answers)") == 3 * events * batches
    assert count(file, "names", "count(*) - count(DISTINCT name)") == 0


def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    file, events = tmp_path / "statistics.sqlite", 7
    for turn in range(4):
        writer = start_writer(file, 1_000_000, events)
        until, before = time.monotonic() + 100, count(file) if turn else 0
        while time.monotonic() < until and not (file.exists() and _has_more(file, before)):
            time.sleep(0.01)
        writer.kill()
        writer.communicate()
        with reading(file) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert count(file) > before
        assert count(file) % events == 0
        assert count(file, "days", "sum(answers)") == count(file)


def _has_more(file: Path, than: int) -> bool:
    try:
        return count(file) > than
    except (sqlite3.OperationalError, FileNotFoundError):  # no tables yet
        return False


def test_the_oldest_answers_go_and_the_sums_stay(tmp_path: Path) -> None:
    file = tmp_path / "statistics.sqlite"
    store = Store(file, most_answers=100)
    for batch in range(30):
        store.add([an_answer(batch * 500 + index) for index in range(500)])
    store.close()
    assert 100 <= count(file) <= 5_500
    assert count(file, "days", "sum(answers)") == 15_000


def test_removed_events_are_not_in_the_file_and_others_go_on_writing(tmp_path: Path) -> None:
    file = tmp_path / "statistics.sqlite"
    store, other = Store(file), Store(file)
    other.add([an_answer(1, outcome=Outcome.ACCEPTED, language="cobol")])
    store.purge()
    assert count(file) == count(file, "days") == count(file, "latencies") == count(file, "names") == 0
    assert b"cobol" not in file.read_bytes() + Path(f"{file}-wal").read_bytes()
    other.add([Kept(1, When.SOON, 0.5), an_answer(2, language="cobol")])
    store.add([an_answer(1, language="python")])
    with reading(file) as database:
        rows = database.execute(
            "SELECT name, kept_soon FROM answers JOIN names ON names.id = language ORDER BY answers.id"
        ).fetchall()
    assert rows == [("cobol", None), ("python", None)]
    store.close()
    other.close()


def test_kept_characters_are_added_once(tmp_path: Path) -> None:
    file = tmp_path / "statistics.sqlite"
    store = Store(file)
    store.add([an_answer(1, outcome=Outcome.ACCEPTED, accepted=40), Typed(time.time(), "python", "m", 12)])
    store.add([Kept(1, When.SOON, 0.75), Kept(1, When.SOON, 0.1), Kept(77, When.SOON, 0.1)])
    store.close()
    assert count(file, "days", "sum(soon)") == 30
    assert count(file, "days", "sum(soon_of)") == 40
    assert count(file, "answers", "sum(kept_soon)") == 750
    assert count(file, "typed", "sum(characters)") == 12


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "statistics.sqlite"
    Store(file).close()
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(NewerFile, match="newer version"):
        Store(file)
    with pytest.raises(NewerFile, match="newer version"), reading(file):
        pass


def test_only_the_user_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "state" / "statistics.sqlite"
    store = Store(file)
    store.add([an_answer(1)])
    if sys.platform != "win32":
        assert {entry.stat().st_mode & 0o077 for entry in (file.parent, *file.parent.iterdir())} == {0}
    store.close()


def test_a_full_disk_is_one_sentence_and_the_events_wait(tmp_path: Path) -> None:
    """The file may not grow: that is what SQLite sees of a full disk."""
    said: list[str] = []
    file = tmp_path / "statistics.sqlite"
    store = Store(file)
    store.database.execute("PRAGMA max_page_count = 10")
    recorder = Recorder(None, said.append)
    recorder.close()
    recorder._is_ending.clear()
    for number in range(2_000):
        recorder.put(an_answer(number))
    assert recorder._try(store) is None
    assert recorder._try(None) is None  # without a file
    assert len(said) == 2
    assert "full" in said[0]
    recorder._file = file
    with_room = recorder._try(None)
    assert with_room is not None
    assert recorder.problem is None
    assert count(file) == 2_000
    with_room.close()


def overwrite_the_beginning(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"Text of another program. " * 400)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"Text of another program. " * 400)
    other.replace(file)


@pytest.mark.parametrize("how", [overwrite_the_beginning, empty, replace, Path.unlink])
def test_no_event_is_lost_after_another_program_wrote_to_the_file(how: Callable[[Path], None], tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "statistics.sqlite"
    recorder = Recorder(file, said.append)
    recorder.close()
    first = Store(file)
    first.add([an_answer(1)])
    first.close()  # on the disk: the next is in the log beside the file
    recorder.put(an_answer(2))
    store = recorder._try(None)
    how(file)
    for number in range(10, 15):
        recorder.put(an_answer(number))
    store = recorder._try(store)
    recorder.put(an_answer(15))
    store = recorder._try(store)
    assert store is not None
    store.close()
    assert count(file) == 6
    assert recorder.problem is None
    assert all("were damaged: they are statistics.damaged.sqlite now" in sentence for sentence in said)
    assert len(said) == (how is not Path.unlink)


def test_no_event_is_lost_where_the_file_is_replaced_while_it_is_written(tmp_path: Path) -> None:
    class Replaced(Store):
        def add(self, events: Sequence[Event]) -> None:
            super().add(events)
            file.unlink()

    file = tmp_path / "statistics.sqlite"
    recorder = Recorder(file, lambda sentence: None)
    recorder.close()
    recorder.put(an_answer(1))
    store = recorder._try(Replaced(file))
    assert store is not None
    store.close()
    assert count(file) == 1


def test_the_recorder_writes_what_waits_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "statistics.sqlite"
    recorder = Recorder(file, lambda sentence: None)
    for number in range(100):
        recorder.put(an_answer(number))
    recorder.close()
    recorder._thread.join(100)
    assert count(file) == 100


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.001, 0.02, 0.4, 3.0, 100.0])
def test_latencies_are_right_to_a_twentieth(seconds: float) -> None:
    assert seconds_of(bucket_of(seconds)) == pytest.approx(max(seconds, 0.001), rel=0.05)
