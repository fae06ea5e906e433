"""From a source to a finished model folder, which is written under a temporary name and renamed when it is whole."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from engine.devices.integer_sums import int8_sums_saturate
from engine.model_folders.leftovers import NEW
from engine.model_folders.manifest import (
    FORMAT,
    TOKENIZER_FILE,
    Manifest,
    ModelError,
    NgramWeights,
    PromptFormat,
    check_files,
    read_manifest,
    sha256_of,
    write_manifest,
)
from engine.model_folders.whole_file import write_whole
from export.architecture import ExportError
from export.folder.atomic_folder import ELSEWHERE, beside, check_replaceable, check_room, put_in_place
from export.folder.card import CARD_FILE, model_card
from export.graph.decoder import Format, Target, write_graph
from export.graph.matmul_formats import OnTensor
from export.prompt_style import StyleChoice, prepare
from export.quantization.gptq_data import gptq_tokens
from export.quantization.rotate import RotatedSource
from export.sources import Progress, Source
from export.weights.rope import frequencies

RECIPE = 7
"""Raise it for every change after which the same source gives other numbers: `setup` then makes old folders anew."""

_BYTES_A_PARAMETER = {"int4": 1.5, "int8": 2.0, "fp16": 2.5, "fp32": 4.5}  # with the embeddings, and room to spare
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}")


def export(
    source: Source,
    tokenizer: Tokenizer,
    target: Path,
    *,
    style: StyleChoice,
    command: str,
    progress: Progress,
    format: Format = "int8",
    device: Target = "cpu",
    name: str | None = None,
    heal: bool = False,
    calibration: float = 1.0,
    ngrams: NgramWeights | None = None,
) -> Manifest:
    """Write the model folder `target`, replacing an older model. `name` is the folder's by default.

    `heal`: token healing in any style, for models that are weak where text ends in the middle of a word.
    `calibration`: the power that the gate applies, see `Manifest.calibration`; `ngrams`: see `Manifest.ngrams`.
    Raises ExportError; leaves nothing half done, even if it is interrupted.
    """
    architecture = source.architecture
    check_replaceable(target)
    check_room(target, int(architecture.parameters * _BYTES_A_PARAMETER[format]))
    tokenizer, prompt = prepare(tokenizer, architecture.vocabulary, style, source.description)
    prompt = replace(prompt, token_healing=prompt.token_healing or heal)
    with naming_full_disks(target), beside(target) as temporary:
        folder = temporary / NEW
        folder.mkdir()
        errors: dict[str, float] = {}
        matrices = architecture.layers * 4 + 1

        def written(name: str, error: float) -> None:
            errors[name] = round(error, 5)
            progress("Writing the graph", len(errors) / matrices)

        progress("Writing the graph", 0.0)
        write_quantized(source, tokenizer, folder, format=format, target=device, on_tensor=written)
        progress("Finishing", 0.0)
        manifest = manifest_of(source, prompt, name=name or target.name, command=command, format=format, device=device)
        manifest = replace(manifest, quantization_errors=errors, calibration=calibration, ngrams=ngrams)
        manifest = complete_folder(folder, tokenizer, manifest)
        put_in_place(folder, target)
    progress("Finishing", 1.0)
    return manifest


def manifest_of(
    source: Source, prompt: PromptFormat, *, name: str, command: str, format: Format, device: Target
) -> Manifest:
    """What a model folder says of a source's graph, before anything was measured of it; without its files."""
    architecture = source.architecture
    return Manifest(
        format=FORMAT,
        name=name,
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
        quantization_errors={},
        prompt=prompt,
        source=source.description,
        license=source.license,
        recipe=RECIPE,
        command=command,
        files={},
        rotary=tuple(frequencies(architecture).tolist()),
        revision=source.revision,
        signed_weights=format == "int8" and device == "cpu" and not int8_sums_saturate(),
    )


def complete_folder(folder: Path, tokenizer: Tokenizer, manifest: Manifest) -> Manifest:
    """Write the other files of the folder; returns the manifest with each file's sha256."""
    write_whole(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=True))
    write_whole(folder / CARD_FILE, model_card(manifest))
    manifest = replace(manifest, files={path.name: sha256_of(path) for path in sorted(folder.iterdir())})
    write_manifest(folder, manifest)
    return manifest


@contextmanager
def naming_full_disks(target: Path) -> Iterator[None]:
    """Turn errors of the disk into an ExportError that says which one is full."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ExportError(
            f"{target.parent} is full; make room there, or {ELSEWHERE}"
            if full
            else f"The model cannot be written to {target.parent} ({error.strerror or error})"
        ) from error


def write_quantized(
    source: Source, tokenizer: Tokenizer, folder: Path, *, format: Format, target: Target, on_tensor: OnTensor
) -> None:
    """Write the graph by the recipe that measured best for the format; see export/README.md."""
    if format in ("int8", "int4"):
        source = RotatedSource(source)
    tokens = gptq_tokens(tokenizer) if format == "int4" else None
    write_graph(source, folder, format=format, target=target, on_tensor=on_tensor, gptq_tokens=tokens)


def check_name(name: str) -> str:
    """Refuse anything but a plain folder name. Raises ExportError."""
    if not _NAME.fullmatch(name):
        raise ExportError(f"{name!r:.80} cannot name a model; use letters, digits, dots, dashes and underscores")
    return name


def is_current(folder: Path) -> bool:
    """Whether a folder holds a whole model of the present recipe."""
    try:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
    except ModelError:
        return False
    return manifest.recipe == RECIPE
