"""The progress bar of commands that take long, on stderr; it goes when they are done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lsp_server.cli.console import err


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let Ctrl-C end this process at once, without waiting for threads: for a download, which its parts outlive.

    Only where whatever is half done may be found so by the next process.
    """

    def end(number: int, frame: FrameType | None) -> None:
        err.show_cursor(True)
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # what a shell starts in the background
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Show what is being done and the share of it that is done, as the yielded function is told: 0 to 1."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("", total=1.0, visible=False)

        def progress(what: str, share: float) -> None:
            bars.update(bar, description=what, completed=share, visible=True)

        yield progress
