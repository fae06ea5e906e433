"""`manifest.json`: what a model folder contains, and the check that its files are the ones that were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cattrs

from engine.model_folders.whole_file import write_whole

FORMAT = 1
MANIFEST_FILE, GRAPH_FILE, TOKENIZER_FILE = "manifest.json", "model.onnx", "tokenizer.json"

PromptStyle = Literal["mellum", "psm", "plain"]


class ModelError(Exception):
    """A model cannot be used; its text is one sentence that names the thing and the mend."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a model was taught to read a prompt. All ids are those of its own `tokenizer.json`."""

    style: PromptStyle
    """`mellum`: suffix, prefix, middle. `psm`: prefix, suffix, middle. `plain`: no suffix, the model goes on."""
    filename: int | None
    """Token in front of a path; without one, context from other files cannot be told apart and is left out."""
    fim_prefix: int | None
    fim_middle: int | None
    fim_suffix: int | None
    stop: tuple[int, ...]
    """Tokens that end a suggestion."""
    token_healing: bool
    """Whether the model never saw text end in the middle of a word, so that its last word has to be taken back."""
    repository: int | None = None
    """Token in front of the project's name, which begins the prompt; None where the model knows none."""


@dataclass(frozen=True, slots=True)
class NgramWeights:
    """How n-grams of the project are mixed into what the model says: see `engine.decoding.ngrams`."""

    above: float
    """Of a place above the cursor in the document: the logarithm of what it weighs where one token matches."""
    below: float
    elsewhere: float
    growth: float
    """By how much that grows with each level of the match's length."""
    bias: float
    doubt: float
    agreement: float
    evidence: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything the engine has to know about a model that its graph does not say."""

    format: int
    name: str
    architecture: str
    parameters: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    vocabulary: int
    context: int
    """Tokens the model can attend to."""
    kv_bytes_per_token: int
    quantization: str
    """`int8`, or another of the export formats."""
    quantization_errors: Mapping[str, float]
    """Relative error of each weight matrix after quantization."""
    prompt: PromptFormat
    source: str
    license: str
    recipe: int
    """Version of the export's own arithmetic: a folder of an older recipe is made again by `setup`."""
    command: str
    files: Mapping[str, str]
    """sha256 of every other file in the folder, by name."""
    calibration: float = 1.0
    """The power of a token's probability that is as often right as it says; see `engine.fitting`."""
    rotary: tuple[float, ...] = ()
    """Radians a position of each pair of channels of a key; empty where keys cannot be moved to other positions."""
    ngrams: NgramWeights | None = None
    """How what stands elsewhere in the project is mixed in; None where that was never fitted for this model."""
    fitted: str = ""
    """What n-grams and calibration were fitted on here; empty where they were not, or came with an adapter."""
    revision: str | None = None
    """Which state of the source it was, such as a commit on the hub."""
    signed_weights: bool = False
    """Whether bytes of weights are signed: then they want a processor on which `int8_sums_saturate` is false."""
    verification: Mapping[str, float] = field(default_factory=dict)
    """What `--verify` measured against float32 on real code, by name; empty where it was not asked for."""

    @property
    def mend(self) -> str:
        """What to do where its files are not as they were, as a sentence."""
        again = f"{self.command} --force" if self.command == "mellum-lsp setup" else self.command
        return f"Make it again: {again}"

    @property
    def is_for_gpu(self) -> bool:
        """Whether the graph is written for CUDA: keys and values then take two bytes a number, and else four."""
        return self.kv_bytes_per_token == 2 * 2 * self.layers * self.kv_heads * self.head_size


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest. Raises ModelError where there is none, or none that this version understands."""
    path = folder / MANIFEST_FILE
    try:
        fields: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no model (no {MANIFEST_FILE}). Run: mellum-lsp setup") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Run: mellum-lsp setup --force") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ModelError(f"{path} has a format that this version cannot read. Run: mellum-lsp setup --force")
    try:
        manifest = cattrs.structure(fields, Manifest)
    except Exception as error:  # cattrs raises groups of whatever its hooks raise
        reason = "; ".join(cattrs.transform_error(error))
        raise ModelError(f"{path} is incomplete ({reason}). Run: mellum-lsp setup --force") from error
    for name in manifest.files:
        if not is_plain(name):
            raise ModelError(f"{path} names the file {name!r:.80}, which is not in its folder. Get the model again")
    return manifest


def is_plain(name: str) -> bool:
    """Whether a file's name leads nowhere but into the folder that it is read from, on any system."""
    return name not in ("", ".", "..") and not any(character in name for character in ("/", "\\", ":", "\0"))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last of all files in the folder. Raises OSError."""
    write_whole(folder / MANIFEST_FILE, json.dumps(cattrs.unstructure(manifest), indent=2) + "\n")


def sha256_of(path: Path) -> str:
    """Hash a file without reading it into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_links(folder: Path) -> None:
    """Raise ModelError where a file of a model's folder is a link that leads out of it, or to nothing."""
    inside = folder.resolve()
    for path in (path for path in folder.iterdir() if path.is_symlink()):
        try:
            is_inside = path.resolve(strict=True).is_relative_to(inside)
        except (OSError, RuntimeError):
            is_inside = False
        if not is_inside:
            raise ModelError(f"{path} is a link out of the model's folder. Put the file itself there")


def check_files(folder: Path, manifest: Manifest, names: Collection[str] | None = None) -> None:
    """Compare files with the manifest. Raises ModelError that names the first that differs, or that is elsewhere.

    Where a graph's own data lies is looked at by ONNX Runtime, which refuses to leave the folder.
    """
    check_links(folder)
    for name in (GRAPH_FILE, TOKENIZER_FILE):
        if name not in manifest.files:
            raise ModelError(f"{folder / MANIFEST_FILE} does not name {name}. {manifest.mend}")
    for name in manifest.files:
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing. {manifest.mend}")
    for name, expected in manifest.files.items():
        path = folder / name
        if (names is None or name in names) and sha256_of(path) != expected:
            raise ModelError(f"{path} is not the file that was exported (its sha256 differs). {manifest.mend}")
