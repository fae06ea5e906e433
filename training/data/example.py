"""A training example: a prompt and its right answer. Needs no grammar and no index."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.model_folders.manifest import PromptFormat
from engine.prompt.layout import Prompt
from engine.prompt.tokenizer import Tokenizer
from training.data.middles import Kind

WITHOUT_SUFFIX = 0.1
"""Share of the prompts that have nothing below the cursor."""
# Most middles can be guessed from the lines above. To learn to look elsewhere takes those that cannot.
TOLD_ELSEWHERE = 0.5
"""Share of the middles that are chosen for a word that only the lines below or other files tell."""
TRIES = 6
"""For one of them."""
LANGUAGES = {
    "python": 0.5,
    "typescript": 0.14,
    "javascript": 0.1,
    "go": 0.07,
    "rust": 0.06,
    "java": 0.05,
    "c": 0.03,
    "cpp": 0.03,
    "typescriptreact": 0.02,
}
"""How often each is drawn."""

_WORD = re.compile(r"[^\W\d]\w{2,}")


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its right answer."""

    tokens: NDArray[np.uint32]
    """The prompt, the middle, the end token."""
    prompt: int
    """How many of the tokens are the prompt."""
    kind: Kind
    language: str


def answered(
    prompt: Prompt, middle: str, tokenizer: Tokenizer, style: PromptFormat, kind: Kind, language: str
) -> Example:
    """A prompt with its middle; with token healing, a word begins anew."""
    written = tokenizer.encode(prompt.last_word + middle)
    tokens = (*prompt.tokens, *written, style.stop[0])
    return Example(np.array(tokens, np.uint32), len(prompt.tokens), kind, language)


def told_elsewhere(prompt: Prompt, middle: str, tokenizer: Tokenizer) -> set[str]:
    """The words of a middle that other files or the lines below tell, and the lines above do not."""
    above = prompt.prefix_end - prompt.prefix_tokens
    elsewhere, prefix = (
        set(_WORD.findall(tokenizer.decode(list(part))))
        for part in (prompt.tokens[:above], prompt.tokens[above : prompt.prefix_end])
    )
    return set(_WORD.findall(middle)) & elsewhere - prefix
