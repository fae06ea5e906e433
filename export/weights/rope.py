"""The rotary embedding's angles (Su et al. 2021, arXiv 2104.09864), and their scaling for long contexts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.architecture import Architecture, RopeScaling


def rotary_caches(
    architecture: Architecture, positions: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines of each position's angles, each `[positions, head_size / 2]`; all positions by default."""
    angles = np.outer(np.arange(positions or architecture.context), frequencies(architecture))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def frequencies(architecture: Architecture) -> NDArray[np.float64]:
    """Radians a position of each pair of channels, float64[head_size / 2]."""
    exponents = np.arange(0, architecture.head_size, 2, dtype=np.float64) / architecture.head_size
    plain = architecture.rope_theta**-exponents
    return plain if architecture.rope_scaling is None else plain / _divisors(plain, architecture.rope_scaling)


def _divisors(plain: NDArray[np.float64], scaling: RopeScaling) -> NDArray[np.float64]:
    """By how much each frequency is slowed down.

    `linear` is position interpolation (Chen et al. 2023, arXiv 2306.15595): all alike. `llama3` is that of Llama 3.1
    (`apply_scaling` in meta-llama/llama-models, `models/llama3/model.py`): frequencies that turn at least
    `high_frequency_factor` times in the original context stay, those that turn less than `low_frequency_factor`
    times are slowed down by `factor`, and the frequencies of those between are blended.
    """
    if scaling.kind == "linear":
        return np.full_like(plain, scaling.factor)
    if scaling.kind == "factors":
        return np.array(scaling.factors, np.float64)
    turns = scaling.original_context * plain / (2 * np.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray(1 / (kept + (1 - kept) / scaling.factor), np.float64)
