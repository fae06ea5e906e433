"""`textDocument/inlineCompletion`: from a snapshot to an answer that every client can show.

What clients need of an item: a range on one line that starts at or before the cursor and covers exactly the text that
the item replaces; a text that extends the typed prefix and the menu's selection; plain strings; line feeds.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server.documents import Documents
from lsp_server.language_server import MellumServer
from lsp_server.reporting.feedback import ACCEPTED
from lsp_server.reporting.silence import Silence, silence_of
from lsp_server.session import Session
from lsp_server.snapshot import Snapshot, take_snapshot
from lsp_server.statistics.observer import Observer
from lsp_server.wire.logs import shown_uri
from lsp_server.wire.protocol import Work, at_arrival

if TYPE_CHECKING:  # imported at run time only by the loading thread, see completer.py
    from engine import Alternative, Suggestion

_LAST_SECONDS = 60.0
"""Longest time to an answer: the inference thread may be stuck in a native library."""

_Reply = types.InlineCompletionList | None
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The items, or the reason for an empty answer."""

    items: list[types.InlineCompletionItem]
    silence: Silence | None
    suggestion: Suggestion | None = None
    """What the model said."""
    identifier: str = ""
    """Of the suggestion, in the items' commands."""


def _nothing(silence: Silence, suggestion: Suggestion | None = None) -> _Answer:
    return _Answer([], silence, suggestion)


@at_arrival
def inline_completion(ls: MellumServer, params: types.InlineCompletionParams) -> Work[_Reply]:
    """Take the snapshot; the returned function computes the answer from it."""
    return partial(answer, ls.session, freeze(ls.session.documents, params))


def freeze(documents: Documents, params: types.InlineCompletionParams) -> Snapshot | Silence:
    """The snapshot of a request, or the reason why there is none. Never raises."""
    if documents.open_document(params.text_document.uri) is None:
        return Silence.OUT_OF_STEP
    try:
        return take_snapshot(documents, params) or Silence.NOTHING
    except Exception:
        log.exception("No snapshot of %s at %s", shown_uri(params.text_document.uri), params.position)
        return Silence.FAILED


async def answer(session: Session, asked: Snapshot | Silence) -> _Reply:
    """Answer a request; the answer is empty if there is nothing to show, after an error, and after the longest time.

    `asked`: the snapshot, or the reason why there is none. Each empty answer has a reason. Of several requests for a
    document the newest wins: the others get None at once, on which Neovim keeps what it shows (it does not look for
    which text an answer is, and an empty list takes the grey text away). Raises CancelledError if the client cancelled
    this request.
    """
    session.typed()
    if session.observer is not None and isinstance(asked, Snapshot):
        session.observer.asked(asked)
    found = _nothing(asked) if isinstance(asked, Silence) else await _answer_at(session, asked)
    items, silence = found.items, found.silence
    session.silences.add(silence)
    if session.observer is not None:
        _observe(session.observer, asked, found)
    if silence is not None:
        where = shown_uri(asked.document.uri) if isinstance(asked, Snapshot) else "a document"
        log.debug("Nothing for %s: %s. %s", where, silence, silence.sentence)
    return None if silence is Silence.SUPERSEDED else types.InlineCompletionList(items=items)


def _observe(observer: Observer, asked: Snapshot | Silence, found: _Answer) -> None:
    """Tell the statistics of an answer. Those that are superseded are never seen, and are not counted."""
    if found.silence is None and found.suggestion is not None and isinstance(asked, Snapshot):
        observer.answered(asked, found.suggestion, found.identifier)
    elif found.silence is not None and found.silence is not Silence.SUPERSEDED:
        observer.silent(asked if isinstance(asked, Snapshot) else None, found.silence, found.suggestion)


