"""The observer with real documents, in an event loop: each suggestion ends once, and its text is looked at again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from engine import StopReason, Suggestion
from lsp_server.documents import Document
from lsp_server.snapshot import Snapshot
from lsp_server.statistics import observer as observing
from lsp_server.statistics.events import Answer, Event, Kept, Outcome, Typed, When
from lsp_server.statistics.observer import Observer
from syntax import Cursor, identify

URI = "file:///module.py"
IDENTITY = identify(URI, [])


class Desk:
    """A user with one document."""

    def __init__(self, text: str = "x = ") -> None:
        self.events: list[Event] = []
        self.observer = Observer(self.events.append, lambda: "model")
        self.document = Document(URI, source=text, language_id="python")
        self.cursor = len(text)
        self._answers = 0

    def edit(self, start: int, end: int, text: str) -> None:
        positions = [self.document.client_position_at_offset(offset) for offset in (start, end)]
        before = self.document.source
        edit = self.document.apply_change(
            types.TextDocumentContentChangePartial(range=types.Range(*positions), text=text)
        )
        assert edit is not None
        self.cursor = start + len(text)
        self.observer.edited(self.document, before, edit)

    def snapshot(self) -> Snapshot:
        source = self.document.source
        cursor = Cursor(IDENTITY, "python", source, self.cursor)
        return Snapshot(self.document, source, cursor, False, "", self.cursor, self.cursor)

    def ask(self, text: str) -> str:
        snapshot = self.snapshot()
        self._answers += 1
        name = f"suggestion-{self._answers}"
        self.observer.asked(snapshot)
        self.observer.answered(snapshot, Suggestion(text, 0, (), (), StopReason.BLOCK, 9, 0, 0.8), name)
        return name

    def accept(self, text: str) -> str:
        name = self.ask(text)
        self.edit(self.cursor, self.cursor, text)
        self.observer.accepted(name)
        return name

    @property
    def answers(self) -> list[Answer]:
        return [event for event in self.events if isinstance(event, Answer)]

    @property
    def outcomes(self) -> list[Outcome]:
        return [answer.outcome for answer in self.answers]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not condition():  # noqa: ASYNC110 - timers of the observer
            await asyncio.sleep(0.01)


async def test_what_still_stands_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "_SOON", 0.05)
    monkeypatch.setattr(observing, "_LATER", 0.5)
    desk = Desk()
    desk.accept("first + second")
    kept: Callable[[], list[Event]] = lambda: [event for event in desk.events if isinstance(event, Kept)]  # noqa: E731
    await until(lambda: len(kept()) == 1)
    desk.edit(4, 9, "third")
    await until(lambda: len(kept()) == 2)
    [soon, later] = kept()
    assert soon == Kept(1, When.SOON, 1.0)
    assert later == Kept(1, When.LATER, pytest.approx(1 - 5 / 12))


async def test_a_report_before_the_edit() -> None:
    desk = Desk()
    name = desk.ask("first + second")
    desk.observer.accepted(name)
    desk.edit(desk.cursor, desk.cursor, "first + second")
    assert desk.outcomes == [Outcome.ACCEPTED]


async def test_an_acceptance_is_not_typed() -> None:
    desk = Desk()
    desk.edit(4, 4, "abc")
    desk.accept("first")
    desk.observer.close()
    assert sum(event.characters for event in desk.events if isinstance(event, Typed)) == 3
    assert desk.outcomes == [Outcome.ACCEPTED]


async def test_an_edit_that_nothing_reported_was_typed_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "_UNTIL_REPORTED", 0.05)
    desk = Desk()
    desk.observer.shown(desk.ask("first"))
    desk.edit(4, 4, "first")
    assert desk.outcomes == []
    await until(lambda: desk.outcomes == [Outcome.TYPED])


async def test_text_that_grows_is_the_same_suggestion() -> None:
    """What was cut by the deadline comes whole later; what is typed of it comes from the cache."""
    desk = Desk()
    desk.ask("first")
    desk.ask("first + second")
    desk.edit(4, 4, "f")
    name = desk.ask("irst + second")
    desk.edit(5, 5, "irst + second")
    desk.observer.accepted(name)
    [answer] = desk.answers
    assert (answer.characters, answer.taken, answer.accepted) == (14, 14, 13)
    assert answer.outcome is Outcome.ACCEPTED  # all that was left of it, by one key


async def test_a_request_that_an_edit_has_overtaken_moves_nothing() -> None:
    """A handler may begin after the next edit: its place is that of the older text."""
    desk = Desk()
    name = desk.ask("first")
    overtaken = desk.snapshot()
    desk.edit(4, 4, "f")
    desk.observer.asked(overtaken)
    desk.edit(5, 5, "irst")
    desk.observer.accepted(name)
    assert desk.outcomes == [Outcome.ACCEPTED]


@pytest.mark.parametrize("asks", [True, False])
async def test_a_report_before_the_edit_takes_no_typed_character_for_accepted(asks: bool) -> None:
    """The beginning is typed; then the rest is accepted, and the client says so before it sends the edit."""
    desk = Desk()
    name = desk.ask("first + second")
    desk.edit(4, 4, "f")
    if asks:
        name = desk.ask("irst + second")
    desk.observer.accepted(name)
    desk.edit(5, 5, "irst + second")
    [answer] = desk.answers
    assert (answer.outcome, answer.taken, answer.accepted) == (Outcome.ACCEPTED, 14, 13)


async def test_line_ends_of_the_document_agree() -> None:
    desk = Desk("if x:\r\n    ")
    desk.accept("first()\r\n    second()")
    assert desk.outcomes == [Outcome.ACCEPTED]


class Lost(Exception):
    """The observer logged an error."""


Moves = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), st.integers(0, 30), st.integers(0, 4), st.text("ab()\n", max_size=4)),
        st.tuples(st.just("ask"), st.text("ab()\n", min_size=1, max_size=6)),
        st.tuples(st.just("accept"), st.text("ab()\n", min_size=1, max_size=6)),
        st.tuples(st.just("report"), st.integers(0, 5)),
        st.tuples(st.just("type"), st.text("ab()\n", min_size=1, max_size=2)),
        st.tuples(st.just("save")),
    ),
    max_size=25,
)


@given(Moves)
def test_whatever_happens_each_suggestion_ends_once(moves: list[tuple[object, ...]]) -> None:
    asyncio.run(play(moves))


async def play(moves: list[tuple[object, ...]]) -> None:
    observing._failed.clear()
    desk = Desk()
    for kind, *more in moves:
        match kind, *more:
            case "edit", int(at), int(length), str(text):
                start = min(at, len(desk.document.source))
                desk.edit(start, min(start + length, len(desk.document.source)), text)
            case "ask", str(text):
                desk.ask(text)
            case "accept", str(text):
                desk.accept(text)
            case "report", int(number):
                desk.observer.accepted(f"suggestion-{number}")
            case "type", str(text):
                desk.edit(desk.cursor, desk.cursor, text)
            case _:
                desk.observer.saved(desk.document)
    desk.observer.closed(URI)
    desk.observer.close()
    assert not observing._failed
    assert max(Counter(answer.number for answer in desk.answers).values(), default=1) == 1
    numbers = {answer.number for answer in desk.answers}
    assert numbers == set(range(1, max(numbers, default=0) + 1))
    for answer in desk.answers:
        assert 0 <= answer.accepted <= answer.taken <= answer.characters
        assert (answer.accepted > 0) == answer.outcome.startswith("accepted")
    for event in desk.events:
        assert not isinstance(event, Kept) or (event.number in numbers and 0 <= event.share <= 1)
