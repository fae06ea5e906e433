"""A GGUF file's vocabulary as a `tokenizer.json`, if need be with FIM tokens on ids that the model never used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from export.architecture import ExportError

FIM_TOKENS = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")

_MERGES = "tokenizer.ggml.merges"
_CONTROL, _USER_DEFINED = 3, 4  # of gguf.TokenType

_DIGITS = pre_tokenizers.Digits(individual_digits=True)
_GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
# From the tokenizer.json of Qwen2.5; Llama 3's differs in the digits.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _words(digits: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_WORDS % digits), "isolated")


# llama.cpp's names (src/llama-vocab.cpp) for the rules that split text before the merges.
_RULES: dict[str, list[pre_tokenizers.PreTokenizer]] = {
    "gpt-2": [_GPT2],
    "mellum": [_GPT2],
    **{name: [_DIGITS, _GPT2] for name in ("smollm", "starcoder", "refact", "codeshell")},
    "qwen2": [_words(""), _BYTES],
    "llama-bpe": [_words("{1,3}"), _BYTES],
}


def tokenizer_from_gguf(field: Callable[..., Any], *, reserved: tuple[str, ...] = ()) -> Tokenizer:
    """Build a byte-level BPE tokenizer from metadata; `reserved` tokens take, in order, the names of the FIM tokens."""
    model, rule = field("tokenizer.ggml.model"), field("tokenizer.ggml.pre", "gpt-2")
    if model != "gpt2" or rule not in _RULES:
        raise ExportError(
            f"The GGUF file's tokenizer ({model!s:.40}, {rule!s:.40}) is not one that can be converted; "
            "put the model's own tokenizer.json beside the file"
        )
    tokens = _texts(field, "tokenizer.ggml.tokens")
    renamed = dict(zip(reserved, FIM_TOKENS, strict=False))
    missing = [token for token in renamed if token not in tokens]
    if missing:
        raise ExportError(f"The GGUF file's tokenizer has no {missing[0]!r} to take over as a FIM token")
    names = [renamed.get(token, token) for token in tokens]
    merges = [(left, right) for left, _, right in (text.partition(" ") for text in _texts(field, _MERGES))]
    kinds = field("tokenizer.ggml.token_type")
    vocabulary = {token: index for index, token in enumerate(names)}
    try:
        bpe = models.BPE(vocabulary, merges, ignore_merges=rule == "llama-bpe")
        if not isinstance(kinds, list) or len(kinds) != len(names) or len(vocabulary) != len(names):
            raise ValueError("its tokens do not fit together")
    except Exception as error:  # the library raises bare Exception
        raise ExportError(f"The GGUF file's tokenizer is damaged ({error}); get the file again") from error
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_RULES[rule])
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [name for name, its_kind in zip(names, kinds, strict=True) if its_kind == kind]
        tokens_added = [AddedToken(name, special=special, normalized=False) for name in added]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(tokens_added)
    return tokenizer


def _texts(field: Callable[..., Any], key: str) -> list[str]:
    texts = field(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ExportError(f"The GGUF file's {key} is no list of texts; get the file again")
    return texts
