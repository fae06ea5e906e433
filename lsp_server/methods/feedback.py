"""What the client says of suggestions: the accept command, `didShowCompletion` and `didPartiallyAcceptCompletion`."""

from __future__ import annotations

import logging
from typing import Any

from lsp_server.language_server import MellumServer

log = logging.getLogger(__name__)


def accepted(ls: MellumServer, *arguments: Any) -> None:
    """Count a suggestion that the user accepted; its identifier is the first argument."""
    if not arguments or not ls.session.feedback.accept(arguments[0]):
        log.info("An unknown suggestion was accepted")


def did_show(ls: MellumServer, params: Any) -> None:
    """Count a suggestion that is on the screen."""
    ls.session.feedback.display(params.item)


def did_partially_accept(ls: MellumServer, params: Any) -> None:
    """Count a suggestion of which the user accepted a part."""
    ls.session.feedback.accept_in_part(params.item, params.acceptedLength)
