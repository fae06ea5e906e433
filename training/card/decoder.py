"""The decoder for a card: every matrix of its layers is learned, whole or as a low-rank change; shapes are constant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.sources import Source
from training.card.attention import Attend
from training.card.data.rows import Rows
from training.network.decoder import PROJECTIONS
from training.network.operations import weighted_loss

_ROWS_OF_LOGITS = {"cpu": 128, "cuda": 8192}


class Matrix(nn.Module):
    """A matrix [out, in] that is learned: itself, or what is added to it as a product of two thin ones."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.whole: nn.Parameter | None = nn.Parameter(start)
        self.up: nn.Parameter | None = None
        self.down: nn.Parameter | None = None
        self._below = start

    def narrow(self, below: Tensor, up: Tensor, down: Tensor) -> None:
        """From now on learn only `up` [out, rank] and `down` [rank, in], whose product is added to `below`."""
        self.whole, self.up, self.down = None, nn.Parameter(up), nn.Parameter(down)
        self._below = below

    def value(self) -> Tensor:
        """The matrix as it is now, float32."""
        if self.whole is not None:
            return self.whole
        assert self.up is not None
        assert self.down is not None
        return torch.addmm(self._below, self.up, self.down)


class Decoder(nn.Module):
    """A model of Llama's kind. Norms, embeddings and head stay as they are."""

    def __init__(self, source: Source, embeddings: Tensor, dtype: torch.dtype, device: str) -> None:
        """Read the weights to begin with. Raises ValueError where the architecture has parts that this model lacks."""
        super().__init__()
        shape = source.architecture
        if shape.qkv_bias or shape.rope_scaling is not None:
            raise ValueError(f"{source.description} has biases or scaled positions, which the training does not know")
        self.architecture, self._dtype = shape, dtype

        def read(name: str) -> Tensor:
            return torch.from_numpy(source.tensor(name)).to(device)

        self.embeddings = embeddings.to(device, dtype)
        self._head = self.embeddings if shape.tied_embeddings else read("lm_head.weight").to(dtype)
        self._norm = read("model.norm.weight").to(dtype)
        self._norms = [
            tuple(
                read(f"model.layers.{layer}.{name}.weight").to(dtype)
                for name in ("input_layernorm", "post_attention_layernorm")
            )
            for layer in range(shape.layers)
        ]
        self.matrices = nn.ModuleDict(
            {
                f"{layer} {name}".replace(".", "_"): Matrix(read(f"model.layers.{layer}.{name}.weight").float())
                for layer in range(shape.layers)
                for name in PROJECTIONS
            }
        )
        size = shape.head_size
        frequencies = shape.rope_theta ** -(torch.arange(0, size, 2) / size)
        self._frequencies = frequencies.to(device)
        self.horizon = nn.Linear(shape.hidden, 1, device=device)
        """Tells from a state how much of the middle is still to come; never exported."""
        self.before: Any = _before
        self.after: Any = _after

    def compile_parts(self) -> None:
        """Let torch compile what stands between the attentions, once for all layers."""
        self.before = torch.compile(_before, dynamic=False)
        self.after = torch.compile(_after, dynamic=False)

    def named(self) -> Iterator[tuple[str, Matrix]]:
        """The matrices under the names that files have for them."""
        for layer in range(self.architecture.layers):
            for name in PROJECTIONS:
                yield f"model.layers.{layer}.{name}", self._matrix(layer, name)

    def learned(self) -> list[nn.Parameter]:
        """The parameters of all matrices."""
        return list(self.matrices.parameters())

    def forward(self, rows: Rows, attend: Attend) -> Tensor:
        """The states after each token, [n, hidden]."""
        shape = self.architecture
        angles = (rows.positions[:, None] * self._frequencies).repeat(1, 2)[:, None]
        cosine, sine = angles.cos().to(self._dtype), angles.sin().to(self._dtype)
        x = self.embeddings[rows.tokens]
        for layer, (first, second) in enumerate(self._norms):
            asked = self._joined(layer, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
            out = self._joined(layer, "self_attn.o_proj")
            wide = self._joined(layer, "mlp.gate_proj", "mlp.up_proj")
            narrow = self._joined(layer, "mlp.down_proj")
            heads = shape.heads, shape.kv_heads
            query, key, value = self.before(x, first, asked, cosine, sine, heads, shape.norm_epsilon)
            x = self.after(x, attend(query, key, value, rows), out, second, wide, narrow, shape.norm_epsilon)
        return functional.rms_norm(x, self._norm.shape, self._norm, shape.norm_epsilon)

    def losses(self, states: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """The weighted sum of the losses at all targets, and each of them, in nats."""
        block = _ROWS_OF_LOGITS[states.device.type]
        return weighted_loss(states, self._head, rows.targets, rows.weights, block)

    def horizon_loss(self, states: Tensor, rows: Rows) -> Tensor:
        """The sum, over the tokens of middles, of how wrong the horizon is told (arXiv 2410.03103)."""
        told = torch.sigmoid(self.horizon(states.float()))[:, 0]
        return ((told - rows.left).abs() * rows.answers).sum()

    def _matrix(self, layer: int, name: str) -> Matrix:
        matrix = self.matrices[f"{layer} {name}".replace(".", "_")]
        assert isinstance(matrix, Matrix)
        return matrix

    def _joined(self, layer: int, *names: str) -> Tensor:
        return torch.cat([self._matrix(layer, name).value().to(self._dtype) for name in names])


def _before(
    x: Tensor, norm: Tensor, asked: Tensor, cosine: Tensor, sine: Tensor, heads: tuple[int, int], epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of states [n, hidden], as heads; the first two are turned by their positions."""
    inner = functional.linear(functional.rms_norm(x, norm.shape, norm, epsilon), asked)
    size = asked.shape[0] // (heads[0] + 2 * heads[1])
    parts = inner.view(len(x), -1, size).split([heads[0], heads[1], heads[1]], dim=1)
    return _turned(parts[0], cosine, sine), _turned(parts[1], cosine, sine), parts[2]


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def _after(x: Tensor, mixed: Tensor, out: Tensor, norm: Tensor, wide: Tensor, narrow: Tensor, epsilon: float) -> Tensor:
    """The states with what attention and the feed-forward part add to them."""
    x = x + functional.linear(mixed, out)
    gate, up = functional.linear(functional.rms_norm(x, norm.shape, norm, epsilon), wide).chunk(2, dim=-1)
    return x + functional.linear(functional.silu(gate) * up, narrow)
