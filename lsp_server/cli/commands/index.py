"""`mellum-lsp index`: read a project now, as the server would in the background, or say why a file is not in it."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from engine.model_folders.locations import cache_folder
from indexer import (
    FilesRead,
    IndexMessage,
    Problem,
    UpToDate,
    counts_of,
    database_of,
    index_now,
    note_on,
    why_not,
    why_not_root,
)
from lsp_server.cli.location import workspace_of
from syntax import resolved
from syntax.sentences import shortened

_WHY = "why"

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def index(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR] | why FILE", help="The folder to read (default: this one), or a file to explain."
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make the index anew, whatever is in it.")] = False,
) -> None:
    """Index a project folder, and show what is in its index; or explain why a file is not."""
    given = ["."] if words is None else words
    if "" in given:
        raise typer.BadParameter("a name is empty; this folder is written as .")
    if given[0] == _WHY and len(given) == 2:
        raise typer.Exit(_explain(Path(given[1]).expanduser()))
    if len(given) != 1:
        raise typer.BadParameter("give one folder, or the word why and one file")
    root = Path(given[0]).expanduser()
    if not root.is_dir():
        raise typer.BadParameter(f"{root} is not a folder; to explain a file: mellum-lsp index why FILE")
    if (reason := why_not_root(root)) is not None:
        raise typer.BadParameter(f"{reason}, which is never indexed; name the folder of a project")
    try:
        os.scandir(root).close()
    except OSError as error:
        raise typer.BadParameter(f"{root} cannot be read ({error.strerror})") from error
    raise typer.Exit(_read(root.resolve(), again=again))


def _explain(file: Path) -> int:
    path = resolved(file.parent) / file.name  # explain a link itself, not its target
    root = workspace_of(path.parent / "file")
    reason = why_not_root(root)
    if reason is not None:
        reason = f"{reason}, which is never indexed"
    else:
        reason = why_not(path, root, database_of(root, cache_folder()))
    if reason is not None:
        _out.print(Text(shortened(f"{file} is not indexed: {reason}.")))
        return 1
    note = note_on(path)
    _out.print(Text(f"{file} is in the index of {root}{'' if note is None else f', {note}'}."))
    return 0


def _read(root: Path, *, again: bool = False) -> int:
    """Bring the index of a folder up to date, with a progress bar; returns the exit code."""
    database = database_of(root, cache_folder())
    started = time.monotonic()
    problems: list[str] = []
    is_current = False
    columns = (TextColumn("Indexing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_err, transient=True) as bars:
        bar = bars.add_task("", total=None)

        def hear(message: IndexMessage) -> None:
            nonlocal is_current
            if isinstance(message, FilesRead):
                bars.update(bar, completed=message.done, total=message.total)
            elif isinstance(message, Problem):
                problems.append(message.sentence)
            is_current = isinstance(message, UpToDate) or (is_current and not isinstance(message, Problem))

        is_ours = index_now(root, database, hear, again=again)
    for problem in problems:
        _err.print(Text(shortened(problem), style="red"))
    if again and not is_ours:
        _out.print("An editor keeps this index; it makes it anew now")
        return 0
    try:
        kept, refused, symbols = counts_of(database)
    except sqlite3.Error as error:
        if not problems:
            sentence = f"{database} cannot be read ({error}). Run the command again in a moment."
            _err.print(Text(shortened(sentence), style="red"))
        return 1
    size = database.stat().st_size / 1e6
    _out.print(Text(f"{kept:,} files with {symbols:,} definitions, {size:.1f} MB, in {database}"))
    _out.print(Text(f"{refused:,} more are left out for what they contain; mellum-lsp index why FILE says why"))
    _out.print(
        Text(f"Up to date after {time.monotonic() - started:.1f} s" if is_ours else "An editor keeps it up to date now")
    )
    return 0 if is_current or not is_ours else 1  # files that are left out are no failure
