"""What the user wrote as SOURCE, opened: a GGUF file, a folder, `random:...`, or a hub id; an adapter on top of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from export.architecture import ExportError
from export.sources.adapter import AdaptedSource
from export.sources.folder import NO_PICKLE, PICKLES, FolderSource
from export.sources.gguf_file import GgufSource
from export.sources.hub import hub_source, is_hub_id
from export.sources.random_weights import PREFIX, RandomSource
from export.sources.source import Progress, Source


@contextmanager
def open_source(
    text: str,
    *,
    adapter: Path | None = None,
    revision: str | None = None,
    progress: Progress = lambda what, share: None,
) -> Iterator[Source]:
    """Open a source, and download it first if it is a hub id. Raises ExportError."""
    path = Path(text).expanduser()
    local = path.exists() or text.startswith(PREFIX)
    if revision is not None and (local or not is_hub_id(text)):
        raise ExportError(f"A revision belongs to a model on the hub, and {text} is none")
    with ExitStack() as opened:
        source: Source
        if text.startswith(PREFIX):
            source = RandomSource(text.removeprefix(PREFIX))
        elif path.is_dir():
            source = opened.enter_context(FolderSource(path))
        elif path.is_file():
            source = opened.enter_context(_file(path))
        elif is_hub_id(text) and path.suffix.lower() not in (".gguf", ".safetensors", *PICKLES):
            source = opened.enter_context(hub_source(text, revision, progress))
        else:
            raise ExportError(f"There is no file or folder {text}; a model on the hub is written OWNER/NAME")
        if adapter is not None:
            source = opened.enter_context(AdaptedSource(source, adapter))
        yield source


def name_for(text: str) -> str:
    """A model's name after its source: the last part of what was written, in lower case."""
    text = text.removeprefix(PREFIX)
    path = Path(text).expanduser()
    if path.name == "config.json":
        path = path.parent
    last = (path.resolve() if path.exists() else Path(text)).name
    name = re.sub(r"[^a-z0-9.]+", "-", last.lower().removesuffix(".gguf")).strip("-.")
    return name or "model"


def _file(path: Path) -> GgufSource:
    """Only GGUF is a model in one file."""
    if path.suffix.lower() in PICKLES:
        raise ExportError(f"{path.name} {NO_PICKLE}")
    if path.suffix == ".safetensors":
        raise ExportError(f"Give the folder of {path.name}, which also needs config.json and tokenizer.json")
    return GgufSource(path)
