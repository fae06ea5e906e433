"""A proxy of ours between an engine and a server: it speaks TLS, and delays what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path


class Proxy:
    """One port that leads to another."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.delay = 0.0
        """Seconds that each part of an answer is late."""

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        answer, there = await asyncio.open_connection("127.0.0.1", self.target)

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_answer: bool) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    if is_answer:
                        await asyncio.sleep(self.delay)
                    sink.write(data)
                    await sink.drain()
            sink.close()

        ways = [asyncio.create_task(pipe(client, there, False)), asyncio.create_task(pipe(answer, back, True))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for writer in (there, back):
            writer.close()


@contextlib.contextmanager
def proxied(target: int, certificate: tuple[Path, Path]) -> Iterator[Proxy]:
    """A proxy with a certificate and its key, on a thread of its own."""
    proxy, is_up = Proxy(target), threading.Event()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=context)
        proxy.port = server.sockets[0].getsockname()[1]
        is_up.set()
        await over.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    is_up.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
