"""A Hugging Face `config.json` as an architecture, or one sentence why it cannot be exported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.architecture import Architecture, ExportError, RopeScaling

SUPPORTED = ("LlamaForCausalLM", "Qwen2ForCausalLM")

_DENSE = "choose a dense one, such as JetBrains/Mellum-4b-base"
_OPTIMUM = "--via optimum may be able to"
_MOST_BYTES = 1 << 20
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")
_LARGEST = 1 << 24


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model's folder. Raises ExportError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ExportError(f"{path.name} is larger than any {path.name} is; get the file again")
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"{path} is missing; give a folder as the Hugging Face hub has it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path.name} cannot be read ({error!s:.80}); get the file again") from error
    if not isinstance(fields, dict):
        raise ExportError(f"{path.name} holds no object; get the file again")
    return fields


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Read the numbers. Raises ExportError where the model is of another kind, or a number is missing or impossible."""
    name = check_decoder(config)
    if name not in SUPPORTED:
        raise ExportError(
            f"{name:.60} is not an architecture that this exporter writes (it writes {' and '.join(SUPPORTED)}); "
            f"{_OPTIMUM}"
        )
    _refuse_variants(config, name)
    hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
    if config.get("head_dim") is None and hidden % heads:
        raise ExportError(f"config.json has hidden_size {hidden} for {heads} heads, which is no whole number each")
    qwen = name == "Qwen2ForCausalLM"
    attention_bias = _flag(config, "attention_bias")
    theta, scaling = _rope(config)
    return Architecture(
        name=name,
        layers=_count(config, "num_hidden_layers"),
        hidden=hidden,
        intermediate=_count(config, "intermediate_size"),
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads", heads),
        head_size=_count(config, "head_dim", hidden // heads),
        vocabulary=_count(config, "vocab_size"),
        context=_count(config, "max_position_embeddings"),
        rope_theta=theta,
        norm_epsilon=_number(config, "rms_norm_eps", 1e-6),
        tied_embeddings=_flag(config, "tie_word_embeddings"),
        qkv_bias=qwen or attention_bias,
        output_bias=attention_bias and not qwen,
        mlp_bias=_flag(config, "mlp_bias") and not qwen,
        rope_scaling=scaling,
    )


def check_decoder(config: Mapping[str, Any]) -> str:
    """Find the class of the model. Raises ExportError for models that no exporter here takes: own code, experts."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) else None
    kind = str(config.get("model_type", ""))
    experts = next((config[key] for key in _EXPERTS if isinstance(config.get(key), int) and config[key] > 1), None)
    if experts or "moe" in f"{name}{kind}".lower() or "mixtral" in kind:
        which = "Mellum 2 and its like are mixtures" if "mellum" in f"{name}{kind}".lower() else "It is a mixture"
        raise ExportError(f"{which} of experts ({name}), which neither this exporter nor optimum can export; {_DENSE}")
    if name is None or not name.endswith(("ForCausalLM", "LMHeadModel")):
        raise ExportError(f"config.json names {names!r:.80} as its architecture, which is no decoder of code; {_DENSE}")
    auto = config.get("auto_map")
    if isinstance(auto, dict) and "AutoModelForCausalLM" in auto:
        raise ExportError("config.json asks for Python code of its own (auto_map), which is never run; " + _DENSE)
    if config.get("quantization_config"):
        raise ExportError("These weights are already quantized (quantization_config); give the original ones")
    return name


def _refuse_variants(config: Mapping[str, Any], name: str) -> None:
    """Refuse settings that change the arithmetic of a known class."""
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise ExportError(f"The activation {activation!r:.40} cannot be written ('silu' can); {_OPTIMUM}")
    layer_types = config.get("layer_types")
    sliding = isinstance(layer_types, list) and "sliding_attention" in layer_types
    if sliding or (config.get("use_sliding_window") and config.get("sliding_window")):
        raise ExportError(f"This {name} attends through sliding windows, which the engine cannot run; {_DENSE}")
    if config.get("partial_rotary_factor") not in (None, 1.0):
        raise ExportError(f"This {name} turns only a part of each head, which cannot be written; {_OPTIMUM}")


def _rope(config: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """Theta and scaling, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before)."""
    newer = config.get("rope_parameters")
    scaling = newer if newer is not None else config.get("rope_scaling")
    if scaling is None:
        scaling = {}
    if not isinstance(scaling, dict):
        raise ExportError("config.json has rope settings that are no object; get the file again")
    source = scaling if "rope_theta" in scaling else config
    theta = _number(source, "rope_theta", 10000.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ("linear", "llama3"):
        raise ExportError(
            f"The rotary embedding is scaled by {kind!r:.40}, which cannot be written ('linear' and 'llama3' can); "
            f"{_OPTIMUM}"
        )
    factor = _number(scaling, "factor")
    if factor < 1:
        raise ExportError(f"The rotary embedding is scaled by a factor of {factor:g}; it must be at least 1")
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    low, high = _number(scaling, "low_freq_factor"), _number(scaling, "high_freq_factor")
    if not 0 < low < high:
        raise ExportError(f"low_freq_factor {low:g} must be above 0 and below high_freq_factor {high:g}")
    return theta, RopeScaling("llama3", factor, low, high, _count(scaling, "original_max_position_embeddings"))


def _count(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise ExportError(f"config.json has {key} = {value!r:.40}, which must be a whole number above 0")
    return value


def _number(config: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = config.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e12:
        raise ExportError(f"config.json has {key} = {value!r:.40}, which must be a number above 0")
    return float(value)


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if value not in (None, True, False):
        raise ExportError(f"config.json has {key} = {value!r:.40}, which must be true or false")
    return value is True
