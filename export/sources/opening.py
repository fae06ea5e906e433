"""Opens the user's SOURCE: a GGUF file, a folder, `random:...`, or a hub id; with an adapter, if one is given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from export.architecture import ExportError
from export.sources.adapter import AdaptedSource
from export.sources.folder import (
    NO_PICKLE,
    PICKLES,
    Checkpoint,
    FolderSource,
    license_of,
    local_checkpoint,
)
from export.sources.gguf.file import GgufSource
from export.sources.hub import download, is_hub_id
from export.sources.random_weights import PREFIX, RandomSource
from export.sources.source import Progress, Source

_FILES = (".gguf", ".safetensors", *PICKLES)


@contextmanager
def open_source(
    text: str,
    *,
    adapter: Path | None = None,
    revision: str | None = None,
    progress: Progress = lambda what, share: None,
) -> Iterator[Source]:
    """Open a source; a hub id is downloaded first. Raises ExportError."""
    path = _path(text)
    _refuse_ambiguous(text, path)
    with ExitStack() as opened:
        source: Source
        if text.startswith(PREFIX):
            _refuse_revision(text, revision)
            source = RandomSource(text.removeprefix(PREFIX))
        elif path.is_file():
            _refuse_revision(text, revision)
            source = opened.enter_context(_file(path))
        else:
            source = opened.enter_context(FolderSource(open_checkpoint(text, revision=revision, progress=progress)))
        if adapter is not None:
            source = opened.enter_context(AdaptedSource(source, adapter))
        yield source


def open_checkpoint(text: str, *, revision: str | None, progress: Progress) -> Checkpoint:
    """Find a folder with its weights; a hub id is downloaded first. Raises ExportError."""
    path = _path(text)
    _refuse_ambiguous(text, path)
    if path.is_dir():
        _refuse_revision(text, revision)
        checkpoint = local_checkpoint(path)
    elif is_hub_id(text) and path.suffix.lower() not in _FILES:
        folder, license_name = download(text, revision, progress)
        known = license_of(folder)
        checkpoint = Checkpoint(folder, text, license_name or known if known == "unknown" else known, folder.name)
    elif path.exists() or text.startswith(PREFIX):
        raise ExportError(f"{text} is no folder of safetensors, which --via optimum needs")
    else:
        _refuse_revision(text, revision)
        raise ExportError(f"There is no file or folder {text}; a model on the hub is written OWNER/NAME")
    return checkpoint


def _refuse_ambiguous(text: str, path: Path) -> None:
    """Refuse a name on the hub that is also a folder here: the command must not export the wrong one."""
    if is_hub_id(text) and not path.is_absolute() and path.suffix.lower() not in _FILES and path.exists():
        raise ExportError(f"{text} is a model's name on the hub, and there is a folder; for the folder, write ./{text}")


def name_for(text: str) -> str:
    """A name for the model: the last part of its source, in lower case."""
    text = text.removeprefix(PREFIX)
    path = _path(text)
    if path.name == "config.json":
        path = path.parent
    last = (path.resolve() if path.exists() else Path(text)).name
    name = re.sub(r"[^a-z0-9.]+", "-", last.lower().removesuffix(".gguf")).strip("-.")
    return name or "model"


def _path(text: str) -> Path:
    if not text.strip():
        raise ExportError(
            "The source is empty; name a model on the hub, OWNER/NAME, or a folder: this one is written as ."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # `~name` of a user who does not exist
        raise ExportError(f"There is no file or folder {text}: {error}") from error


def _refuse_revision(text: str, revision: str | None) -> None:
    if revision is not None:
        raise ExportError(f"A revision belongs to a model on the hub, and {text} is none")


def _file(path: Path) -> GgufSource:
    """Refuse a file that is no GGUF file: only these hold a whole model."""
    if path.suffix.lower() in PICKLES:
        raise ExportError(f"{path.name} {NO_PICKLE}")
    if path.suffix == ".safetensors":
        raise ExportError(f"Give the folder of {path.name}, which also needs config.json and tokenizer.json")
    return GgufSource(path)
