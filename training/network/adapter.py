"""What training writes, in PEFT's layout: the low-rank factors, and the embeddings of the FIM tokens."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from training.network.base import Base
from training.network.decoder import Model

_PREFIX = "base_model.model."
_EMBEDDINGS = f"{_PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"


def save_adapter(folder: Path, model: Model, base: Base) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`; factors in bfloat16, which 8 bits do not notice."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    if base.taught:
        tensors[_EMBEDDINGS] = model.embeddings[list(base.taught)].to("cpu", torch.bfloat16)
    for name, matrix in model.adapted():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = matrix.down.detach().to("cpu", torch.bfloat16).contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = matrix.up.detach().to("cpu", torch.bfloat16).contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": model.shape.rank,
        "lora_alpha": model.shape.alpha,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name, _ in model.adapted()}),
        "layers_to_transform": list(range(model.first_adapted, model.architecture.layers)),
        "trainable_token_indices": {"embed_tokens": list(base.taught)} if base.taught else None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(folder: Path, model: Model) -> None:
    """Put an adapter's factors and embeddings into a model of the same shape. Raises KeyError where one is missing."""
    tensors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    with torch.no_grad():
        if taught := config["trainable_token_indices"]:
            model.embeddings[taught["embed_tokens"]] = tensors[_EMBEDDINGS].to(model.embeddings)
        for name, matrix in model.adapted():
            matrix.down.copy_(tensors[f"{_PREFIX}{name}.lora_A.weight"])
            matrix.up.copy_(tensors[f"{_PREFIX}{name}.lora_B.weight"])
