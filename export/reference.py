"""The float32 graph against transformers and torch (extra `export`): is the exported model the published one?

The only file of `export/` that imports them, and only inside its functions; the server never imports it.
`python -m export.reference CHECKPOINT FOLDER` is `export_with_optimum` in a process of its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtime.session import Model
from export.architecture import Architecture
from export.sources import Source, tensor_names

TOLERANCE = 1e-3
"""The largest difference of two logits at which two models count as the same."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two models are on one sequence."""

    largest_difference: float
    """Of any two logits."""
    same_greedy_tokens: int
    """How many greedy tokens after the sequence are the same before the first difference."""


def transformers_model(source: Source) -> Any:
    """The same weights in transformers, float32; the whole model in memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture = source.architecture
    kind = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}[architecture.name]
    biases = {} if kind == "qwen2" else {"attention_bias": architecture.qkv_bias, "mlp_bias": architecture.mlp_bias}
    config = AutoConfig.for_model(
        kind,
        num_hidden_layers=architecture.layers,
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        head_dim=architecture.head_size,
        vocab_size=architecture.vocabulary,
        max_position_embeddings=architecture.context,
        rope_theta=architecture.rope_theta,
        rms_norm_eps=architecture.norm_epsilon,
        tie_word_embeddings=architecture.tied_embeddings,
        rope_scaling=_rope_scaling(architecture),
        **biases,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    weights = {name: torch.from_numpy(np.array(source.tensor(name))) for name in tensor_names(architecture)}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"transformers names other tensors: missing {missing}, unexpected {unexpected}")
    return model


def _rope_scaling(architecture: Architecture) -> dict[str, Any] | None:
    """The scaling in the form of transformers. Divisors from a GGUF file have no such form, and raise ValueError."""
    scaling = architecture.rope_scaling
    if scaling is None:
        return None
    if scaling.kind == "factors":
        raise ValueError("rotary factors of a GGUF file cannot be given to transformers")
    fields: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        fields["low_freq_factor"] = scaling.low_frequency_factor
        fields["high_freq_factor"] = scaling.high_frequency_factor
        fields["original_max_position_embeddings"] = scaling.original_context
    return fields


def compare(model: Model, published: Any, tokens: Sequence[int], greedy: int) -> Likeness:
    """Compare all logits of `tokens`, then `greedy` tokens with which each model continues them."""
    import torch

    slot = model.new_slot(len(tokens) + greedy)
    got = model.run(slot, tokens, range(len(tokens)))
    with torch.no_grad():
        answer = published(torch.tensor([list(tokens)]), use_cache=True)
        expected: NDArray[np.float32] = answer.logits[0].numpy()
        last, same = expected[-1], 0
        ours = got[-1]
        for _ in range(greedy):
            token = int(ours.argmax())
            if token != int(last.argmax()):
                break
            same += 1
            ours = model.run(slot, [token], [0])[0]
            answer = published(torch.tensor([[token]]), past_key_values=answer.past_key_values, use_cache=True)
            last = answer.logits[0, -1].numpy()
    return Likeness(float(np.abs(got - expected).max()), same)


def reference_logits(checkpoint: Path, tokens: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Yield the logits `[length, vocabulary]` of each of some sequences `[sequences, length]`, from a checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    ).eval()
    for sequence in tokens:
        with torch.no_grad():
            yield model(torch.from_numpy(sequence)[None]).logits[0].numpy()


def export_with_optimum(checkpoint: Path, folder: Path) -> None:
    """Let optimum write a `model.onnx` of standard operators, which the engine runs, from a transformers checkpoint."""
    from optimum.exporters.onnx import main_export

    main_export(
        str(checkpoint),
        folder,
        task="text-generation-with-past",
        do_validation=False,
        trust_remote_code=False,
        local_files_only=True,
    )


def main(checkpoint: str, folder: str) -> None:
    """Write the graph; after a failure, the last line on stderr says why."""
    warnings.simplefilter("ignore")
    try:
        export_with_optimum(Path(checkpoint), Path(folder))
    except Exception as error:
        sys.exit((str(error).splitlines() or [type(error).__name__])[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
