"""What can go wrong with another machine: one sentence for each failure, with its mend. No sentence holds code."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from engine.remote.address import Address, Proxy, RemoteError

_LONGEST_QUOTE = 200


def not_openai(address: Address, reason: str) -> RemoteError:
    """The server speaks another protocol, or breaks this one."""
    return RemoteError(
        f"{address.base} is not an OpenAI-compatible completions server ({reason}). Let `remote.url` name one"
    )


def refusal(address: Address, status: int, said: Any, *, model: str, has_token: bool, retry_after: str) -> RemoteError:
    """The server answered with an error; `said` is what it sent, as JSON or None."""
    quote = _quote(said)
    if status in (401, 403) and not has_token:
        return RemoteError(f"{address.base} wants a token. Run: mellum-lsp remote allow {address.base} --token")
    if status in (401, 403):
        return RemoteError(f"{address.base} refuses the token. Run: mellum-lsp remote allow {address.base} --token")
    if status == 404 and "model" in quote.lower():
        return RemoteError(f"{address.base} does not serve the model {model}. Set `remote.model` ({quote})")
    if status == 404 or 300 <= status < 400:
        return not_openai(address, f"HTTP status {status}")
    if status == 429 or status == 503:
        seconds = float(retry_after) if retry_after.isdecimal() else None
        return RemoteError(f"{address.base} is busy or still loading{quote}. It is asked again", again_in=seconds)
    if 400 <= status < 500:
        return RemoteError(f"{address.base} does not take the request (HTTP status {status}{quote})", is_about_one=True)
    return RemoteError(f"{address.base} fails (HTTP status {status}{quote}). See its log")


def broken(address: Address, error: BaseException, *, has_answered: bool = True) -> RemoteError:
    """The sentence for an error of the connection; `has_answered`: earlier, so that it speaks what is expected."""
    import httpx  # whatever raised the error has imported it

    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(address.host, cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(cause):
            return RemoteError(f"{address.base} wants a certificate of this machine. Let it want a token instead")
        if isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
            return RemoteError(
                f"{address.base} does not speak TLS as expected ({cause.reason}). Compare https with http"
            )
        if isinstance(cause, ConnectionRefusedError):
            return RemoteError(f"{address.base} refuses the connection. Start the server there, and compare the port")
        if isinstance(cause, socket.gaierror):
            return RemoteError(f"There is no host {address.host} ({cause.strerror}). Compare `remote.url`")
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return RemoteError(f"{address.base} does not take the connection in time. Is a firewall in between?")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return late(address)
    if isinstance(error, httpx.ConnectError):
        return RemoteError(f"{address.base} cannot be reached ({_short(error)}). Compare `remote.url`")
    otherwise = "" if has_answered or address.is_encrypted else ", and compare http with https"
    return RemoteError(f"{address.base} broke off its answer ({_short(error)}). See its log{otherwise}")


def _untrusted(whose: str, error: ssl.SSLCertVerificationError) -> RemoteError:
    """The sentence for a certificate; where the system has its own store, it is checked there, by other codes."""
    said = str(getattr(error, "verify_message", "") or error).rstrip(".")
    about = said.lower()
    if "expired" in about or "not yet valid" in about:
        mend = "Have it renewed, and compare the clocks"
    elif "mismatch" in about or "not valid for" in about:
        mend = "Name the host as the certificate does, or have one made for this name"
    else:
        mend = "Add its authority to the system's, or let the variable SSL_CERT_FILE name it"
    return RemoteError(f"The certificate of {whose} is not trusted ({said:.{_LONGEST_QUOTE}}). {mend}")


def no_way(address: Address, proxy: Proxy, error: BaseException) -> RemoteError:
    """The sentence for an error on the way to a server, at its proxy."""
    import httpx

    name, otherwise = f"The {proxy}", f"or let NO_PROXY name {address.host}"
    mend = f"Correct {proxy.source}, {otherwise}"
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(f"the {proxy}", cause)
        if isinstance(cause, ssl.SSLError):
            return RemoteError(f"{name} does not speak TLS as expected ({cause.reason}). Write it with http")
        if isinstance(cause, ConnectionRefusedError):
            return RemoteError(f"{name} refuses the connection. {mend}")
        if isinstance(cause, socket.gaierror):
            return RemoteError(f"{name} is on no host that there is ({cause.strerror}). {mend}")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return RemoteError(f"{name} does not answer in time. {mend}")
    said = _short(error)
    if isinstance(error, httpx.ProxyError) and ("407" in said or "password" in said.lower()):
        return no_login(proxy)
    if isinstance(error, httpx.ProxyError):
        return RemoteError(f"{name} does not connect to {address.host} ({said}). Ask its owner, {otherwise}")
    return RemoteError(f"{name} breaks off, or is none ({said}). {mend}")


def no_login(proxy: Proxy) -> RemoteError:
    """The proxy wants to know who asks, or does not believe it."""
    what = "refuses the name and the password" if proxy.login is not None else "wants a name and a password"
    where = proxy.source if proxy.is_of_environment else "HTTPS_PROXY"
    kind, _, at = proxy.url.partition("://")
    return RemoteError(f"The {proxy} {what}. Write them into {where}, as {kind}://NAME:PASSWORD@{at}")


def late(address: Address) -> RemoteError:
    """The server answers, but not within a time that is of use."""
    return RemoteError(f"{address.base} does not answer in time. It may have too much work")


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error with the ones that caused it: httpx wraps those of the system."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:_LONGEST_QUOTE] or type(error).__name__


def _quote(said: Any) -> str:
    """What an error's body says, as the end of a parenthesis; empty where it says nothing."""
    while isinstance(said, dict):
        said = said.get("error", said.get("message", said.get("detail")))
    return f", {' '.join(said.split())[:_LONGEST_QUOTE]}" if isinstance(said, str) and said.strip() else ""
