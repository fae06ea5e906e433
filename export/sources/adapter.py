"""A LoRA adapter in PEFT's layout, merged into the base model's weights while they are read.

It may have embeddings of a few tokens, which replace those of the base model. For all other weights:
W + s B A, with s = alpha / r, or alpha / sqrt(r) where it is rank-stabilized (Hu et al. 2021, arXiv 2106.09685;
Kalajdzievski 2023, arXiv 2312.03732).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cattrs
import numpy as np
from tokenizers import Tokenizer

from engine.model_folders.manifest import NgramWeights
from export.architecture import ExportError, tensor_shapes
from export.config import read_config
from export.sources.files.safetensors_file import SafetensorsFile
from export.sources.folder import NO_PICKLE, PICKLES
from export.sources.source import Floats, Opened, Source, span

CALIBRATION_FILE = "calibration.json"
"""In an adapter's folder: the power that the gate applies, as `training.fitting.confidence` has measured it."""

NGRAMS_FILE = "ngrams.json"
"""In an adapter's folder: the weights of n-grams of the project, as `training.fitting.ngrams` has fitted them."""

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")
_EMBEDDINGS = "model.embed_tokens.weight"
_OWN_EMBEDDINGS = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"

# Settings that change the arithmetic, and the reason to refuse each; an empty value means that it is off.
_REFUSED = {
    "fan_in_fan_out": "stores its matrices transposed (fan_in_fan_out)",
    "use_dora": "also learned magnitudes (DoRA)",
    "modules_to_save": "carries whole matrices of its own (modules_to_save)",
    "rank_pattern": "has ranks that differ by module (rank_pattern)",
    "alpha_pattern": "has scales that differ by module (alpha_pattern)",
    "layer_replication": "repeats layers (layer_replication)",
    "alora_invocation_tokens": "switches itself on by a token (alora_invocation_tokens)",
    "lora_bias": "learned biases (lora_bias)",
    "use_qalora": "works on groups of inputs (use_qalora)",
    "megatron_config": "is one of Megatron's",
}


def calibration_of(folder: Path) -> float:
    """The `calibration` of the manifest of a model with this adapter. Raises ExportError."""
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return 1.0
    value = read_config(path).get("calibration")
    if not isinstance(value, float) or not 0 < value < math.inf:
        raise ExportError(f"{path} must hold a positive number as `calibration`, not {value!r}")
    return value


def ngrams_of(folder: Path) -> NgramWeights | None:
    """The `ngrams` of the manifest of a model with this adapter. Raises ExportError."""
    path = folder / NGRAMS_FILE
    if not path.is_file():
        return None
    try:
        return cattrs.structure(read_config(path), NgramWeights)
    except Exception as error:  # cattrs raises groups of any errors of its hooks
        raise ExportError(f"{path} is incomplete ({'; '.join(cattrs.transform_error(error))})") from error


