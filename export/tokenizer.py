"""A GGUF file's vocabulary as a `tokenizer.json`, with Mellum's FIM tokens on ids that the model never used."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from export.architecture import ExportError
from export.sources import GgufSource

FIM_TOKENS = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")

_CONTROL = 3  # gguf.TokenType.CONTROL

_PRE_TOKENIZERS: dict[str, Any] = {
    # llama.cpp's names for the rules that split text before the merges
    "smollm": lambda: [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "gpt-2": lambda: [pre_tokenizers.ByteLevel(add_prefix_space=False)],
}


def tokenizer_from_gguf(source: GgufSource, *, reserved: tuple[str, ...] = ()) -> Tokenizer:
    """Build a byte-level BPE tokenizer; `reserved` names control tokens to rename, in order, to the FIM tokens."""
    kind, rule = source.field("tokenizer.ggml.model"), source.field("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or rule not in _PRE_TOKENIZERS:
        raise ExportError(
            f"The GGUF file's tokenizer ({kind}, {rule}) is not one that can be converted; "
            "put the model's own tokenizer.json beside the file"
        )
    tokens: list[str] = list(source.field("tokenizer.ggml.tokens"))
    renamed = dict(zip(reserved, FIM_TOKENS, strict=False))
    missing = [token for token in renamed if token not in tokens]
    if missing:
        raise ExportError(f"The GGUF file's tokenizer has no {missing[0]!r} to take over as a FIM token")
    names = [renamed.get(token, token) for token in tokens]
    merges = [tuple(merge.split(" ")) for merge in source.field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_PRE_TOKENIZERS[rule]())
    tokenizer.decoder = decoders.ByteLevel()
    kinds = source.field("tokenizer.ggml.token_type")
    special = [name for name, kind in zip(names, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    return tokenizer
