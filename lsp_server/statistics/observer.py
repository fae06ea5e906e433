"""Observes what becomes of suggestions in all documents, and has it written down. Lives on the event loop's thread.

LSP tells a server little: edits, requests, and that an item's command was run. A suggestion is on the screen from its
answer on; an edit at its place agrees with it or not; a request at another place means that the user has moved away.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, TypeVar, cast

from lsp_server.documents import Document, Edit
from lsp_server.snapshot import Snapshot
from lsp_server.statistics.events import SEEN, Answer, Event, Kept, Outcome, Typed, When, plain_name
from lsp_server.statistics.life import Facts, Life, Step
from lsp_server.statistics.samples import Sample, Surroundings
from lsp_server.statistics.standing import Standing, narrowed

if TYPE_CHECKING:  # imported at run time only by the loading thread, see completer.py
    from engine import Suggestion

_UNTIL_REPORTED = 1.0  # seconds in which the client says that an edit was an acceptance
_SOON, _LATER = 30.0, 300.0  # seconds after which it is looked what still stands
_FOLLOWED = 50  # accepted texts of a document
_PASTED = 60  # characters of one edit from which on they were not typed
_TYPED_EVERY = 5.0  # seconds
_REMEMBERED = 256  # identifiers

log = logging.getLogger(__name__)

Told = TypeVar("Told", bound=Callable[..., None])

_failed: set[str] = set()


def _safe(told: Told) -> Told:
    """Log an error instead of raising it: no request and no edit may suffer from statistics."""

    @wraps(told)
    def safe(*arguments: object, **options: object) -> None:
        try:
            told(*arguments, **options)
        except Exception:
            if told.__name__ not in _failed:  # what goes wrong at one keystroke does so at each
                _failed.add(told.__name__)
                log.exception("The statistics miss an event: %s", told.__name__)

    return cast(Told, safe)


@dataclass(slots=True)
class _Followed:
    """Accepted text that is looked at again."""

    number: int
    standing: Standing
    is_saved: bool = False
    is_old: bool = False


@dataclass(slots=True)
class _Page:
    """An open document."""

    document: Document
    language: str
    life: Life | None = None
    ending: Life | None = None
    """What the last edit has ended: the client may still say that it was accepted."""
    refused: Edit | None = None
    """The edit that ended it, if it did not agree."""
    typed: int = 0
    """Characters of the last edit that were counted as typed."""
    last_edit: float | None = None
    followed: deque[_Followed] = field(default_factory=lambda: deque(maxlen=_FOLLOWED))


class Observer:
    """What the session tells of documents and suggestions; `put` gets the events. Its methods never raise."""

    def __init__(self, put: Callable[[Event], None], model: Callable[[], str]) -> None:
        self._put, self._model = put, model
        self.collect: Callable[[Sample], None] | None = None
        """Gets samples with code, where the user wants them collected."""
        self._pages: dict[str, _Page] = {}
        self._lives: OrderedDict[str, tuple[_Page, Life, int]] = OrderedDict()
        """By identifier, with how much of it stood there when it was sent."""
        self._numbers = itertools.count(1)
        self._reports = False
        self._typed: Counter[tuple[str, str]] = Counter()
        self._typed_at = 0.0

    @_safe
    def edited(self, document: Document, before: str, edit: Edit) -> None:
        """A document was edited; `before` is its text before."""
        page = self._page(document)
        page.last_edit = time.monotonic()
        if page.ending is not None:
            self._end_now(page, page.ending, Outcome.REFUSED)
        has_standing = bool(page.followed) or (page.life is not None and page.life.accepted)
        if has_standing:
            narrow = narrowed(edit, before)
            for standing in [one.standing for one in page.followed] + ([page.life.standing] if page.life else []):
                standing.edited(narrow, before)
        self._count(page, edit)
        if (life := page.life) is None:
            return
        announced, life.is_announced = life.is_announced, False
        step = life.follow(edit, before, document.source)
        if step is Step.ELSEWHERE:
            return
        if announced:
            self._accept(page, life, narrowed(edit, before) if step is Step.OTHERWISE else None)
        if step is Step.OTHERWISE or life.is_finished:
            page.life, page.ending = None, life
            page.refused = narrowed(edit, before) if step is Step.OTHERWISE else None
            if announced:
                self._end_now(page, life, Outcome.REFUSED)
            else:
                asyncio.get_running_loop().call_later(_UNTIL_REPORTED, self._end_if_ending, page, life)

    @_safe
    def asked(self, snapshot: Snapshot) -> None:
        """A suggestion is asked for at a place."""
        if snapshot.document.source is not snapshot.source:
            return  # edited since: where the user was does not matter any more
        page = self._page(snapshot.document)
        life = page.life
        if life is not None and snapshot.end != life.position:
            self._end(page, life, Outcome.REFUSED if life.is_typed_over_at(snapshot.end) else Outcome.MOVED)

    @_safe
    def answered(self, snapshot: Snapshot, suggestion: Suggestion, identifier: str) -> None:
        """A suggestion is sent; `identifier` names it."""
        if snapshot.document.source is not snapshot.source:
            return  # edited since: the client does not show it
        page, now = self._page(snapshot.document), time.monotonic()
        # where a menu entry is selected, what is typed of it stands before the cursor, and the rest of it comes first
        text = (snapshot.selected + suggestion.text).removeprefix(snapshot.source[snapshot.start : snapshot.end])
        life = page.life
        is_same = life is not None and life.position == snapshot.end
        if life is not None and is_same and (text.startswith(life.rest) or life.rest.startswith(text)):
            life.text = life.text[: life.taken] + text  # typed through, or idle time has made the rest of it
        else:
            if life is not None:
                self._end(page, life, Outcome.LEFT)
            facts = Facts(
                number=next(self._numbers),
                at=time.time(),
                language=page.language,
                model=plain_name(suggestion.model) if suggestion.model else self._model(),
                place=suggestion.place or "",
                is_explicit=snapshot.explicit,
                probability=suggestion.probability,
                since_key=None if page.last_edit is None else max(snapshot.asked - page.last_edit, 0.0),
                total=now - snapshot.asked,
                seconds=suggestion.timings,
            )
            life = page.life = Life(facts, now, text, snapshot.end, suggestion.replaces)
            if self.collect is not None:
                shown = snapshot.cursor.document.shown
                life.surroundings = Surroundings.of(shown, snapshot.source, snapshot.end)
        self._lives[identifier] = page, life, life.taken
        if len(self._lives) > _REMEMBERED:
            self._lives.popitem(last=False)

    @_safe
    def silent(self, snapshot: Snapshot | None, reason: str, suggestion: Suggestion | None) -> None:
        """An answer was empty."""
        language = ""
        if snapshot is not None:
            page = self._page(snapshot.document)
            language = page.language
            if page.life is not None:
                self._end(page, page.life, Outcome.LEFT)
        self._write(
            Answer(
                number=next(self._numbers),
                at=time.time(),
                language=language,
                model=self._model(),
                outcome=Outcome.SILENT,
                reason=reason,
                place=(suggestion.place or "") if suggestion is not None else "",
                is_explicit=snapshot is not None and snapshot.explicit,
                total=0.0 if snapshot is None else time.monotonic() - snapshot.asked,
                seconds=suggestion.timings if suggestion is not None else {},
            )
        )

    @_safe
    def shown(self, identifier: str) -> None:
        """The client says that a suggestion is on the screen."""
        if (found := self._lives.get(identifier)) is not None:
            self._reports = found[1].is_reported = True

    @_safe
    def accepted(self, identifier: str) -> None:
        """The client says that a suggestion, or the next part of it, was accepted by a key."""
        if (found := self._lives.get(identifier)) is None:
            return
        page, life, taken = found
        if life is page.ending:
            self._accept(page, life, page.refused)
            self._end_now(page, life, Outcome.REFUSED)
        elif life is page.life and not (life.has_part_since(taken) and self._accept(page, life)):
            life.is_announced = True  # the edit follows

    @_safe
    def dismissed(self, identifier: str) -> None:
        """The client says that the user has sent a suggestion away."""
        if (found := self._lives.get(identifier)) is not None and found[0].life is found[1]:
            self._end(found[0], found[1], Outcome.DISMISSED)

    @_safe
    def saved(self, document: Document) -> None:
        """A document was saved: look at what was accepted since."""
        page = self._page(document)
        for followed in page.followed:
            if not followed.is_saved:
                followed.is_saved = True
                self._put(Kept(followed.number, When.SAVED, followed.standing.share(document.source)))
        self._drop_old(page)

    @_safe
    def closed(self, uri: str) -> None:
        """A document was closed."""
        if (page := self._pages.pop(uri, None)) is not None:
            self._end_all(page)
            for identifier in [name for name, (its, *_) in self._lives.items() if its is page]:
                del self._lives[identifier]

    @_safe
    def close(self) -> None:
        """The session ends."""
        for uri in list(self._pages):
            self.closed(uri)
        self._write_typed()

    def _page(self, document: Document) -> _Page:
        page = self._pages.get(document.uri)
        if page is None or page.document is not document:
            if page is not None:  # it was opened anew
                self._end_all(page)
            page = self._pages[document.uri] = _Page(document, plain_name(document.language_id or ""))
        return page

    def _accept(self, page: _Page, life: Life, everything: Edit | None = None) -> bool:
        """Count the last piece as accepted, not typed; False if there is none."""
        accepted = life.accept_last(page.document.source, everything)
        if accepted and page.typed:
            self._typed[page.language, self._model()] -= page.typed
            page.typed = 0
        return bool(accepted)

    def _end(self, page: _Page, life: Life, outcome: Outcome) -> None:
        """The suggestion on the screen has ended."""
        page.life = None
        self._write_end(page, life, outcome)

    def _end_now(self, page: _Page, life: Life, outcome: Outcome) -> None:
        """What was about to end has ended."""
        page.ending = page.refused = None
        self._write_end(page, life, outcome)

    def _end_if_ending(self, page: _Page, life: Life) -> None:
        if page.ending is life:
            self._end_now(page, life, Outcome.REFUSED)

    def _end_all(self, page: _Page) -> None:
        if page.ending is not None:
            self._end_now(page, page.ending, Outcome.REFUSED)
        if page.life is not None:
            self._end(page, page.life, Outcome.LEFT)

    def _write_end(self, page: _Page, life: Life, outcome: Outcome) -> None:
        answer = life.end(outcome, time.monotonic(), reports=self._reports)
        self._write(answer)
        if life.surroundings is not None and answer.outcome in SEEN:
            asyncio.get_running_loop().call_later(_SOON, self._sample, page, life, answer)
        if life.accepted:
            followed = _Followed(life.facts.number, life.standing)
            page.followed.append(followed)
            loop = asyncio.get_running_loop()
            loop.call_later(_SOON, self._look, page, followed, When.SOON)
            loop.call_later(_LATER, self._look, page, followed, When.LATER)

    def _look(self, page: _Page, followed: _Followed, when: When) -> None:
        """See what still stands, unless the document was closed meanwhile."""
        if self._pages.get(page.document.uri) is page:
            self._put(Kept(followed.number, when, followed.standing.share(page.document.source)))
            followed.is_old = when is When.LATER
            self._drop_old(page)

    def _sample(self, page: _Page, life: Life, answer: Answer) -> None:
        """Collect a sample, unless the place is gone or the document was closed meanwhile."""
        where = life.surroundings
        if self.collect is None or where is None or self._pages.get(page.document.uri) is not page:
            return
        if (written := where.written_in(page.document.text)) is not None:
            self.collect(
                Sample(
                    at=answer.at,
                    language=answer.language,
                    model=answer.model,
                    surroundings=where,
                    suggestion=life.text,
                    outcome=answer.outcome,
                    is_finished=answer.is_finished,
                    written=written,
                )
            )

    def _drop_old(self, page: _Page) -> None:
        while page.followed and page.followed[0].is_old and page.followed[0].is_saved:
            page.followed.popleft()

    def _count(self, page: _Page, edit: Edit) -> None:
        """Count what was typed; what is long or has several lines was pasted or formatted."""
        is_typed = len(edit.text) <= _PASTED and edit.text.count("\n") <= 1 and edit.end - edit.start <= _PASTED
        page.typed = len(edit.text) if is_typed else 0
        if page.typed:
            self._typed[page.language, self._model()] += page.typed
            if time.monotonic() - self._typed_at > _TYPED_EVERY:
                self._write_typed()

    def _write_typed(self) -> None:
        self._typed_at = time.monotonic()
        for (language, model), characters in self._typed.items():
            if characters:
                self._put(Typed(time.time(), language, model, characters))
        self._typed.clear()

    def _write(self, answer: Answer) -> None:
        self._put(answer)
        if time.monotonic() - self._typed_at > _TYPED_EVERY:
            self._write_typed()
