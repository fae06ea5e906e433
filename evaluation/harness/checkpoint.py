"""Checkpoints as the hub has them: the configuration as transformers spells it, the tokenizer, the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from export.architecture import Architecture
from export.sources import Source, tensor_names


def config_of(architecture: Architecture) -> dict[str, Any]:
    """Spell an architecture as transformers 4 does."""
    config: dict[str, Any] = {
        "architectures": [architecture.name],
        "model_type": "qwen2" if architecture.name == "Qwen2ForCausalLM" else "llama",
        "hidden_act": "silu",
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "intermediate_size": architecture.intermediate,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_size,
        "vocab_size": architecture.vocabulary,
        "max_position_embeddings": architecture.context,
        "rope_theta": architecture.rope_theta,
        "rms_norm_eps": architecture.norm_epsilon,
        "tie_word_embeddings": architecture.tied_embeddings,
        "attention_bias": architecture.output_bias,
        "mlp_bias": architecture.mlp_bias,
        "torch_dtype": "bfloat16",
    }
    if (scaling := architecture.rope_scaling) is not None:
        config["rope_scaling"] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            config["rope_scaling"] |= {
                "low_freq_factor": scaling.low_frequency_factor,
                "high_freq_factor": scaling.high_frequency_factor,
                "original_max_position_embeddings": scaling.original_context,
            }
    return config


def write_checkpoint(source: Source, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a source as the hub would have it, float32, for peers to read."""
    folder.mkdir()
    architecture = source.architecture
    config = config_of(architecture) | {"bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    tokenizer.save(str(folder / "tokenizer.json"))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    tensors = {name: np.asarray(source.tensor(name), np.float32) for name in tensor_names(architecture)}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    encoded = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors.values():
            file.write(tensor.tobytes())
