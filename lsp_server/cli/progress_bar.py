"""The progress bar of commands that take long, on stderr; it goes when they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lsp_server.cli.console import err


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
