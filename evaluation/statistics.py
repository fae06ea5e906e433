"""What the statistics cost and stand: `python -m evaluation.statistics cost | size | writers | kill | gate`.

`cost`: microseconds that observing one keystroke takes on the event loop. `size`: a million answers are written; prints
the file's megabytes and the seconds of `mellum-lsp stats` over it. `writers`: three processes write for a minute, and
each event must be there. `kill`: a writer is killed 200 times, and the file must be whole each time. `gate`: what the
gate learns from users whose suggestions are right more or less often than the model says; `evaluation.learned_gate`
measures what that is worth.

On two busy cores: 14 us a keystroke (p99 80 us) with 20 accepted texts that are followed; 68 MB for a million answers
of a year, over which `stats` uses the processor for 1.3 s; 454,820 events of three writers in a minute, none lost; 200
kills, each time a whole file.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import queue
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lsprotocol import types

from engine import StopReason, Suggestion
from lsp_server.documents import Document
from lsp_server.snapshot import Snapshot
from lsp_server.statistics.events import STATE_VARIABLE, STEPS, Answer, Event, Kept, Outcome, Typed, When
from lsp_server.statistics.gate import LEAST_EVENTS, Calibration, calibrations_of
from lsp_server.statistics.observer import Observer
from lsp_server.statistics.store import Store, reading
from syntax import Cursor, identify
from syntax.children import child_environment, start_python

_LANGUAGES = ("python", "typescript", "rust", "go", "markdown")
_SHIPPED = 0.7
_REASONS = ("gate", "nothing to say", "deadline", "off here")


def an_answer(
    number: int,
    *,
    at: float | None = None,
    language: str = "python",
    outcome: Outcome = Outcome.REFUSED,
    reason: str = "",
    probability: float = 0.8,
    accepted: int = 0,
    total: float = 0.05,
) -> Answer:
    """An answer as the server writes it down."""
    is_taken = outcome in (Outcome.ACCEPTED, Outcome.TYPED)
    return Answer(
        number=number,
        at=time.time() if at is None else at,
        language=language,
        model="smollm2-135m",
        outcome=outcome,
        reason=reason,
        place="statement",
        probability=probability,
        characters=40,
        lines=1,
        taken=40 if is_taken else 0,
        accepted=accepted,
        is_finished=is_taken,
        on_screen=1.2,
        since_key=0.03,
        total=total,
        seconds=dict.fromkeys(STEPS, total / 5),
    )


def some_days(days: int, answers: int, seed: int = 1) -> list[Event]:
    """What a user's days bring, the newest last: answers with outcomes, and what was kept and typed."""
    chance = random.Random(seed)
    now, events = time.time(), list[Event]()
    for number in range(1, answers + 1):
        at = now - 86400 * days * (1 - number / answers)
        language = chance.choices(_LANGUAGES, (8, 5, 3, 2, 1))[0]
        is_silent = chance.random() < 0.45
        probability = 1 - 0.3 * chance.random() ** 1.6
        is_right = chance.random() < probability ** (1.0 + 0.6 * (language == "markdown"))
        right = chance.choices((Outcome.ACCEPTED, Outcome.BY_WORD, Outcome.TYPED), (6, 1, 3))[0]
        wrong = chance.choices((Outcome.REFUSED, Outcome.MOVED, Outcome.DISMISSED, Outcome.LEFT), (6, 2, 1, 1))[0]
        outcome = Outcome.SILENT if is_silent else right if is_right else wrong
        accepted = round(chance.expovariate(1 / 28)) + 3 if outcome in (Outcome.ACCEPTED, Outcome.BY_WORD) else 0
        events.append(
            an_answer(
                number,
                at=at,
                language=language,
                outcome=outcome,
                reason=chance.choices(_REASONS, (8, 3, 2, 1))[0] if is_silent else "",
                probability=probability,
                accepted=accepted,
                total=min(0.0015 if chance.random() < 0.3 else chance.lognormvariate(-2.6, 0.7), 4.0),
            )
        )
        events.append(Typed(at, language, "smollm2-135m", chance.randrange(20, 60)))
        if accepted:
            share = chance.choices((1.0, 0.8, 0.3), (8, 2, 1))[0]
            events += [Kept(number, When.SOON, share), Kept(number, When.LATER, share * 0.95)]
            events.append(Kept(number, When.SAVED, share * 0.9))
    return events


