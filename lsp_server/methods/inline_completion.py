"""`textDocument/inlineCompletion`: from a snapshot to an answer that every client can show.

What clients need of an item: a range on one line that starts at or before the cursor and covers exactly what the text
takes the place of; text that extends what is typed and what the menu has selected; plain strings;
line feeds as line ends.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server.documents import Documents
from lsp_server.language_server import MellumServer
from lsp_server.reporting.feedback import ACCEPTED
from lsp_server.reporting.silence import Silence, silence_of
from lsp_server.session import Session
from lsp_server.snapshot import Snapshot, take_snapshot
from lsp_server.wire.logs import shown_uri
from lsp_server.wire.protocol import Work, at_arrival

if TYPE_CHECKING:  # imported at run time only by the loading thread, see completer.py
    from engine import Alternative, Suggestion

_LAST_SECONDS = 60.0
"""After so long a request is answered, whatever the inference thread does: it may be stuck in a native library."""

_Answer = tuple[list[types.InlineCompletionItem], Silence | None]
"""What is shown, or why nothing is."""

log = logging.getLogger(__name__)


@at_arrival
def inline_completion(ls: MellumServer, params: types.InlineCompletionParams) -> Work[types.InlineCompletionList]:
    """Freeze what the request is about; what is returned computes the answer from that."""
    return partial(answer, ls.session, freeze(ls.session.documents, params))


def freeze(documents: Documents, params: types.InlineCompletionParams) -> Snapshot | Silence:
    """What a request is about, or why that cannot be said. Never raises."""
    if documents.open_document(params.text_document.uri) is None:
        return Silence.OUT_OF_STEP
    try:
        return take_snapshot(documents, params) or Silence.NOTHING
    except Exception:
        log.exception("No snapshot of %s at %s", shown_uri(params.text_document.uri), params.position)
        return Silence.FAILED


async def answer(session: Session, asked: Snapshot | Silence) -> types.InlineCompletionList:
    """Answer a request: empty where there is nothing to show, where something failed, and where it took too long.

    `asked`: what the request is about, or why that cannot be said. Each empty answer has its reason.
    Of several requests for a document the newest wins: the others are answered at once. Raises CancelledError if the
    client has cancelled this very request.
    """
    session.typed()
    items, silence = ([], asked) if isinstance(asked, Silence) else await _answer_at(session, asked)
    session.silences.add(silence)
    if silence is not None:
        where = shown_uri(asked.document.uri) if isinstance(asked, Snapshot) else "a document"
        log.debug("Nothing for %s: %s. %s", where, silence, silence.sentence)
    return types.InlineCompletionList(items=items)


async def _answer_at(session: Session, snapshot: Snapshot) -> _Answer:
    """Compute the items; never raises, but CancelledError where the client has cancelled."""
    try:
        if session.is_stale(snapshot):
            return [], Silence.SUPERSEDED
        if (silence := session.silence_for(snapshot)) is not None:
            return [], silence
        work = asyncio.create_task(_complete(session, snapshot))
        session.begin_work(snapshot.document.uri, work)
        async with asyncio.timeout(_LAST_SECONDS):
            return await work
    except asyncio.CancelledError:
        if (this := asyncio.current_task()) is not None and this.cancelling():
            raise  # by the client
        # by a newer request, by an edit, or because the model was let go
        return [], session.silence_for(snapshot) or Silence.SUPERSEDED
    except TimeoutError:
        log.error("No answer for %s within %s s", shown_uri(snapshot.document.uri), _LAST_SECONDS)
        return [], Silence.DEADLINE
    except Exception:
        # the language and the offset say where to look; the text is the user's own
        log.exception(
            "No suggestion for %s (%s) at offset %s of %s",
            shown_uri(snapshot.document.uri),
            snapshot.language,
            snapshot.start,
            len(snapshot.source),
        )
        return [], Silence.FAILED


async def _complete(session: Session, snapshot: Snapshot) -> _Answer:
    """Compute suggestions for the snapshot, the likeliest first; if there are none, or no longer, say why."""
    if (completer := session.completer) is None:
        return [], Silence.LOADING
    if await session.why_not(snapshot) is not None:
        return [], Silence.IGNORED
    snippets = await session.workspace.snippets_for(snapshot, completer)
    if session.completer is not completer:  # it was let go meanwhile
        return [], session.silence_for(snapshot) or Silence.LOADING
    context = session.workspace.context if completer.looks_up else None
    neighbours = context.neighbours_of(snapshot, completer.read) if context is not None else ()
    future = completer.submit(snapshot, snippets, neighbours, session.settings)
    try:
        suggestion = await asyncio.wrap_future(future)
    except _model_error() as error:
        session.lose_model(completer, str(error))
        return [], Silence.NO_MODEL
    if context is not None:
        context.look_around(snapshot, completer.read)
    session.statistics.add(suggestion)
    log.debug("Steps, in seconds: %s", dict(suggestion.timings))
    if session.is_stale(snapshot):
        return [], Silence.SUPERSEDED
    candidates: list[Suggestion | Alternative] = [suggestion, *suggestion.alternatives]
    shown = [candidate for candidate in candidates if candidate.text]
    if not shown:
        return [], silence_of(suggestion)
    identifier = session.feedback.show()  # of all that are shown together: one of them can be accepted
    made = [to_item(snapshot, candidate, identifier) for candidate in shown]
    items = [item for item in made if item is not None]
    return items, None if items else Silence.NOTHING


def _model_error() -> type[Exception]:
    from engine.model_folders.manifest import ModelError  # the loading thread has imported it by now

    return ModelError


def to_item(
    snapshot: Snapshot, suggestion: Suggestion | Alternative, identifier: str
) -> types.InlineCompletionItem | None:
    """Make the item that every client shows and accepts alike."""
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