class AdaptedSource(Opened):
    """The weights of a base model with an adapter's low-rank products added."""

    def __init__(self, base: Source, folder: Path) -> None:
        self._base = base
        config = read_config(folder / _CONFIG)
        self._scale = _scale(config)
        self._file = _open(folder)
        try:
            self._tokens = self._match_tokens(config)
            self._pairs = self._match(config)
        except BaseException:
            self.close()
            raise
        self.architecture, self.license, self.revision = base.architecture, base.license, base.revision
        self.description = f"{base.description} with the adapter {folder.resolve().name}"

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read rows of a tensor with the adapter's product added; see `Source`."""
        values = self._base.tensor(name, rows)
        if self._tokens and self._is_embeddings(name):
            start, stop = span(rows, self.architecture.vocabulary)
            values = values.copy()
            for own, token in zip(self._file.rows(_OWN_EMBEDDINGS, slice(None)), self._tokens, strict=True):
                if start <= token < stop:
                    values[token - start] = own
        pair = self._pairs.get(name)
        if pair is None:
            return values
        inner, outer = pair
        down = self._file.rows(inner, slice(None))
        start, stop = span(rows, self._file.tensors[outer].shape[0])
        values += (self._file.rows(outer, slice(start, stop)) * np.float32(self._scale)) @ down
        return values

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the base model."""
        return self._base.tokenizer()

    def close(self) -> None:
        """Close the adapter's file; the base model has its own `close`."""
        self._file.close()

    def _is_embeddings(self, name: str) -> bool:
        return name == _EMBEDDINGS or (name == "lm_head.weight" and self.architecture.tied_embeddings)

    def _match_tokens(self, config: Mapping[str, Any]) -> list[int]:
        """The tokens that the adapter has embeddings for, in their order. Raises ExportError."""
        indices, stored = config.get("trainable_token_indices"), self._file.tensors.get(_OWN_EMBEDDINGS)
        if not indices and stored is None:
            return []
        found: Any = indices.get("embed_tokens") if isinstance(indices, dict) else indices
        tokens: list[Any] = found if isinstance(found, list) else []
        architecture = self._base.architecture
        fits = all(type(token) is int and 0 <= token < architecture.vocabulary for token in tokens)
        if not tokens or not fits or stored is None or stored.shape != (len(tokens), architecture.hidden):
            raise ExportError(
                "The adapter's embeddings of its own (trainable_token_indices) do not fit this model; get it again"
            )
        return tokens

    def _match(self, config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Both factors of each adapted tensor. Raises ExportError if one is missing, of a wrong shape or unknown."""
        rank = config["r"]
        shapes = dict(tensor_shapes(self._base.architecture))
        halves: dict[str, dict[str, str]] = {}
        for stored in self._file.tensors:
            if stored == _OWN_EMBEDDINGS:
                continue
            found = _NAME.fullmatch(stored)
            if found is None or f"{found[1]}.weight" not in shapes or "norm" in found[1]:
                raise ExportError(f"The adapter adapts {stored!r:.100}, which is no matrix of this model")
            if found[1] == "model.embed_tokens":
                raise ExportError("The adapter adapts the embeddings, which is not supported; adapt linear layers only")
            halves.setdefault(f"{found[1]}.weight", {})[found[2]] = stored
        if not halves:
            raise ExportError(f"{_WEIGHTS} holds no matrix; get the adapter again")
        for name, pair in halves.items():
            outputs, inputs = shapes[name]
            for letter, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
                if letter not in pair:
                    raise ExportError(f"The adapter has only a half of {name} (no lora_{letter}); get it again")
                if (found_shape := self._file.tensors[pair[letter]].shape) != shape:
                    raise ExportError(
                        f"The adapter's lora_{letter} for {name} has the shape {list(found_shape)} instead of "
                        f"{list(shape)}; it was made for another model"
                    )
        return {name: (pair["A"], pair["B"]) for name, pair in halves.items()}


def _scale(config: Mapping[str, Any]) -> float:
    """The factor of the product. Raises ExportError if the adapter is of a kind that is not merged here."""
    if config.get("peft_type") != "LORA":
        raise ExportError(f"The adapter is of the kind {config.get('peft_type')!r:.40}; only LORA can be merged")
    for key, reason in _REFUSED.items():
        if config.get(key):
            raise ExportError(f"The adapter {reason}, which cannot be merged here; merge it with PEFT and export that")
    if config.get("bias", "none") != "none":
        raise ExportError("The adapter carries biases, which cannot be merged here; merge it with PEFT and export that")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not isinstance(alpha, int | float) or not (0 < rank <= 1 << 16 and abs(alpha) < 1e6):
        raise ExportError(f"{_CONFIG} has r = {rank!r:.40} and lora_alpha = {alpha!r:.40}; get the adapter again")
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _open(folder: Path) -> SafetensorsFile:
    if not (folder / _WEIGHTS).is_file():
        if pickle := next((path for path in sorted(folder.iterdir()) if path.suffix in PICKLES), None):
            raise ExportError(f"{pickle.name} {NO_PICKLE}; save the adapter as safetensors")
        raise ExportError(f"{folder} has no {_WEIGHTS}; give the folder that PEFT saved the adapter in")
    return SafetensorsFile(folder / _WEIGHTS)
