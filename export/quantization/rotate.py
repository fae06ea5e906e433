"""A rotation of a model's inner coordinates: 8 bits represent them well, and its results stay the same.

A few channels of a decoder carry values far larger than all others; with one scale a token, they leave the rest too few
steps. Three changes spread them; they cancel out exactly in real arithmetic, and cost nothing when the model runs:

- the residual stream is multiplied by an orthogonal matrix, folded into every matrix that reads or writes it, after the
  norms' weights have been folded into the matrices after them (QuaRot, Ashkboos et al. 2024, arXiv 2404.00456);
- each head's values are rotated likewise, which the output projection undoes;
- the MLP's inner channels are divided by a scale that its down projection is multiplied with (SmoothQuant, Xiao et al.
  2022, arXiv 2211.10438). Their magnitudes are found without data: the rotated, normed stream is close to Gaussian.

Measured by `python -m evaluation.quality` on SmolLM2-135M and real code; the numbers are in export/README.md.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.sources import Floats, Source
from export.sources.slices import on_slices

_SEED = 20251005
_SAMPLES = 512
_SMOOTHING = 0.5  # share of the activations' spread that moves into the weights; 0.4 and 0.6 measured no better


class Rotation:
    """An orthogonal matrix of any size: random signs, then a Hadamard matrix for the size's power of two, times a
    random orthogonal one for the rest of it, as a Kronecker product that is never built.
    """

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self._size = size
        self._signs = random.choice(np.array([-1.0, 1.0], np.float32), size)
        power = size & -size
        first = 1 << (power.bit_length() // 2)
        rest = random.standard_normal((size // power, size // power))
        self._factors = [np.linalg.qr(rest)[0].astype(np.float32), _hadamard(first), _hadamard(power // first)]

    def apply(self, rows: Floats, weights: Floats | None = None) -> Floats:
        """Multiply `[n, size]` by `weights` `[size]`, then by the matrix from the right."""
        signed = self._signs if weights is None else self._signs * weights
        left, middle, right = (factor.shape[0] for factor in self._factors)
        turned = np.empty(rows.shape, np.float32)

        def turn(some: slice) -> None:
            values = (rows[some] * signed).reshape(-1, right) @ self._factors[2]
            values = self._factors[1].T @ values.reshape(-1, middle, right)
            turned[some] = (self._factors[0].T @ values.reshape(-1, left, middle * right)).reshape(-1, self._size)

        on_slices(turn, len(rows), 4 * self._size)
        return turned

    def apply_across(self, columns: Floats) -> Floats:
        """Multiply `[size, n]` by the transposed matrix, from the left."""
        left, middle, right = (factor.shape[0] for factor in self._factors)
        turned = np.empty(columns.shape, np.float32)

        def turn(some: slice) -> None:
            values = np.multiply(columns[:, some], self._signs[:, None], order="C").reshape(left * middle, right, -1)
            values = (self._factors[2].T @ values).reshape(left, middle, -1)
            values = (self._factors[1].T @ values).reshape(left, -1)
            turned[:, some] = (self._factors[0].T @ values).reshape(self._size, -1)

        on_slices(turn, columns.shape[1], 4 * self._size)
        return turned


class RotatedSource:
    """The same model in rotated coordinates: a source like the one that it wraps, with tied embeddings untied."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.architecture, self.license, self.description = source.architecture, source.license, source.description
        self.revision = source.revision
        random = np.random.default_rng(_SEED)
        self._stream = Rotation(self.architecture.hidden, random)
        self._head = Rotation(self.architecture.head_size, random)
        self._gaussian = random.standard_normal((_SAMPLES, self.architecture.hidden)).astype(np.float32)
        self._mlp_of = lru_cache(maxsize=1)(self._mlp)

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Read one tensor with the rotations folded in; all norm weights are ones."""
        if "norm" in name:
            return np.ones_like(self._source.tensor(name, rows))
        if name == "model.embed_tokens.weight":
            return self._stream.apply(self._source.tensor(name, rows))
        if name == "lm_head.weight":
            return self._reads(name, "model.norm.weight", rows)
        layer, kind = name.split(".")[2], name.split(".", 4)[4]
        norm = f"model.layers.{layer}.input_layernorm.weight"
        match kind:
            case "o_proj.weight":
                return self._stream.apply_across(self._turn_heads(self._source.tensor(name)))[rows]
            case "v_proj.weight":
                values = self._reads(name, norm).reshape(-1, self.architecture.head_size, self.architecture.hidden)
                return np.concatenate([self._head.apply_across(head) for head in values])[rows]
            case "q_proj.weight" | "k_proj.weight":
                return self._reads(name, norm, rows)
            case "v_proj.bias":
                return self._turn_heads(self._source.tensor(name))[rows]
            case "o_proj.bias":
                return self._stream.apply(self._source.tensor(name)[None])[0, rows]
            case "q_proj.bias" | "k_proj.bias":
                return self._source.tensor(name, rows)
            case _:
                return self._mlp_of(layer)[kind][rows]

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the wrapped source."""
        return self._source.tokenizer()

    def _mlp(self, layer: str) -> dict[str, Floats]:
        """Gate, up and down projection of a layer, smoothed, with their biases."""
        prefix, norm = f"model.layers.{layer}.mlp.", f"model.layers.{layer}.post_attention_layernorm.weight"
        gate, up = (self._reads(f"{prefix}{which}_proj.weight", norm) for which in ("gate", "up"))
        down = self._stream.apply_across(self._source.tensor(f"{prefix}down_proj.weight"))
        biases = {}
        if self.architecture.mlp_bias:
            biases = {which: self._source.tensor(f"{prefix}{which}_proj.bias") for which in ("gate", "up", "down")}
            biases["down"] = self._stream.apply(biases["down"][None])[0]
        gated = self._gaussian @ gate.T + biases.get("gate", 0.0)
        raised = self._gaussian @ up.T + biases.get("up", 0.0)
        inner = np.abs(gated / (1 + np.exp(-gated)) * raised).max(axis=0)
        scales = np.maximum(inner, 1e-5) ** _SMOOTHING / np.maximum(np.abs(down).max(axis=0), 1e-5) ** (1 - _SMOOTHING)
        scales = (scales / np.exp(np.log(scales).mean())).astype(np.float32)
        up /= scales[:, None]
        down *= scales
        if biases:
            biases["up"] = biases["up"] / scales
        weights = {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": down}
        return weights | {f"{which}_proj.bias": bias for which, bias in biases.items()}

    def _reads(self, name: str, norm: str, rows: slice = slice(None)) -> Floats:
        """A matrix whose input is the normed stream."""
        return self._stream.apply(self._source.tensor(name, rows), self._source.tensor(norm))

    def _turn_heads(self, columns: Floats) -> Floats:
        """Rotate the columns `[n, heads * head_size]` of each head."""
        rows = np.ascontiguousarray(columns, np.float32).reshape(-1, self.architecture.head_size)
        return self._head.apply(rows).reshape(columns.shape)


def _hadamard(size: int) -> NDArray[np.float32]:
    """Sylvester's Hadamard matrix of a power of two, scaled to be orthogonal."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    scaled: NDArray[np.float32] = (matrix / np.sqrt(size)).astype(np.float32)
    return scaled
