"""The prompt that a model was trained on: its FIM tokens, their spelling and their order."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from tokenizers import AddedToken, Tokenizer

from engine.model_folders.manifest import PromptFormat, PromptStyle
from export.architecture import ExportError

StyleChoice = Literal["auto"] | PromptStyle


@dataclass(frozen=True, slots=True)
class Spelling:
    """The names of a family's tokens."""

    prefix: str
    suffix: str
    middle: str
    filename: str | None
    """Before a path, which a newline ends."""
    repository: str | None = None
    """Before the name of the project, which a newline ends, at the start of all."""


# Mellum's model card; StarCoder (Li et al. 2023, arXiv 2305.06161), whose vocabulary Granite Code has as well.
_STARCODER = Spelling("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>")
SPELLINGS = (
    _STARCODER,
    # StarCoder 2 (Lozhkov et al. 2024, arXiv 2402.19173)
    Spelling("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>"),
    # Qwen2.5-Coder (Hui et al. 2024, arXiv 2409.12186), examples/Qwen2.5-Coder-repolevel-fim.py
    Spelling("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>"),
    Spelling("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"),
    # DeepSeek-Coder (Guo et al. 2024, arXiv 2401.14196), README.md: the hole stands where the suffix begins
    Spelling("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", None),
)

_CONTROL = re.compile(r"<\|\S+\|>")  # no text: Qwen2.5 marks only some of these as special
_MELLUM_VOCABULARY = 98304  # no other model of this architecture has it: a fine-tuned Mellum under another name


def prepare(
    tokenizer: Tokenizer, vocabulary: int, style: StyleChoice, name: str = ""
) -> tuple[Tokenizer, PromptFormat]:
    """Choose the style, and make all control tokens special: the same letters in a document stay text, and a
    suggestion ends at each. `name` is the source's, `vocabulary` the number of tokens that the model knows.

    Raises ExportError if the style needs a token that is missing, or the tokenizer is of another model.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= vocabulary:
        raise ExportError(
            f"The tokenizer has a token {highest}, and the model only {vocabulary}; they do not belong together"
        )
    spelling = _spelling_of(tokenizer)
    if style == "auto":
        style = "plain" if spelling is None else "mellum" if _is_mellum(spelling, vocabulary, name) else "psm"
    if style != "plain" and spelling is None:
        missing = next(token for token in _names(_STARCODER)[:3] if tokenizer.token_to_id(token) is None)
        raise ExportError(
            f"The tokenizer has no {missing} token, which the prompt style {style!r} needs; use --style plain"
        )
    names = {*_names(spelling)} if spelling is not None else set()
    others = (token for token in tokenizer.get_added_tokens_decoder().values() if not token.special)
    names |= {token.content for token in others if _CONTROL.fullmatch(token.content)}
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in sorted(names)])
    return tokenizer, prompt_format(tokenizer, style)


def prompt_format(tokenizer: Tokenizer, style: PromptStyle) -> PromptFormat:
    """Look up the ids of a style's tokens; any special token ends a suggestion."""
    spelling = _spelling_of(tokenizer)
    heals = style == "plain"  # FIM training cuts words anywhere; other training does not
    special = tuple(sorted(index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special))
    if spelling is None:
        return PromptFormat(style, tokenizer.token_to_id("<filename>"), None, None, None, special, heals)
    filename = tokenizer.token_to_id(spelling.filename) if spelling.filename else None
    prefix, middle, suffix = (
        tokenizer.token_to_id(name) for name in (spelling.prefix, spelling.middle, spelling.suffix)
    )
    repository = tokenizer.token_to_id(spelling.repository) if spelling.repository else None
    return PromptFormat(style, filename, prefix, middle, suffix, special, heals, repository)


def _spelling_of(tokenizer: Tokenizer) -> Spelling | None:
    """The first spelling that the tokenizer has all tokens of; else one that lacks only the token of file names."""
    for known in (*SPELLINGS, *(replace(spelling, filename=None) for spelling in SPELLINGS)):
        if all(tokenizer.token_to_id(token) is not None for token in _names(known)):
            return known
    return None


def _names(spelling: Spelling) -> list[str]:
    names = (spelling.prefix, spelling.suffix, spelling.middle, spelling.filename, spelling.repository)
    return [token for token in names if token]


def _is_mellum(spelling: Spelling, vocabulary: int, name: str) -> bool:
    """Whether the suffix comes first: other models with the same token names expect the prefix first."""
    mellum = "mellum" in name.lower() or vocabulary == _MELLUM_VOCABULARY
    return spelling.prefix == _STARCODER.prefix and mellum
