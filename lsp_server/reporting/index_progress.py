"""The indexer processes' messages, made visible: a progress bar, a line in the client's log, figures for the status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pygls.lsp.server import LanguageServer

from indexer import FilesRead, IndexMessage, Problem, Resting, UpToDate, WaitingInLine
from lsp_server.reporting.progress import ProgressBar

_WORTH_A_BAR = 50  # files; fewer are read before a bar is seen


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """The index, for a status line."""

    files: int
    """Files in it, of all workspace folders."""
    busy: bool
    """Whether files are being read for the first time or after many have changed."""
    problem: str | None = None
    """Why a folder's index is not kept up to date now, as a sentence. It is tried again from time to time."""


class IndexProgress:
    """What is known of each folder's index. Lives on the event loop's thread."""

    def __init__(self, server: LanguageServer, complain: Callable[[str], None]) -> None:
        self._server, self._complain = server, complain
        self._files: dict[Path, int] = {}
        self._bars: dict[Path, tuple[ProgressBar, asyncio.Task[None]]] = {}
        self._busy: set[Path] = set()
        self._last_problem: dict[Path, str] = {}
        self._problems: dict[Path, str] = {}
        """Of folders whose index is not kept up to date."""

    def facts(self) -> IndexFacts:
        """The figures of now."""
        return IndexFacts(sum(self._files.values()), bool(self._busy), next(iter(self._problems.values()), None))

    def begin(self, root: Path) -> None:
        """A folder's indexer process was started."""
        self._busy.add(root)

    def hear(self, root: Path, message: IndexMessage) -> None:
        """Take in a message of a folder's indexer process."""
        match message:
            case Problem(sentence):
                self._last_problem[root] = sentence
                self._complain(sentence)
            case FilesRead(done, total):
                self._busy.add(root)
                if total >= _WORTH_A_BAR:
                    self._bar(root).report(f"{done:,} of {total:,} files", done / total)
            case Resting():
                self._problems[root] = self._last_problem.get(root, "The index has stopped")
                self.end(root)
            case UpToDate() | WaitingInLine():
                self._files[root] = message.files
                self._problems.pop(root, None)
                self.end(root)

    def forget(self, root: Path) -> None:
        """A folder was removed from the workspace."""
        for kept in (self._files, self._last_problem, self._problems):
            kept.pop(root, None)
        self.end(root)

    def end(self, root: Path) -> None:
        """A folder's index is up to date, or the folder was removed."""
        self._busy.discard(root)
        if (bar := self._bars.pop(root, None)) is not None:
            bar[0].end()
            bar[1].cancel()

    def _bar(self, root: Path) -> ProgressBar:
        if root not in self._bars:
            bar = ProgressBar(self._server, f"Indexing {root.name}")
            self._bars[root] = bar, asyncio.create_task(bar.begin())
        return self._bars[root][0]
