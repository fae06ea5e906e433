"""The first message that a client on a socket must send: a frame with LSP's headers only, and a valid `initialize`.

Web pages can post to any port of this machine, and users of the machine or the network can connect. Until a client has
introduced itself, its bytes do not reach the server, and the server continues to wait for the editor.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import socket
from typing import Any

from lsp_server.configuration.settings import SECTION, TOKEN

SHORTEST_TOKEN = 16
_HEADERS = (b"content-length:", b"content-type:")
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,15})[ \t]*")
_LONGEST_HEADER = 4096
_LONGEST_BODY = 8 << 20


class NotAnEditor(Exception):
    """A client is refused; the text says why, and quotes nothing of the client's bytes."""


class Introduction:
    """Collects and checks the first bytes of a client."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self.received = bytearray()

    def feed(self, data: bytes) -> bool:
        """Take more bytes; returns whether the introduction is complete and valid. Raises NotAnEditor."""
        if not data:
            raise NotAnEditor("it left before it had sent a message")
        self.received += data
        header, is_whole, body = bytes(self.received).partition(b"\r\n\r\n")
        length = _length(header, is_whole=bool(is_whole))
        if length is None or len(body) < length:
            return False
        self._check(body[:length])
        return True

    def _check(self, body: bytes) -> None:
        try:
            message: Any = json.loads(body)
        except (ValueError, RecursionError):
            raise NotAnEditor("its first message is not JSON") from None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or message.get("method") != "initialize":
            raise NotAnEditor("its first message is not the request 'initialize'")
        params = message.get("params")
        if type(message.get("id")) not in (int, str) or not isinstance(params, dict):
            raise NotAnEditor("its request 'initialize' is not valid")
        if self._token is not None and not _is_token(_token_in(params), self._token):
            raise NotAnEditor(f"its initializationOptions.{TOKEN} is not the token")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address. Raises OSError where a name is unknown."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        addresses = {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None)}
        return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _length(header: bytes, *, is_whole: bool) -> int | None:
    """The length of the body, once the header is complete. Raises NotAnEditor at the first foreign header line."""
    lines = header.lower().split(b"\r\n")
    for number, line in enumerate(lines):
        may_go_on = not is_whole and number == len(lines) - 1
        if not any(
            line.startswith(name) or (may_go_on and name.startswith(line.removesuffix(b"\r"))) for name in _HEADERS
        ):
            raise NotAnEditor("it sent a header line that LSP does not have")
    if not is_whole:
        if len(header) > _LONGEST_HEADER:
            raise NotAnEditor("its header has no end")
        return None
    lengths = [_LENGTH.fullmatch(line) for line in lines if line.startswith(_HEADERS[0])]
    if len(lengths) != 1 or lengths[0] is None or int(lengths[0][1]) > _LONGEST_BODY:
        raise NotAnEditor("its header gives no length that a first message can have")
    return int(lengths[0][1])


def _token_in(params: dict[str, Any]) -> object:
    """The token that the client sends, besides its settings or among them."""
    options = params.get("initializationOptions")
    inner = options.get(SECTION) if isinstance(options, dict) else None
    found = (one.get(TOKEN) for one in (options, inner) if isinstance(one, dict) and TOKEN in one)
    return next(found, None)


def _is_token(sent: object, token: str) -> bool:
    return isinstance(sent, str) and hmac.compare_digest(sent.encode(errors="replace"), token.encode(errors="replace"))
