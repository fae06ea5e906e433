"""From a source to a finished model folder: written beside its place, renamed into it when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tokenizers import Tokenizer

from engine.manifest import (
    FORMAT,
    GRAPH_FILE,
    TOKENIZER_FILE,
    Manifest,
    ModelError,
    PromptFormat,
    PromptStyle,
    check_files,
    read_manifest,
    sha256_of,
    write_manifest,
)
from export.architecture import ExportError
from export.calibrate import calibration_tokens
from export.graph import Format, Target, write_graph
from export.products import OnTensor
from export.rotate import RotatedSource
from export.sources import Source
from export.writer import DATA_FILE

RECIPE = 2
"""Raise it whenever the same source would give other numbers, so that `setup` makes old folders again."""

_BYTES_A_PARAMETER = {"int4": 1.5, "int8": 2.0, "fp16": 2.5, "fp32": 4.5}  # with the embeddings, and room to spare

Progress = Callable[[str, float], None]
"""Told what is being done, and the share of it that is done, 0 to 1."""


def export(
    source: Source,
    tokenizer: Tokenizer,
    target: Path,
    *,
    style: PromptStyle,
    command: str,
    progress: Progress,
    format: Format = "int8",
    device: Target = "cpu",
) -> Manifest:
    """Write the model folder `target`, replacing what is there. Raises ExportError; leaves nothing half done."""
    architecture = source.architecture
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = int(architecture.parameters * _BYTES_A_PARAMETER[format])
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ExportError(
            f"{target.parent} has {free >> 20} MB free and the model needs {needed >> 20} MB; make room there"
        )
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        errors: dict[str, float] = {}
        matrices = architecture.layers * 4 + 1

        def written(name: str, error: float) -> None:
            errors[name] = round(error, 5)
            progress("Quantizing", len(errors) / matrices)

        write_quantized(source, tokenizer, folder, format=format, target=device, on_tensor=written)
        tokenizer.save(str(folder / TOKENIZER_FILE))
        progress("Checking", 0.0)
        manifest = Manifest(
            format=FORMAT,
            name=target.name,
            architecture=architecture.name,
            parameters=architecture.parameters,
            layers=architecture.layers,
            heads=architecture.heads,
            kv_heads=architecture.kv_heads,
            head_size=architecture.head_size,
            hidden=architecture.hidden,
            vocabulary=architecture.vocabulary,
            context=architecture.context,
            kv_bytes_per_token=architecture.kv_bytes_per_token(2 if device == "cuda" else 4),
            quantization=format,
            quantization_errors=errors,
            prompt=prompt_format(tokenizer, style),
            source=source.description,
            license=source.license,
            recipe=RECIPE,
            command=command,
            files={name: sha256_of(folder / name) for name in (GRAPH_FILE, DATA_FILE, TOKENIZER_FILE)},
        )
        write_manifest(folder, manifest)
        _flush(folder)
        _put_in_place(folder, target)
        progress("Checking", 1.0)
    return manifest


def write_quantized(
    source: Source, tokenizer: Tokenizer, folder: Path, *, format: Format, target: Target, on_tensor: OnTensor
) -> None:
    """Write the graph by the recipe that measured best for the format; see export/README.md."""
    if format in ("int8", "int4"):
        source = RotatedSource(source)
    calibration = calibration_tokens(tokenizer) if format == "int4" else None
    write_graph(source, folder, format=format, target=target, on_tensor=on_tensor, calibration=calibration)


def prompt_format(tokenizer: Tokenizer, style: PromptStyle) -> PromptFormat:
    """Look the style's tokens up in the tokenizer. Raises ExportError where the style needs one that is not there."""
    fim = {name: tokenizer.token_to_id(f"<{name}>") for name in ("fim_prefix", "fim_middle", "fim_suffix")}
    missing = [name for name, token in fim.items() if token is None]
    if style != "plain" and missing:
        raise ExportError(f"The tokenizer has no <{missing[0]}> token, which the prompt style {style!r} needs")
    special = sorted(index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    return PromptFormat(style=style, filename=tokenizer.token_to_id("<filename>"), stop=tuple(special), **fim)


def is_current(folder: Path) -> bool:
    """Whether a folder holds a whole model of today's recipe."""
    try:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
    except ModelError:
        return False
    return manifest.recipe == RECIPE


@contextmanager
def lock_for(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a model folder; calls `waiting` once if another process has it. Its death releases it, too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sweep(target: Path) -> None:
    """Remove what killed exports of this model left behind; only while holding its lock."""
    for leftover in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Make sure that the files are on the disk before their folder takes its name."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _put_in_place(folder: Path, target: Path) -> None:
    """Rename a finished folder to its place. An old one is moved aside first, since folders cannot be overwritten."""
    aside = folder.with_name(f"{target.name}-old")
    try:
        with suppress(FileNotFoundError):
            target.rename(aside)
        folder.rename(target)
    except OSError as error:
        raise ExportError(
            f"{target} cannot be replaced ({error}); close the editors that use it and run this again"
        ) from error
