"""The shape of a decoder of the Llama family: everything about a model but its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

LONGEST_CONTEXT = 32768
"""A graph holds the rotary embedding of this many positions at most: each costs memory, and prompts have 4096."""


class ExportError(Exception):
    """An error of the source or of the target folder; its text is one sentence with the mend."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How the rotary embedding's frequencies are scaled for a longer context; see `export/weights/rope.py`."""

    kind: Literal["linear", "llama3", "factors"]
    """`linear` and `llama3` as in a `config.json`; `factors`: one divisor a frequency, as GGUF files store it."""
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_context: int = 0
    """Longest position before the scaling, in tokens; `llama3` needs it."""
    factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of a `config.json`, under one name each."""

    name: str
    """The class as transformers names it, such as `LlamaForCausalLM`."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    """Longest position the model was trained for, in tokens; never above LONGEST_CONTEXT."""
    rope_theta: float
    norm_epsilon: float
    tied_embeddings: bool
    qkv_bias: bool = False
    output_bias: bool = False
    """Whether the attention's output projection has biases."""
    mlp_bias: bool = False
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        """Refuse shapes of which no graph can be made."""
        object.__setattr__(self, "context", min(self.context, LONGEST_CONTEXT))
        if self.heads % self.kv_heads:
            raise ExportError(f"{self.heads} heads cannot share {self.kv_heads} key-value heads; get the model again")
        if self.head_size % 8:
            raise ExportError(
                f"Heads of {self.head_size} channels cannot be exported; their size must be a multiple of 8"
            )
        if not (0 < self.rope_theta < 1e12 and 0 < self.norm_epsilon < 1 and self.vocabulary > 0):
            raise ExportError(
                f"A rope theta of {self.rope_theta:g}, a norm epsilon of {self.norm_epsilon:g} and a vocabulary of "
                f"{self.vocabulary} make no model; get its files again"
            )

    @property
    def query_size(self) -> int:
        """Columns of the query projection."""
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Columns of the key projection, and of the value projection."""
        return self.kv_heads * self.head_size

    @property
    def parameters(self) -> int:
        """How many numbers the model has; tied embeddings are counted once."""
        attention = self.hidden * (self.query_size + 2 * self.kv_size) + self.query_size * self.hidden
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        layer += (self.query_size + 2 * self.kv_size) * self.qkv_bias + self.hidden * self.output_bias
        layer += (2 * self.intermediate + self.hidden) * self.mlp_bias
        embeddings = self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * layer + embeddings + self.hidden

    def kv_bytes_per_token(self, element_size: int) -> int:
        """Bytes of KV state that one token takes, at `element_size` bytes a number (4 for float32)."""
        return 2 * self.layers * self.kv_size * element_size


def tensor_shapes(architecture: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    """All tensors of a model under the names of transformers, `[out, in]` for matrices."""
    hidden, intermediate = architecture.hidden, architecture.intermediate
    query, kv = architecture.query_size, architecture.kv_size
    projections = (
        ("self_attn.q_proj", (query, hidden), architecture.qkv_bias),
        ("self_attn.k_proj", (kv, hidden), architecture.qkv_bias),
        ("self_attn.v_proj", (kv, hidden), architecture.qkv_bias),
        ("self_attn.o_proj", (hidden, query), architecture.output_bias),
        ("mlp.gate_proj", (intermediate, hidden), architecture.mlp_bias),
        ("mlp.up_proj", (intermediate, hidden), architecture.mlp_bias),
        ("mlp.down_proj", (hidden, intermediate), architecture.mlp_bias),
    )
    yield "model.embed_tokens.weight", (architecture.vocabulary, hidden)
    for layer in range(architecture.layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", (hidden,)
        for name, shape, biased in projections:
            yield f"model.layers.{layer}.{name}.weight", shape
            if biased:
                yield f"model.layers.{layer}.{name}.bias", shape[:1]
    yield "model.norm.weight", (hidden,)
    if not architecture.tied_embeddings:
        yield "lm_head.weight", (architecture.vocabulary, hidden)


def tensor_names(architecture: Architecture) -> Iterator[str]:
    """All tensors of a model, under the names of transformers."""
    return (name for name, _ in tensor_shapes(architecture))
