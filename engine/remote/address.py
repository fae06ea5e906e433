"""Where a server listens, as the user's settings name it, and the error that says why it cannot be used."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from engine.request import Unavailable


class RemoteError(Unavailable):
    """The remote engine cannot be used; the text is one sentence for the status."""

    def __init__(self, sentence: str, *, again_in: float | None = None, is_about_one: bool = False) -> None:
        """`again_in`: seconds that the server asks to wait; `is_about_one`: another request may well succeed."""
        super().__init__(printable(sentence))
        self.again_in, self.is_about_one = again_in, is_about_one


def printable(text: str) -> str:
    """A text of a server as it may be shown: terminals obey what cannot be printed."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address; what is asked for stands after `base`, such as `/v1/completions`."""

    base: str
    host: str
    is_encrypted: bool

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(url: str) -> Address:
    """Read an address; `/v1` at its end may be there or not. Raises RemoteError."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise RemoteError(f"`remote.url` is no address ({error}). Write one such as https://host:8000") from error
    if parts.scheme not in ("http", "https") or not host:
        raise RemoteError(f"`remote.url` is no address: {url:.80}. Write one such as https://host:8000")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise RemoteError("`remote.url` must hold no name, password or query. Run: mellum-lsp remote allow URL --token")
    shown = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    default = {"http": 80, "https": 443}[parts.scheme]
    at = f"{shown}:{port}" if port not in (None, default) else shown
    return Address(f"{parts.scheme}://{at}{path}", host, parts.scheme == "https")
