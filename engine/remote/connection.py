"""The connection to one server: kept alive, TLS always verified, read on a thread of its own.

HTTP/2 where the server offers it and `h2` is installed: a cancelled request then ends its stream alone. With HTTP/1.1
a cancelled request closes the connection; where that is encrypted, another is opened at once, for the next request.
httpx gives up an HTTP/2 stream without telling the server, which would decode on: the frame that says it is sent here.
A request that is cancelled while it opens a connection opens it to the end, for the next one, and sends nothing:
httpx counts the streams of a connection wrongly for good if it is interrupted there.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engine.remote.address import Address, Proxy, RemoteError, proxy_for
from engine.remote.events import Event, Malformed, ServerSaid, events
from engine.remote.failures import broken, no_login, no_way, not_openai, refusal

if TYPE_CHECKING:
    import httpx

_CONNECT_WITHIN = 3.0  # seconds
_READ_WITHIN = 10.0  # seconds of silence
_ASKED_WITHIN = 20.0  # seconds for a whole answer that is not streamed, also where it never falls silent
_LONGEST_ANSWER = 1 << 20  # bytes of an answer that is not streamed
_KEPT_ALIVE = 120.0  # seconds
_TOKEN = re.compile(r"[\x21-\x7e]+")
_THROUGH = ("proxy.start_tls.started", "socks.start_tls.started", "socks.setup_socks5_connection.complete")
"""What httpx tells once a proxy has let a request through."""
_MOST_RESET = 50  # streams of a connection: to httpx they are still open, and a server allows 100
_OPENING = ("connect_tcp.started", "send_connection_init.started")
"""Where a request opens a connection of HTTP/2, or is the first one on it."""

Result = TypeVar("Result")
Deliver = Callable[[Event | RemoteError], None]

log = logging.getLogger(__name__)

for _library in ("httpx", "httpcore", "hpack", "h2"):
    logging.getLogger(_library).setLevel(logging.WARNING)  # hpack logs each header, and the token is in one


@dataclass(slots=True)
class _Sending:
    """How far a request has come that may be cancelled."""

    client: httpx.AsyncClient | None = None
    is_opening: bool = False
    """Whether it opens a connection of HTTP/2, which must not be interrupted."""
    is_unwanted: bool = False
    """It was cancelled meanwhile."""
    is_half_sent: bool = False
    """Its headers are on their way: the server may know of its HTTP/2 stream or not."""
    stream: int | None = None
    """The number of its HTTP/2 stream."""


class Connection:
    """Requests to one server. Its methods may be called on any thread; coroutines run on its own."""

    def __init__(self, address: Address) -> None:
        """Connect to nothing yet. Raises RemoteError where httpx does not work."""
        try:
            import httpx
        except ImportError as error:
            needed = "A remote engine needs the package httpx. Run: pip install 'mellum-lsp[remote]'"
            raise RemoteError(needed if error.name == "httpx" else f"{needed} ({error})") from error
        self.address = address
        self._token: str | None = None
        has_http2 = importlib.util.find_spec("h2") is not None
        self.protocol = ""
        """Of the last answer, such as HTTP/2; empty before."""
        self._options: dict[str, Any] = {
            "http2": has_http2,
            "timeout": httpx.Timeout(_READ_WITHIN, connect=_CONNECT_WITHIN, pool=_CONNECT_WITHIN),
            "limits": httpx.Limits(max_connections=8, max_keepalive_connections=2, keepalive_expiry=_KEPT_ALIVE),
            "trust_env": False,  # see `proxy_for`
        }
        self._client: httpx.AsyncClient | None = None
        self.proxy: Proxy | None = None
        """What leads to the server, once a request was sent."""
        self._network: Any = None
        """The bytes of the newest connection, as httpx gives them in its traces."""
        self._reset = 0
        self._background: set[asyncio.Task[None]] = set()
        self._ending, self._is_closed = threading.Lock(), False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()

    def use(self, token: str | None) -> None:
        """Send a token from now on. Raises RemoteError where others could read it on the way, or it is none."""
        token = token.strip() if token is not None else None
        if token and not _TOKEN.fullmatch(token):
            raise RemoteError(
                "The token holds characters that no token has. "
                f"Run: mellum-lsp remote allow {self.address.base} --token"
            )
        if token and not (self.address.is_encrypted or self.address.is_loopback):
            raise RemoteError(f"The token would cross the network readable to {self.address.base}. Use https")
        self._token = token

    def soon(self, call: Callable[[], None]) -> bool:
        """Call a function on the connection's thread; False once it is closed."""
        with self._ending:
            if not self._is_closed:
                self._loop.call_soon_threadsafe(call)
            return not self._is_closed

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine on the connection's thread; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def later(self, seconds: float, call: Callable[[], object]) -> Future[None]:
        """Call a function on the connection's thread after some seconds, unless the future is cancelled before."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            call()

        return self.start(wait())

    async def get(self, path: str, *, model: str = "") -> Any:
        """Get JSON. Raises RemoteError."""
        return await self._ask("GET", path, None, model)

    async def post(self, path: str, body: Any, *, model: str = "") -> Any:
        """Post JSON, and get some. Raises RemoteError."""
        return await self._ask("POST", path, body, model)

    def stream(self, path: str, body: Any, deliver: Deliver, *, model: str) -> Future[None]:
        """Post JSON, and have the events of the answer delivered, of which the last has `finish`; or an error.

        Cancelling the future ends the stream within milliseconds.
        """
        return self.start(self._stream(path, body, deliver, model))

    def close(self) -> None:
        """Close everything, and end the thread."""

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._close(self._client)
            self._loop.stop()

        with self._ending:  # what was given to `soon` before is called before
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self.start(end())
        self._thread.join(_CONNECT_WITHIN)
        if not self._thread.is_alive() and not self._loop.is_closed():
            self._loop.close()

    async def _ask(self, method: str, path: str, body: Any, model: str) -> Any:
        try:
            async with asyncio.timeout(_ASKED_WITHIN), self._request(method, path, body) as response:
                data = await self._read(response)
                if response.status_code != 200:
                    raise self._refusal(response, data, model)
        except RemoteError as error:
            raise self._as_told(error) from None
        except Exception as error:
            raise self._as_told(broken(self.address, error, has_answered=bool(self.protocol))) from None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._as_told(not_openai(self.address, f"{path} answers with something else than JSON")) from error

    async def _stream(self, path: str, body: Any, deliver: Deliver, model: str) -> None:
        sending = _Sending()
        work = self._in_background(self._deliver_or_tell(path, body, deliver, model, sending))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            sending.is_unwanted = True
            if not sending.is_opening:
                work.cancel()
            raise

    async def _deliver_or_tell(self, path: str, body: Any, deliver: Deliver, model: str, sending: _Sending) -> None:
        try:
            await self._deliver(path, body, deliver, model, sending)
        except asyncio.CancelledError:
            if sending.stream is not None:
                self._in_background(self._end_stream(sending))
            elif self.address.is_encrypted and self.protocol == "HTTP/1.1":
                self._in_background(self._open_another())
            raise
        except RemoteError as error:
            deliver(self._as_told(error))
        except ServerSaid as error:
            said = refusal(self.address, 500, error.said, model=model, has_token=True, retry_after="")
            deliver(self._as_told(said))
        except Malformed as error:
            deliver(self._as_told(not_openai(self.address, str(error))))
        except Exception as error:
            deliver(self._as_told(broken(self.address, error, has_answered=bool(self.protocol))))

    def _as_told(self, error: RemoteError) -> RemoteError:
        """An error as it is told: a server, or an error of a library, may quote what was sent."""
        sentence = str(error)
        if self._token:
            sentence = sentence.replace(self._token, "(the token)")
        if self.proxy is not None and self.proxy.url not in sentence:
            sentence += f". It is reached through the {self.proxy}"
        return RemoteError(sentence, again_in=error.again_in, is_about_one=error.is_about_one)

    async def _deliver(self, path: str, body: Any, deliver: Deliver, model: str, sending: _Sending) -> None:
        is_complete = False
        async with self._request("POST", path, body, sending) as response:
            if response.status_code != 200:
                raise self._refusal(response, await self._read(response), model)
            kind = response.headers.get("content-type", "")
            if "event-stream" not in kind:
                raise not_openai(self.address, f"its answer is {kind or 'nothing'}, and no stream of events")
            async for event in events(response.aiter_bytes()):
                is_complete = is_complete or bool(event.finish)
                deliver(event)
        if not is_complete:
            raise RemoteError(f"{self.address.base} broke off its answer. See its log")

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Any, sending: _Sending | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request. `sending`: what is known of it meanwhile."""
        import httpx

        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept-Encoding": "identity"}  # a few bytes may unpack to gigabytes
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        url = self.address.base + path

        is_at_proxy = False
        sending = sending or _Sending()

        async def trace(event: str, about: dict[str, Any]) -> None:
            nonlocal is_at_proxy
            _, _, step = event.partition(".")
            if step == "connect_tcp.started":
                is_at_proxy = self.proxy is not None
            elif event in _THROUGH or (step == "send_request_headers.started" and not self.address.is_encrypted):
                is_at_proxy = False
            if step in _OPENING and self.protocol != "HTTP/1.1":
                sending.is_opening = True
            if step == "send_request_headers.started":
                limit.reschedule(None)  # httpx has its own for all that follows
                sending.is_opening = False
                if sending.is_unwanted:
                    raise asyncio.CancelledError
                sending.stream = about.get("stream_id")
                sending.is_half_sent = sending.stream is not None
            if step in ("connect_tcp.complete", "start_tls.complete"):
                self._network, self._reset = about["return_value"], 0
            elif step == "send_request_headers.complete":
                sending.is_half_sent = False

        closed = (httpx.ProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError, ssl.SSLError)
        more: dict[str, Any] = {"content": content, "headers": headers, "extensions": {"trace": trace}}
        async with contextlib.AsyncExitStack() as stack:
            for is_again in (False, True):
                sending.is_opening, sending.is_half_sent, sending.stream = False, False, None
                client = sending.client = await self._opened()
                try:
                    async with asyncio.timeout(_READ_WITHIN) as limit:  # httpx waits for a SOCKS proxy without one
                        response = await stack.enter_async_context(client.stream(method, url, **more))
                    break
                except Exception as error:
                    if limit.expired():
                        await self._close(client)  # where it was interrupted, httpx may count its streams wrongly
                    if self.proxy is not None and is_at_proxy:
                        raise no_way(self.address, self.proxy, error) from error
                    if is_again or not isinstance(error, closed):
                        raise
                    await self._close(client)  # the server has closed a connection that was kept
            self.protocol = response.http_version
            if response.status_code == 407 and self.proxy is not None:
                raise no_login(self.proxy)
            if (packed := response.headers.get("content-encoding", "identity")) != "identity":
                raise not_openai(self.address, f"its answer is packed ({packed:.20}), which was not asked for")
            yield response

    async def _opened(self) -> httpx.AsyncClient:
        """The client of all requests. Raises RemoteError where the proxy is none."""
        import httpx

        proxy = await on_thread(lambda: proxy_for(self.address)) if self._client is None else None
        if self._client is None:
            self.proxy, way = proxy, None
            if proxy is not None:
                trust = _trust() if proxy.url.startswith("https:") else None
                way = httpx.Proxy(proxy.url, auth=proxy.login, ssl_context=trust)
            self._client = httpx.AsyncClient(verify=_trust(), proxy=way, **self._options)
        return self._client

    async def _close(self, client: httpx.AsyncClient | None) -> None:
        """Close a client's connections; the next request opens another."""
        if client is self._client:
            self._client = None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        data = b""
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > _LONGEST_ANSWER:
                raise not_openai(self.address, "an answer without an end")
        return data

    def _refusal(self, response: httpx.Response, data: bytes, model: str) -> RemoteError:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            said = None
        again = response.headers.get("retry-after", "")
        has_token = bool(self._token)
        return refusal(self.address, response.status_code, said, model=model, has_token=has_token, retry_after=again)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _end_stream(self, sending: _Sending) -> None:
        """Tell the server that an HTTP/2 stream is cancelled (RFC 9113, 6.4)."""
        assert sending.stream is not None
        length, kind, flags, cancel = (4).to_bytes(3, "big"), b"\3", b"\0", (8).to_bytes(4, "big")
        frame = length + kind + flags + sending.stream.to_bytes(4, "big") + cancel
        self._reset += 1
        is_worn = self._reset >= _MOST_RESET or sending.is_half_sent
        if not sending.is_half_sent:
            try:
                await self._network.write(frame, timeout=_CONNECT_WITHIN)
            except Exception:  # closed meanwhile, or busy
                is_worn = True
        if is_worn:
            await self._close(sending.client)
            await self._open_another()

    async def _open_another(self) -> None:
        with contextlib.suppress(RemoteError):
            await self.get("/v1/models")


async def on_thread(function: Callable[[], Result]) -> Result:
    """Call a function on a new daemon thread: asyncio's own would keep the process alive until it returns."""
    loop, given = asyncio.get_running_loop(), asyncio.Future[Result]()

    def settle(set_it: Callable[[], None]) -> None:
        if not given.done():
            set_it()

    def call() -> None:
        try:
            result = function()
        except Exception as caught:
            error = caught
            done: Callable[[], None] = lambda: given.set_exception(error)  # noqa: E731
        else:
            done = lambda: given.set_result(result)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=call, name="keyring", daemon=True).start()
    return await given


def _trust() -> ssl.SSLContext:
    """What the system trusts: its own store where `truststore` is installed, else that of OpenSSL, or SSL_CERT_FILE."""
    if importlib.util.find_spec("truststore") is not None:
        import truststore

        system: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return system
    return ssl.create_default_context()
