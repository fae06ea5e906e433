"""Llama's forward pass in numpy, written from its definition: what an exported graph is compared with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from export.architecture import Architecture
from export.sources import Floats, Source


def rotary_frequencies(architecture: Architecture) -> NDArray[np.float64]:
    """Radians a position; `llama3` loops over the frequencies as the published code does."""
    size, scaling = architecture.head_size, architecture.rope_scaling
    plain = [architecture.rope_theta ** (-2 * pair / size) for pair in range(size // 2)]
    if scaling is None:
        return np.array(plain)
    if scaling.kind == "linear":
        return np.array([frequency / scaling.factor for frequency in plain])
    if scaling.kind == "factors":
        return np.array([frequency / factor for frequency, factor in zip(plain, scaling.factors, strict=True)])
    scaled = []
    for frequency in plain:
        wavelength = 2 * math.pi / frequency
        if wavelength < scaling.original_context / scaling.high_frequency_factor:
            scaled.append(frequency)
        elif wavelength > scaling.original_context / scaling.low_frequency_factor:
            scaled.append(frequency / scaling.factor)
        else:
            smooth = (scaling.original_context / wavelength - scaling.low_frequency_factor) / (
                scaling.high_frequency_factor - scaling.low_frequency_factor
            )
            scaled.append((1 - smooth) * frequency / scaling.factor + smooth * frequency)
    return np.array(scaled)


def forward(source: Source, tokens: list[int]) -> Floats:
    """Compute the logits float32[len(tokens), vocabulary]."""
    architecture = source.architecture
    size, group = architecture.head_size, architecture.heads // architecture.kv_heads
    angles = np.outer(np.arange(len(tokens)), rotary_frequencies(architecture))
    cosines, sines = (
        np.concatenate([wave(angles)] * 2, axis=1)[:, None].astype(np.float32) for wave in (np.cos, np.sin)
    )
    mask = np.triu(np.full((len(tokens), len(tokens)), -np.inf, np.float32), 1)
    biased = {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj"), architecture.qkv_bias),
        "o_proj": architecture.output_bias,
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), architecture.mlp_bias),
    }

    def norm(x: Floats, name: str) -> Floats:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + architecture.norm_epsilon) * source.tensor(name)

    def linear(x: Floats, module: str) -> Floats:
        product = x @ source.tensor(f"{module}.weight").T
        return product + source.tensor(f"{module}.bias") if biased[module.split(".")[-1]] else product

    def rotate(x: Floats) -> Floats:
        turned = np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], axis=-1)
        return x * cosines + turned * sines

    x = source.tensor("model.embed_tokens.weight")[tokens]
    for layer in range(architecture.layers):
        name = f"model.layers.{layer}"
        normed = norm(x, f"{name}.input_layernorm.weight")
        q, k, v = (
            linear(normed, f"{name}.self_attn.{which}_proj").reshape(len(tokens), -1, size) for which in ("q", "k", "v")
        )
        q, k, v = rotate(q), rotate(k).repeat(group, axis=1), v.repeat(group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(size) + mask
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended = np.einsum("hqk,khd->qhd", shares, v).reshape(len(tokens), -1)
        x = x + linear(attended, f"{name}.self_attn.o_proj")
        normed = norm(x, f"{name}.post_attention_layernorm.weight")
        gate = linear(normed, f"{name}.mlp.gate_proj")
        inner = gate / (1 + np.exp(-gate)) * linear(normed, f"{name}.mlp.up_proj")
        x = x + linear(inner, f"{name}.mlp.down_proj")
    return norm(x, "model.norm.weight") @ source.tensor("lm_head.weight").T


def losses(logits: Floats, tokens: list[int]) -> Floats:
    """Negative log probability of each next token, in nats."""
    shifted = logits[:-1] - logits[:-1].max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[range(len(tokens) - 1), tokens[1:]]
