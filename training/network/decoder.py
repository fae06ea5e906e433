"""SmolLM2 in plain torch, for training: flat batches without padding, low-rank changes of the matrices.

The adapted matrices are merged once a step. A product then costs what it did before, and only the backward pass pays
for the low rank: two thin products fewer in each pass than with the usual side path.

Most tokens are prompt, few are answer. If only answers teach, both go through the same matrices, but
in two streams: of the answers all activations are kept for the backward pass, of the prompts only those of keys and
values. So a matrix learns what it should do at the answer's tokens, and what the answer should find in the prompt. It
does not learn, through the layers above, how to read the prompt, where the backward pass would spend most of its time.
`python -m evaluation.training` prints how much time this saves, and how near the gradient is to the whole one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from export.architecture import Architecture
from training.network.base import Base
from training.network.operations import added_and_normed, attended, gated, normed, rotated, weighted_loss

PROJECTIONS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)


@dataclass(frozen=True, slots=True)
class LowRank:
    """The shape of the change."""

    rank: int = 32
    alpha: int = 32
    layers: int = 16
    """How many layers, from the top, are changed; the backward pass ends at the lowest of them."""

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied with."""
        return self.alpha / self.rank


class _Product(torch.autograd.Function):
    """x (W + s B A)^T with gradients for x, A and B only; `merged` is the sum in the parentheses."""

    @staticmethod
    def forward(context: Any, x: Tensor, merged: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        context.save_for_backward(x, merged, down, up)
        context.scale = scale
        return x @ merged.T

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:
        (gradient,) = gradients
        x, merged, down, up = context.saved_tensors
        outer = gradient @ up.to(gradient.dtype)
        inner = x @ down.to(x.dtype).T
        down_gradient = (outer.T @ x).to(down.dtype) * context.scale
        up_gradient = (gradient.T @ inner).to(up.dtype) * context.scale
        wanted = gradient @ merged if context.needs_input_grad[0] else None
        return wanted, None, down_gradient, up_gradient, None


class Adapted(nn.Module):
    """A frozen matrix `[out, in]` with a trained low-rank change."""

    def __init__(self, weight: Tensor, shape: LowRank, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        # as float32 on a processor, where a merge would otherwise spend most of its time on turning it into that
        self._weight, self._scale = weight.float() if weight.device.type == "cpu" else weight, shape.scale
        self.down = nn.Parameter(torch.randn(shape.rank, inputs, generator=generator) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, shape.rank))
        self._merged = weight.clone()

    @torch.no_grad()
    def merge(self) -> None:
        """Take in what the factors are now; to be called after each step."""
        self._merged.copy_(torch.addmm(self._weight.float(), self.up, self.down, alpha=self._scale))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply activations `[n, in]`."""
        product: Tensor = _Product.apply(x, self._merged, self.down, self.up, self._scale)
        return product


class Frozen(nn.Module):
    """A matrix that stays as it is."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """Multiply activations `[n, in]`."""
        return x @ self._weight.T


@dataclass(slots=True)
class Stream:
    """Rows of several sequences one after the other."""

    states: Tensor
    """[n, hidden]"""
    rotary: tuple[Tensor, Tensor]
    """Cosines and sines of their positions, [n, 1, head size] each."""
    counts: Sequence[int]
    """How many rows each sequence has."""


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, architecture: Architecture, matrices: Mapping[str, nn.Module], norms: Sequence[Tensor]) -> None:
        super().__init__()
        self._shape = architecture
        self.matrices = nn.ModuleDict({name.replace(".", "_"): matrix for name, matrix in matrices.items()})
        self._norms = norms

    def read(self, stream: Stream) -> None:
        """Change the states of whole sequences."""
        inner = normed(stream.states, self._norms[0], self._shape.norm_epsilon)
        self._change(stream, inner, self._keys(inner, stream), self._values(inner), stream.counts)

    def forward(self, prompts: Stream, answers: Stream, *, last: bool) -> None:
        """Change both streams' states; of the `last` layer nothing but the answers' are asked for."""
        shape = self._shape
        with torch.no_grad():
            inner = normed(prompts.states, self._norms[0], shape.norm_epsilon)
        told_keys, told_values = self._keys(inner, prompts), self._values(inner)
        if not last:
            with torch.no_grad():
                self._change(prompts, inner, told_keys, told_values, prompts.counts)
        inner = normed(answers.states, self._norms[0], shape.norm_epsilon)
        counts = prompts.counts, answers.counts
        keys = _alternating((told_keys, self._keys(inner, answers)), counts)
        values = _alternating((told_values, self._values(inner)), counts)
        self._change(answers, inner, keys, values, [sum(both) for both in zip(*counts, strict=True)])

    def _change(self, stream: Stream, inner: Tensor, keys: Tensor, values: Tensor, lengths: Sequence[int]) -> None:
        shape, use = self._shape, self.matrices
        query = rotated(use["self_attn_q_proj"](inner).view(len(inner), shape.heads, -1), *stream.rotary)
        mixed = use["self_attn_o_proj"](attended(query, keys, values, stream.counts, lengths))
        x, inner = added_and_normed(stream.states, mixed, self._norms[1], shape.norm_epsilon)
        gate = gated(use["mlp_gate_proj"](inner), use["mlp_up_proj"](inner))
        stream.states = x + use["mlp_down_proj"](gate)

    def _keys(self, inner: Tensor, stream: Stream) -> Tensor:
        keys = self.matrices["self_attn_k_proj"](inner).view(len(inner), self._shape.kv_heads, -1)
        return rotated(keys, *stream.rotary)

    def _values(self, inner: Tensor) -> Tensor:
        values: Tensor = self.matrices["self_attn_v_proj"](inner).view(len(inner), self._shape.kv_heads, -1)
        return values


def _alternating(parts: tuple[Tensor, Tensor], counts: tuple[Sequence[int], Sequence[int]]) -> Tensor:
    """Of each sequence its rows in the first stream, then those in the second."""
    split = (part.split(list(own)) for part, own in zip(parts, counts, strict=True))
    return torch.cat([rows for both in zip(*split, strict=True) for rows in both])


class Model(nn.Module):
    """The decoder. Only the low-rank factors are parameters."""

    def __init__(self, base: Base, shape: LowRank, dtype: torch.dtype, device: str) -> None:
        """Read the weights. Raises ValueError where the architecture has parts that this model lacks."""
        super().__init__()
        source = base.source
        if source.architecture.qkv_bias or source.architecture.rope_scaling is not None:
            raise ValueError(f"{base.name} has biases or scaled positions, which the training does not know")
        self.architecture, self.shape = source.architecture, shape
        self._device = device

        def read(name: str) -> Tensor:
            return torch.from_numpy(source.tensor(name)).to(device, dtype)

        self.embeddings = base.embeddings().to(device, dtype)
        self._head = self.embeddings if self.architecture.tied_embeddings else read("lm_head.weight")
        self._norm = read("model.norm.weight")
        self.first_adapted = max(self.architecture.layers - shape.layers, 0)
        generator = torch.Generator().manual_seed(0)
        blocks = []
        for layer in range(self.architecture.layers):
            names = {name: f"model.layers.{layer}.{name}.weight" for name in PROJECTIONS}
            matrices: dict[str, nn.Module] = {
                name: Adapted(read(full), shape, generator).to(device)
                if layer >= self.first_adapted
                else Frozen(read(full))
                for name, full in names.items()
            }
            norms = [read(f"model.layers.{layer}.{name}.weight") for name in _NORMS]
            blocks.append(Block(self.architecture, matrices, norms))
        self.blocks = nn.ModuleList(blocks)

    def adapted(self) -> Iterator[tuple[str, Adapted]]:
        """The adapted matrices under the names of transformers."""
        for layer in range(self.first_adapted, self.architecture.layers):
            for name in PROJECTIONS:
                matrix = self.blocks[layer].get_submodule(f"matrices.{name.replace('.', '_')}")
                if isinstance(matrix, Adapted):
                    yield f"model.layers.{layer}.{name}", matrix

    def merge(self) -> None:
        """Take in the factors as they are now."""
        for _, matrix in self.adapted():
            matrix.merge()

    @torch.no_grad()
    def lower(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """What the layers that stay as they are make of `tokens` int64[n], sequences of `lengths`: [n, hidden]."""
        places = torch.cat([torch.arange(length) for length in lengths])
        stream = Stream(self.embeddings[tokens], self._rotary(places), lengths)
        for block in self.blocks[: self.first_adapted]:
            block.read(stream)
        return stream.states

    def forward(self, lower: Tensor, lengths: Sequence[int], learned: Sequence[int]) -> Tensor:
        """Go on from `lower` states [n, hidden] of sequences of `lengths`, the last `learned` tokens of which teach.

        Returns the states after those, [sum of learned, hidden].
        """
        prompts, answers = self._streams(lower, lengths, learned)
        for index in range(self.first_adapted, len(self.blocks)):
            if len(prompts.states):
                self.blocks[index](prompts, answers, last=index == len(self.blocks) - 1)
            else:
                self.blocks[index].read(answers)  # all of it teaches
        return normed(answers.states, self._norm, self.architecture.norm_epsilon)

    def _streams(self, lower: Tensor, lengths: Sequence[int], learned: Sequence[int]) -> tuple[Stream, Stream]:
        """Prompts and answers apart."""
        places: tuple[list[Tensor], list[Tensor]] = [], []
        rows: tuple[list[Tensor], list[Tensor]] = [], []
        start = 0
        for length, own in zip(lengths, learned, strict=True):
            for index, part in enumerate(torch.arange(length).split([length - own, own])):
                places[index].append(part)
                rows[index].append(part + start)
            start += length

        def stream(index: int) -> Stream:
            chosen = torch.cat(rows[index]).to(self._device)
            return Stream(lower[chosen], self._rotary(torch.cat(places[index])), [len(one) for one in places[index]])

        return stream(0), stream(1)

    def losses(self, states: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The losses at `targets` int64[m] in nats: their sum weighted by float32[m], and each float32[m]."""
        return weighted_loss(states, self._head, targets, weights)

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [n, 1, head size]."""
        size = self.architecture.head_size
        frequencies = self.architecture.rope_theta ** -(torch.arange(0, size, 2) / size)
        angles = (positions[:, None] * frequencies).repeat(1, 2)[:, None].to(self._device)
        return angles.cos().to(self.embeddings.dtype), angles.sin().to(self.embeddings.dtype)


_NORMS = ("input_layernorm", "post_attention_layernorm")