def write_days(file: Path, days: int, answers: int) -> None:
    """Write `some_days` into a file."""
    store = Store(file)
    events = some_days(days, answers)
    for start in range(0, len(events), 3_000):
        store.add(events[start : start + 3_000])
    store.close()


def start_writer(file: Path, batches: int, events: int, seconds: float = 3600.0) -> subprocess.Popen[bytes]:
    """Start a process that writes batches of so many events to a file, until it has written them or time is up.

    It prints how many events it wrote.
    """
    numbers = (str(batches), str(events), str(seconds))
    return start_python("evaluation.statistics", "write", str(file), *numbers, stdout=subprocess.PIPE)


async def cost() -> None:
    """Print what observing one keystroke takes on the event loop, with accepted texts that are followed."""
    events: list[Event] = []
    for lines in (100, 10_000):
        text = "value = compute(first, second)\n" * lines + "result = "
        rest = "compute(first, second) + value * 2 - other.attribute"
        keys = _observe(text, rest, events)
        print(f"a keystroke in {lines:,} lines, typed through: p50 {keys[0]:.1f} us, p99 {keys[1]:.1f} us")
    recorded: queue.SimpleQueue[Event] = queue.SimpleQueue()
    began = time.perf_counter()
    for number in range(10_000):
        recorded.put(an_answer(number))
    print(f"an event made and queued: {1e2 * (time.perf_counter() - began):.1f} us")


def _observe(text: str, rest: str, events: list[Event]) -> tuple[float, float]:
    document = Document("file:///a.py", source=text, language_id="python")
    identity = identify("file:///a.py", [])
    observer = Observer(events.append, lambda: "smollm2-135m")
    took: list[float] = []
    for turn in range(40):
        for index, key in enumerate(rest[:-1]):
            end = len(document.source)
            position = document.client_position_at_offset(end)
            before = document.source
            edit = document.apply_change(
                types.TextDocumentContentChangePartial(range=types.Range(position, position), text=key)
            )
            assert edit is not None
            source = document.source
            cursor = Cursor(identity, "python", source, end + 1)
            snapshot = Snapshot(document, source, cursor, False, "", end + 1, end + 1)
            suggestion = Suggestion(rest[index + 1 :], 0, (), (), StopReason.BLOCK, 100, 100)
            name = f"{turn}-{index}"
            began = time.perf_counter()
            observer.edited(document, before, edit)
            observer.asked(snapshot)
            observer.answered(snapshot, suggestion, name)
            took.append(1e6 * (time.perf_counter() - began))
            if index == 4 and turn < 20:
                observer.accepted(name)
        observer.asked(dataclasses.replace(snapshot, end=0))  # elsewhere
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def size(answers: int) -> None:
    """Write a million answers, and read them as a user does."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "statistics.sqlite"
        began = time.perf_counter()
        write_days(file, days=365, answers=answers)
        written = time.perf_counter() - began
        with reading(file) as database:
            [kept] = database.execute("SELECT count(*) FROM answers").fetchone()
        print(f"{answers:,} answers in 365 days: {file.stat().st_size / 1e6:.0f} MB, {kept:,} rows, {written:.0f} s")
        for options in (["--json"], ["--gate"], ["--html", str(Path(folder) / "page.html")], []):
            began, used = time.perf_counter(), _seconds_of_children()
            environment = child_environment({STATE_VARIABLE: folder})
            command = start_python("lsp_server.cli", "stats", *options, env=environment, stdout=subprocess.DEVNULL)
            if command.wait():
                raise SystemExit("mellum-lsp stats has failed")
            spent = _seconds_of_children() - used
            name = " ".join(options)[:6]
            print(f"mellum-lsp stats {name:6} {time.perf_counter() - began:.2f} s, {spent:.2f} s of the processor")


def _seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def writers(count: int, seconds: float) -> int:
    """Let several processes write at once; returns how many events were lost."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "statistics.sqlite"
        running = [start_writer(file, 10**9, 20, seconds) for _ in range(count)]
        written = [int(process.communicate()[0]) for process in running]
        with reading(file) as database:
            [found] = database.execute("SELECT count(*) FROM answers").fetchone()
        print(f"{count} writers, {seconds:.0f} s: {sum(written):,} events written, {found:,} in the file")
        return sum(written) - int(found)


