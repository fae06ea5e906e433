"""Warm-up: reads the files near a document, and computes the state for the place of the cursor, ahead of requests.

Some editors send a request with every keystroke, others after a pause; the warm-up uses that pause.
"""

from __future__ import annotations

import asyncio
import logging

from lsp_server.session import Session
from lsp_server.snapshot import Snapshot
from lsp_server.wire.logs import shown_uri

_REST_SECONDS = 0.03  # an editor that sends a request with every keystroke has sent it by then

log = logging.getLogger(__name__)


async def warm_up(session: Session, snapshot: Snapshot) -> None:
    """Wait for a moment, then compute ahead for the place. A request and an edit cancel this."""
    await asyncio.sleep(_REST_SECONDS)
    if session.silence_for(snapshot) is not None or (completer := session.completer) is None:
        return
    try:
        if await session.why_not(snapshot) is not None:
            return
        session.workspace.look_around(snapshot, completer)
        snippets = await session.workspace.snippets_for(snapshot, completer)
        if session.completer is completer and not session.is_stale(snapshot):
            confidence = session.confidence_in(snapshot.cursor.language)
            completer.warm_up(snapshot, snippets, session.settings, confidence=confidence)
    except Exception:
        log.exception("%s cannot be warmed up", shown_uri(snapshot.document.uri))
