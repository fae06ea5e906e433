"""Where a server listens, as the settings name it; the proxy that leads there; the error that says why it is not used.

httpx reads proxies from the environment as well, but makes a client for each that it finds: one that is of no use, such
as a SOCKS proxy in `ALL_PROXY`, stops a server that needs none of them.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import urllib.request
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from engine.request import Unavailable

_SETTINGS = "the system's settings"
_SCHEMES = {"http": "http", "https": "https", "socks": "socks5", "socks5": "socks5", "socks5h": "socks5"}
"""How a proxy may be written, and what it speaks: desktops write `socks`."""


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


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; its name and password are in no sentence."""

    url: str
    """Without name and password."""
    login: tuple[str, str] | None
    source: str
    """The variable that names it, or the system's settings."""

    @property
    def is_of_environment(self) -> bool:
        """Whether a variable names it."""
        return self.source != _SETTINGS

    def __str__(self) -> str:
        return f"proxy {self.url} ({self.source})"


def proxy_for(address: Address) -> Proxy | None:
    """The proxy that leads to a server; None where none does. Raises RemoteError. May ask the system: takes a while."""
    if address.is_loopback:
        return None
    proxies = urllib.request.getproxies()
    kind = "https" if address.is_encrypted else "http"
    kind = kind if proxies.get(kind) else "all"
    if not (written := proxies.get(kind)) or _is_excepted(address, proxies.get("no", "")):
        return None
    source = max((name for name in os.environ if name.lower() == f"{kind}_proxy"), default=_SETTINGS)
    return _read(written, source)


def _read(written: str, source: str) -> Proxy:
    try:
        parts = urlsplit(written if "://" in written else f"http://{written}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        raise RemoteError(f"The proxy in {source} is no address. Write one such as http://proxy.example:3128")
    if (scheme := _SCHEMES.get(parts.scheme)) is None:
        raise RemoteError(f"The proxy in {source} speaks {parts.scheme:.20}. Name one that speaks http or socks5")
    if scheme == "socks5" and importlib.util.find_spec("socksio") is None:
        raise RemoteError(
            f"The proxy in {source} speaks SOCKS, for which socksio is missing. Run: pip install 'mellum-lsp[remote]'"
        )
    shown = f"[{host}]" if ":" in host else host
    login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(f"{scheme}://{shown}" + (f":{port}" if port is not None else ""), login, source)


def _is_excepted(address: Address, excepted: str) -> bool:
    """Whether `NO_PROXY` or the system's settings name the server; networks such as 10.0.0.0/8, too."""
    if urllib.request.proxy_bypass(urlsplit(address.base).netloc):
        return True
    networks = [one.replace("[", "").replace("]", "").strip() for one in excepted.split(",")]
    return any(_is_in(network, address.host) for network in networks)


def _is_in(network: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # one of them is a name
        return False
