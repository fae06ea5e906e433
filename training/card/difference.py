"""What a run learned, small enough to be copied back: the low-rank part of each matrix's change, in 8 bits.

`write_difference` writes pieces; `write_adapter` turns them into the adapter that an export merges.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save, save_file
from torch import Tensor

from training.card.data.packing import PIECES, checked

LARGEST = 25_000_000
"""Bytes of a difference."""

_PIECE = 16_000_000
_NAME = "difference"
_PREFIX = "base_model.model."
_EMBEDDINGS = f"{_PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"
_SCALE = 4  # bytes of a float32


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a difference, beside its pieces."""

    base: str
    """The model that it is to be added to."""
    rank: int
    lost: float
    """The part of the change that the low rank leaves out: norm of it by norm of the change."""
    error: float
    """The same with the 8 bits."""
    taught: list[int]
    """Tokens whose embeddings come with it."""


def rank_for(shapes: Iterable[tuple[int, ...]], most: int = LARGEST) -> int:
    """The largest rank whose factors, of matrices of these shapes, take at most `most` bytes."""
    known = list(shapes)

    def size(rank: int) -> int:
        return sum(min(rank, *shape) * (sum(shape) + 2 * _SCALE) for shape in known)

    rank = 1
    while rank < max(min(shape) for shape in known) and size(rank + 1) <= most:
        rank += 1
    return rank


def factors(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest matrix of a rank: [out, rank] and [rank, in], of equal lengths. The rank is cut to what there can be.

    By the eigenvectors of the smaller Gram matrix, in float64: the same as a singular value decomposition, sooner.
    """
    outputs, inputs = change.shape
    exact = change.double()
    if outputs <= inputs:
        up = torch.linalg.eigh(exact @ exact.T)[1][:, -rank:].flip(1)
        down = up.T @ exact
    else:
        down = torch.linalg.eigh(exact.T @ exact)[1][:, -rank:].flip(1).T
        up = exact @ down.T
    balance = (down.norm(dim=1) / up.norm(dim=0).clamp_min(1e-30)).clamp_min(1e-30).sqrt()
    return (up * balance).float(), (down / balance[:, None]).float()


def write_difference(
    folder: Path, changes: Mapping[str, Tensor], embeddings: Tensor, taught: list[int], base: str, most: int = LARGEST
) -> Told:
    """Write the changes float32 [out, in] of matrices as pieces into `folder`, whole or not at all.

    `embeddings` [m, hidden] are those of the `taught` tokens, which the model did not know.
    """
    rank = rank_for((tuple(change.shape) for change in changes.values()), most)
    tensors: dict[str, Tensor] = {"embeddings": embeddings.to("cpu", torch.bfloat16).contiguous()}
    whole = lost = wrong = 0.0
    for name, change in changes.items():
        up, down = factors(change, rank)
        stored = {"up": _eighths(up.T), "down": _eighths(down)}
        for part, (values, scales) in stored.items():
            tensors[f"{name}.{part}"], tensors[f"{name}.{part}.scale"] = values.cpu(), scales.cpu()
        up_again, down_again = (values.float() * scales[:, None] for values, scales in stored.values())
        whole += float(change.square().sum())
        lost += float((change - up @ down).square().sum())
        wrong += float((change - up_again.T @ down_again).square().sum())
    told = Told(base, rank, (lost / max(whole, 1e-30)) ** 0.5, (wrong / max(whole, 1e-30)) ** 0.5, taught)
    data = save(tensors)
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    known = {}
    for index, start in enumerate(range(0, len(data), _PIECE)):
        part_of_it = data[start : start + _PIECE]
        (new / f"{_NAME}.{index}").write_bytes(part_of_it)
        known[f"{_NAME}.{index}"] = hashlib.sha256(part_of_it).hexdigest()
    (new / PIECES).write_text(json.dumps({"sha256": known, **asdict(told)}, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)
    return told


def write_adapter(folder: Path, adapter: Path) -> Told:
    """Make an adapter in PEFT's layout of what `write_difference` wrote. Raises PackingError."""
    content: dict[str, Any] = json.loads((folder / PIECES).read_text(encoding="utf-8")) if folder.is_dir() else {}
    stored = load(b"".join(piece.read_bytes() for piece in checked(folder)))
    content.pop("sha256")
    told = Told(**content)
    tensors = {_EMBEDDINGS: stored["embeddings"]} if told.taught else {}
    layers, modules = set(), set()
    for name in (key.removesuffix(".up") for key in stored if key.endswith(".up")):
        up, down = (stored[f"{name}.{part}"].float() * stored[f"{name}.{part}.scale"][:, None] for part in _PARTS)
        missing = told.rank - len(down)  # one rank for all, as an adapter has it
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = _longer(down, missing)
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = _longer(up, missing).T.contiguous()
        layers.add(int(name.split(".")[2]))
        modules.add(name.rpartition(".")[2])
    adapter.mkdir(parents=True, exist_ok=True)
    save_file(tensors, adapter / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": told.base,
        "r": told.rank,
        "lora_alpha": told.rank,
        "bias": "none",
        "target_modules": sorted(modules),
        "layers_to_transform": sorted(layers),
        "trainable_token_indices": {"embed_tokens": told.taught} if told.taught else None,
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return told


_PARTS = ("up", "down")


def _eighths(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as int8, with a scale float32 for each."""
    scales = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
    return (rows / scales[:, None]).round().to(torch.int8).contiguous(), scales.contiguous()


def _longer(rows: Tensor, missing: int) -> Tensor:
    return torch.nn.functional.pad(rows, (0, 0, 0, missing)).to(torch.bfloat16).contiguous()