async def _answer_at(session: Session, snapshot: Snapshot) -> _Answer:
    """Compute the items. Raises CancelledError if the client cancelled the request, and nothing else."""
    try:
        if session.is_stale(snapshot):
            return _nothing(Silence.SUPERSEDED)
        if (silence := session.silence_for(snapshot)) is not None:
            return _nothing(silence)
        work = asyncio.create_task(_complete(session, snapshot))
        session.begin_work(snapshot.document.uri, work)
        async with asyncio.timeout(_LAST_SECONDS):
            return await work
    except asyncio.CancelledError:
        if (this := asyncio.current_task()) is not None and this.cancelling():
            raise  # by the client
        # by a newer request, by an edit, or because the model was unloaded
        return _nothing(session.silence_for(snapshot) or Silence.SUPERSEDED)
    except TimeoutError:
        log.error("No answer for %s within %s s", shown_uri(snapshot.document.uri), _LAST_SECONDS)
        return _nothing(Silence.DEADLINE)
    except Exception:
        # the language and the offset help to find the error; the text of the document is private
        log.exception(
            "No suggestion for %s (%s) at offset %s of %s",
            shown_uri(snapshot.document.uri),
            snapshot.cursor.language,
            snapshot.start,
            len(snapshot.source),
        )
        return _nothing(Silence.FAILED)


async def _complete(session: Session, snapshot: Snapshot) -> _Answer:
    """Compute suggestions for the snapshot, the likeliest first, or the reason for an empty answer."""
    if (completer := session.completer) is None:
        return _nothing(Silence.LOADING)
    if await session.why_not(snapshot) is not None:
        if session.workspace.context is None:  # its rules are not known
            return _nothing(Silence.LOADING if session.workspace.is_being_made else Silence.FAILED)
        return _nothing(Silence.IGNORED)
    snippets = await session.workspace.snippets_for(snapshot, completer)
    if session.completer is not completer:  # it was unloaded meanwhile
        return _nothing(session.silence_for(snapshot) or Silence.LOADING)
    neighbours = session.workspace.neighbours_of(snapshot, completer)
    future = completer.submit(
        snapshot, snippets, neighbours, session.settings, confidence=session.confidence_in(snapshot.cursor.language)
    )
    try:
        suggestion = await asyncio.wrap_future(future)
    except _model_error() as error:
        session.lose_model(completer, str(error))
        return _nothing(Silence.NO_MODEL)
    except _unavailable():
        return _nothing(Silence.REMOTE)
    session.workspace.look_around(snapshot, completer)
    session.statistics.add(suggestion)
    log.debug("Steps, in seconds: %s", dict(suggestion.timings))
    if session.is_stale(snapshot):
        return _nothing(Silence.SUPERSEDED)
    candidates: list[Suggestion | Alternative] = [suggestion, *suggestion.alternatives]
    shown = [candidate for candidate in candidates if candidate.text]
    if not shown:
        return _nothing(silence_of(suggestion) or Silence.NOTHING, suggestion)
    identifier = session.feedback.show()  # one for all items of an answer: the user can accept one of them
    made = [to_item(snapshot, candidate, identifier) for candidate in shown]
    items = [item for item in made if item is not None]
    return _Answer(items, None if items else Silence.NOTHING, suggestion, identifier)


def _model_error() -> type[Exception]:
    from engine.model_folders.manifest import ModelError  # the loading thread has imported it already

    return ModelError


def _unavailable() -> type[Exception]:
    from engine import Unavailable

    return Unavailable


def to_item(
    snapshot: Snapshot, suggestion: Suggestion | Alternative, identifier: str
) -> types.InlineCompletionItem | None:
    """Make an item that every client shows and accepts in the same way; None if the range leaves its line."""
    text = suggestion.text.replace("\r\n", "\n")
    document = snapshot.document
    end = snapshot.end + suggestion.replaces
    range_ = types.Range(document.client_position_at_offset(snapshot.start), document.client_position_at_offset(end))
    if range_.start.line != range_.end.line:
        log.warning("A suggestion that replaces the end of a line cannot be shown")
        return None
    command = types.Command(title="Accepted", command=ACCEPTED, arguments=[identifier])
    whole = snapshot.selected + text
    return types.InlineCompletionItem(insert_text=whole, filter_text=whole, range=range_, command=command)
