"""What the client says of suggestions: the accept command, and that they were shown, accepted in part or dismissed."""

from __future__ import annotations

import logging
from typing import Any

from lsp_server.language_server import MellumServer

log = logging.getLogger(__name__)


def accepted(ls: MellumServer, *arguments: Any) -> None:
    """Count a suggestion that the user accepted; its identifier is the first argument."""
    if not arguments or not ls.session.feedback.accept(arguments[0]):
        log.info("An unknown suggestion was accepted")
    if ls.session.observer is not None and arguments and isinstance(arguments[0], str):
        ls.session.observer.accepted(arguments[0])


def did_show(ls: MellumServer, params: Any) -> None:
    """Count a suggestion that is on the screen."""
    ls.session.feedback.display(params.item)
    if ls.session.observer is not None and isinstance(params.item, str):
        ls.session.observer.shown(params.item)


def did_partially_accept(ls: MellumServer, params: Any) -> None:
    """Count a suggestion of which the user accepted a part."""
    ls.session.feedback.accept_in_part(params.item, params.acceptedLength)
    if ls.session.observer is not None and isinstance(params.item, str):
        ls.session.observer.accepted(params.item)


def did_dismiss(ls: MellumServer, params: Any) -> None:
    """Note that the user sent a suggestion away."""
    if ls.session.observer is not None and isinstance(params.item, str):
        ls.session.observer.dismissed(params.item)
