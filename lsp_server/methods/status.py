"""`mellum/status`."""

from __future__ import annotations

from typing import Any

from lsp_server.language_server import MellumServer


def status(ls: MellumServer, _: Any) -> dict[str, Any]:
    """Answer with the whole status."""
    return ls.session.status().to_json()
