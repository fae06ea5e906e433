"""How many keystrokes the server saves, typing in real time: `python -m evaluation.typing`.

Types real functions of three packages (see `evaluation.harness.functions`) into their real files in their real
projects, key by key at 100 words a minute, against a real server over stdio. A suggestion that is right (all of it,
else its first line, else its first word) is taken once it has been there for 250 ms; a wrong one is typed over. Prints
keystrokes saved, time to suggestion, wrong time on screen, and CPU seconds; `--json FILE` keeps it, `--compare
FILE` sets an earlier run beside it, `--plot FILE` draws it. Without `--assistance` the user types each space of an
indentation; editors as they are installed indent new lines (`indent`), and VS Code closes brackets, too (`brackets`).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from engine.model_folders.locations import cache_folder
from evaluation.harness import report
from evaluation.harness.functions import Function, functions
from evaluation.harness.sides import Answer, Side, mellum
from evaluation.harness.typist import REACTION, Assistance, Page, Part, keys_alone, pauses, press, starts_wrong, take

WORDS_A_MINUTE = 100.0

Step = Literal["arrival", "character", "enter", "accept"]
"""What brought the cursor where it is."""


@dataclass(slots=True)
class Record:
    """What happened while one function was typed."""

    function: str
    characters: int
    keys_alone: int
    """Keys that it takes without suggestions."""
    keys: int = 0
    """Keys that it took, one for each suggestion that was taken among them."""
    taken: dict[Part, int] = field(default_factory=lambda: {"whole": 0, "line": 0, "word": 0})
    seconds: list[float] = field(default_factory=list)
    """Time to suggestion: of each request that was answered before the next key."""
    waits: list[float] = field(default_factory=list)
    """From each key to the next answer, be it to a later key's request, or to the end: nothing slow is left out."""
    superseded: int = 0
    """Requests that the next key made stale before they were answered."""
    computed: dict[Step, list[int]] = field(default_factory=lambda: {step: [] for step in get_args(Step)})
    """Prompt tokens computed, of each request that a model answered, by what came before it."""
    on_screen: float = 0.0
    """Seconds with a suggestion on screen."""
    wrong: float = 0.0
    """Seconds of them in which not even its first word was right."""
    flickers: int = 0
    """Suggestions that changed or vanished although what was typed agreed with them."""
    cpu_seconds: float = 0.0


class Screen:
    """The grey text that the user sees, and for how long it has been there."""

    def __init__(self, record: Record, clock: Callable[[], float]) -> None:
        self._record, self._clock = record, clock
        self._since = self._changed = clock()
        self.text, self.replaces = "", 0
        self._is_wrong = False

    @property
    def has_been_seen(self) -> bool:
        """Whether it has been there long enough to be taken."""
        return bool(self.text) and self._clock() - self._since >= REACTION

    def typed(self, page: Page, piece: str) -> None:
        """A key, or a part that was taken, has put `piece` there: what agrees stays, anything else goes."""
        left = self.text.removeprefix(piece) if self.text.startswith(piece) else ""
        self._show(page, left, self.replaces)

    def answered(self, page: Page, answer: Answer) -> None:
        """The server's answer replaces what is there."""
        kept = self.text
        if kept and not answer.text.startswith(kept):
            self._record.flickers += 1
        self._show(page, answer.text, answer.replaces)
        if not (kept and answer.text.startswith(kept)):
            self._since = self._changed

    def _show(self, page: Page, text: str, replaces: int) -> None:
        now = self._clock()
        if self.text:
            self._record.on_screen += now - self._changed
            self._record.wrong += (now - self._changed) * self._is_wrong
        self._changed = now
        self.text, self.replaces = text, replaces
        self._is_wrong = bool(text) and starts_wrong(page, text)


async def type_function(side: Side, function: Function, assistance: Assistance, words_a_minute: float) -> Record:
    """Type one function into its file in real time."""
    page = Page(function.before, function.after, function.text)
    record = Record(
        f"{function.package} {function.path} {function.name}", len(function.text), keys_alone(page, assistance)
    )
    pause = pauses(function.text, words_a_minute=words_a_minute, seed=function.name)
    clock = time.perf_counter
    await side.open(function, page)
    used = side.cpu_seconds()
    screen = Screen(record, clock)
    waiting = [clock()]
    asked = side.ask(page)
    step: Step = "arrival"
    key_at = waiting[0] + pause[0]
    while True:
        done, _ = await asyncio.wait([asked], timeout=max(key_at - clock(), 0))
        if done:
            answer = asked.result()
            record.seconds.append(answer.seconds)
            record.waits += [clock() - at for at in waiting]
            waiting.clear()
            if answer.computed is not None:
                record.computed[step].append(answer.computed)
            screen.answered(page, answer)
            await asyncio.sleep(max(key_at - clock(), 0))
        else:
            record.superseded += 1
            asked.cancel()
        taken = take(page, screen.text, screen.replaces) if screen.has_been_seen else None
        if taken is not None:
            part, piece, after = taken
            record.taken[part] += 1
            if part == "whole":
                side.taken()
            pressed, step = 1, "accept"
        else:
            after, pressed = press(page, assistance)
            piece = after.before[len(page.before) :]
            step = "enter" if piece.startswith("\n") else "character"
        record.keys += pressed
        page = after
        screen.typed(page, piece)
        if not page.rest:
            break
        waiting.append(clock())
        key_at = waiting[-1] + pause[page.written] * pressed
        asked = side.ask(page)
    record.waits += [clock() - at for at in waiting]
    await side.rest()
    record.cpu_seconds = side.cpu_seconds() - used
    return record


def main() -> None:
    """Run the simulation against our server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--model", help="a model's name or folder, for both servers; default: the chosen one")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="PYTHON",
        help="type in turns with the server of this environment, such as an older one",
    )
    arguments = parser.parse_args()
    report.give(asyncio.run(_run(arguments)), arguments)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to type, how, and what to do with the figures."""
    parser.add_argument("--functions", type=int, default=4, help="how many of each package; default: 4")
    parser.add_argument(
        "--assistance", choices=get_args(Assistance), default="none", help="what the editor does itself"
    )
    parser.add_argument("--words-a-minute", type=float, default=WORDS_A_MINUTE, help="default: 100")
    parser.add_argument("--json", type=Path, help="write the figures and every function's record to this file")
    parser.add_argument("--compare", type=Path, help="an earlier run's file, to print beside this one")
    parser.add_argument("--plot", type=Path, help="draw the figures into this file; wants the extra `evaluation`")


async def _run(arguments: argparse.Namespace) -> dict[str, list[report.Record]]:
    async with AsyncExitStack() as running:
        sides: list[Side] = [await running.enter_async_context(mellum(cache_folder(), model=arguments.model))]
        if arguments.beside:
            python = arguments.beside.absolute()
            other = mellum(cache_folder(), name="beside", python=python, model=arguments.model)
            sides.append(await running.enter_async_context(other))
        return await take_turns(sides, arguments)


async def take_turns(sides: list[Side], arguments: argparse.Namespace) -> dict[str, list[report.Record]]:
    """Type each function with each side, which go first in turns; returns the records by the names of the sides."""
    records: dict[str, list[report.Record]] = {side.name: [] for side in sides}
    for turn, function in enumerate(functions(arguments.functions)):
        first = turn % len(sides)
        for side in sides[first:] + sides[:first]:
            record = await type_function(side, function, arguments.assistance, arguments.words_a_minute)
            records[side.name].append(dataclasses.asdict(record))
            print(report.progress(side.name, records[side.name][-1]), flush=True)
    return records


if __name__ == "__main__":
    main()
