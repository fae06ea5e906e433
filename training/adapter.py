"""What training leaves behind, in PEFT's layout: the low-rank factors, and the embeddings of the FIM tokens."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from export.default_model import RESERVED
from export.sources import GgufSource
from training.model import Model

_PREFIX = "base_model.model."
_EMBEDDINGS = f"{_PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"
_TAUGHT = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")
_APART = 0.5  # how far the FIM tokens are moved apart, of an embedding's length


def taught_tokens(tokenizer: Tokenizer) -> list[int]:
    """The tokens whose embeddings are replaced, in ascending order."""
    return sorted(tokenizer.get_vocab(with_added_tokens=True)[name] for name in _TAUGHT)


def taught_embeddings(source: GgufSource) -> Tensor:
    """All embeddings, those of the FIM tokens moved apart in random directions: reserved tokens are all alike.

    The model reads over them as they are, which is a good place to begin. The means of words that say the same, such as
    ` before`, were a far worse one: the first held-out loss of a run was twice as high.
    """
    tokenizer = source.tokenizer(RESERVED)
    embeddings = torch.from_numpy(source.tensor("model.embed_tokens.weight"))
    generator = torch.Generator().manual_seed(5)
    for token in taught_tokens(tokenizer):
        direction = torch.randn(embeddings.shape[1], generator=generator)
        embeddings[token] += direction / direction.norm() * embeddings[token].norm() * _APART
    return embeddings


def save_adapter(folder: Path, model: Model, embeddings: Tensor, tokens: list[int]) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`; factors in bfloat16, which 8 bits do not notice."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_EMBEDDINGS: embeddings[tokens].to(torch.bfloat16)}
    for name, matrix in model.adapted():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = matrix.down.detach().to("cpu", torch.bfloat16).contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = matrix.up.detach().to("cpu", torch.bfloat16).contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "SmolLM2-135M-Instruct",
        "r": model.shape.rank,
        "lora_alpha": model.shape.alpha,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name, _ in model.adapted()}),
        "layers_to_transform": list(range(model.first_adapted, model.architecture.layers)),
        "trainable_token_indices": {"embed_tokens": tokens},
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(folder: Path, model: Model) -> None:
    """Put an adapter's factors into a model of the same shape. Raises KeyError where one is missing."""
    tensors = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, matrix in model.adapted():
            matrix.down.copy_(tensors[f"{_PREFIX}{name}.lora_A.weight"])
            matrix.up.copy_(tensors[f"{_PREFIX}{name}.lora_B.weight"])