def kill(times: int) -> int:
    """Kill a writer again and again; returns how often the file was not whole."""
    broken, chance, events = 0, random.Random(3), 7
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "statistics.sqlite"
        for turn in range(times):
            process = start_writer(file, 10**9, events)
            while not file.exists() or (turn == 0 and _answers(file) < 1):
                time.sleep(0.01)
            before = _answers(file)
            while _answers(file) <= before:
                time.sleep(0.005)
            time.sleep(chance.random() * 0.05)
            process.kill()
            process.communicate()
            with reading(file) as database:
                [[check]] = database.execute("PRAGMA integrity_check").fetchall()
                [summed] = database.execute("SELECT sum(answers) FROM days").fetchone()
            broken += check != "ok" or summed != _answers(file) or summed % events != 0
        print(f"{times} kills, {_answers(file):,} events: {broken} files that were not whole")
    return broken


def _answers(file: Path) -> int:
    try:
        with reading(file) as database:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
    except Exception:  # no tables yet
        return 0


def gate(confidence: float = _SHIPPED) -> None:
    """Print the gate by how many suggestions were seen, and how far the model's probabilities are true for the user."""
    counts = (10, 50, 100, 300, 500, 1_000, 5_000)
    print("exponent " + " ".join(f"{count:>7,}" for count in counts) + "   would be right")
    for true in (0.5, 0.8, 1.0, 1.5, 2.5):
        learned = [[_learn(true, count, seed).gate(confidence) for seed in range(20)] for count in counts]
        means = " ".join(f"{sum(gates) / len(gates):7.2f}" for gates in learned)
        print(f"{true:8} {means} {confidence ** (1 / true):10.2f}")
    print(f"under {LEAST_EVENTS} suggestions nothing changes")


def _learn(true: float, count: int, seed: int) -> Calibration:
    chance, counts = random.Random(seed), Counter[tuple[float, bool]]()
    for _ in range(count):
        stated = round(1 - 0.3 * chance.random() ** 1.3, 2)
        counts[stated, chance.random() < stated**true] += 1
    return fit(counts)


def fit(counts: Counter[tuple[float, bool]]) -> Calibration:
    """What these outcomes teach: how often a suggestion of a stated probability was right, and was not."""
    outcomes = {stated: (counts[stated, True], counts[stated, False]) for stated, _ in counts}
    return calibrations_of({("model", "python"): outcomes})["model", "python"]


def _write(file: Path, batches: int, events: int, seconds: float) -> None:
    until, store, written = time.monotonic() + seconds, Store(file), 0
    for _ in range(batches):
        if time.monotonic() > until:
            break
        store.add([an_answer(written + number, outcome=Outcome.ACCEPTED, accepted=9) for number in range(events)])
        written += events
    store.close()
    print(written, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cost")
    commands.add_parser("size").add_argument("--answers", type=int, default=1_000_000)
    writing = commands.add_parser("writers")
    writing.add_argument("--count", type=int, default=3)
    writing.add_argument("--seconds", type=float, default=60.0)
    commands.add_parser("kill").add_argument("--times", type=int, default=200)
    commands.add_parser("gate")
    one = commands.add_parser("write", help="what `writers` and `kill` start")
    one.add_argument("file", type=Path)
    for name, kind in (("batches", int), ("events", int), ("seconds", float)):
        one.add_argument(name, type=kind)
    chosen = parser.parse_args(arguments)
    match chosen.command:
        case "cost":
            asyncio.run(cost())
        case "size":
            size(chosen.answers)
        case "writers":
            return int(writers(chosen.count, chosen.seconds) != 0)
        case "kill":
            return int(kill(chosen.times) != 0)
        case "gate":
            gate()
        case "write":
            _write(chosen.file, chosen.batches, chosen.events, chosen.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
