"""The shape of a Llama-family decoder: what a graph writer has to know about a model besides its numbers."""

from __future__ import annotations

from dataclasses import dataclass


class ExportError(Exception):
    """Something about the source or the place to write to; its text is one sentence with the mend."""


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
    """Longest position the model was trained for, in tokens."""
    rope_theta: float
    norm_epsilon: float
    tied_embeddings: bool
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False

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
