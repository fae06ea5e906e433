"""A folder in the layout of the Hugging Face hub: `config.json`, `tokenizer.json`, and safetensors files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from export.architecture import ExportError, tensor_shapes
from export.config import architecture_of, read_config
from export.sources.files.safetensors_file import SafetensorsFile
from export.sources.files.tokenizer_file import read_tokenizer
from export.sources.source import Floats, Opened

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NO_PICKLE = "is a pickle, which can run code when it is opened; only safetensors and GGUF are read"
_INDEX = "model.safetensors.index.json"
_HARMLESS = re.compile(r"rotary_emb\.inv_freq$|^lm_head\.weight$|masked_bias$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of published weights that is not opened yet."""

    folder: Path
    description: str
    license: str
    revision: str | None = None

    def tokenizer(self) -> Tokenizer:
        """Read the folder's `tokenizer.json`. Raises ExportError."""
        return read_tokenizer(self.folder / "tokenizer.json")


def local_checkpoint(folder: Path) -> Checkpoint:
    """Describe a folder on the disk."""
    return Checkpoint(folder, folder.resolve().name, license_of(folder))


class FolderSource(Opened):
    """The weights of a folder. Headers are read and compared with the configuration at once, tensors on demand."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        folder = checkpoint.folder
        self._checkpoint = checkpoint
        self.architecture = architecture_of(read_config(folder / "config.json"))
        self._files: list[SafetensorsFile] = []
        try:
            for path in shards_of(folder):
                self._files.append(SafetensorsFile(path))
            self._file_of = self._by_tensor()
            self._check()
        except BaseException:
            self.close()
            raise
        self.license, self.description, self.revision = (
            checkpoint.license,
            checkpoint.description,
            checkpoint.revision,
        )

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read rows of a tensor; see `Source`."""
        if name == "lm_head.weight" and self.architecture.tied_embeddings:
            name = "model.embed_tokens.weight"
        return self._file_of[name].rows(name, rows)

    def tokenizer(self) -> Tokenizer:
        """The folder's `tokenizer.json`."""
        return self._checkpoint.tokenizer()

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()

    def _by_tensor(self) -> Mapping[str, SafetensorsFile]:
        found: dict[str, SafetensorsFile] = {}
        for file in self._files:
            for name in file.tensors:
                if name in found:
                    raise ExportError(f"{name:.80} is in {found[name].name} and in {file.name}; get the folder again")
                found[name] = file
        return found

    def _check(self) -> None:
        """Check that all tensors of the architecture exist in their shapes, and none that would change the model."""
        if self.architecture.layers > len(self._file_of):
            raise ExportError(f"config.json says {self.architecture.layers} layers, for which tensors are missing")
        expected = dict(tensor_shapes(self.architecture))
        for name, shape in expected.items():
            if name not in self._file_of:
                raise ExportError(f"The tensor {name!r} is missing; get the folder again, with all safetensors files")
            file = self._file_of[name]
            found = file.tensors[name].shape
            if found != shape:
                raise ExportError(
                    f"{name} in {file.name} has the shape {list(found)}, and config.json says {list(shape)}; "
                    "they do not belong together"
                )
            file.rows(name, slice(0, 0))  # raises an error for an unknown type
        unknown = [name for name in self._file_of if name not in expected and not _HARMLESS.search(name)]
        if unknown:
            raise ExportError(
                f"The tensor {unknown[0]!r:.100} is none of a {self.architecture.name} with this config.json; "
                "exporting without it would change the model"
            )


def license_of(folder: Path) -> str:
    """The licence that a folder's model card or licence text names; else `unknown`."""
    card = _start_of(folder / "README.md")
    if card.startswith("---") and (named := re.search(r"^license:\s*([\w.-]+)", card.partition("\n---")[0], re.M)):
        return named[1]
    text = next((_start_of(path) for path in sorted(folder.glob("LICEN[CS]E*"))), "")
    if re.search(r"Apache License\s+Version 2\.0", text):
        return "apache-2.0"
    return "mit" if re.match(r"\s*(The )?MIT License", text) else "unknown"


def _start_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""


def shards_of(folder: Path) -> list[Path]:
    """Find the files that hold the weights. Raises ExportError."""
    if (folder / _INDEX).is_file():
        names = read_config(folder / _INDEX).get("weight_map")
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise ExportError(f"{_INDEX} names no files; get the folder again")
        shards = sorted(set(names.values()))
        for name in shards:
            if not re.fullmatch(r"[\w.-]+\.safetensors", name):
                raise ExportError(f"{_INDEX} names {name!r:.80}, which is no safetensors file of the folder")
            if not (folder / name).is_file():
                raise ExportError(f"The file {name} is missing, which {_INDEX} names; get the folder again")
        return [folder / name for name in shards]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    found = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter"))
    if not found:
        if pickle := next((path for path in sorted(folder.iterdir()) if path.suffix in PICKLES), None):
            raise ExportError(f"{pickle.name} {NO_PICKLE}; get the model's safetensors files")
        raise ExportError(f"{folder} has no *.safetensors file; give a folder as the Hugging Face hub has it")
    return found
