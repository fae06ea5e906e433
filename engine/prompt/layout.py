r"""From a request to the tokens that the model reads, laid out so that typing changes only their end.

The KV state of the last request is worth keeping only up to the first token that differs. So the window on the
document does not slide with the cursor: its start stays where it is until the prefix has outgrown the budget, then
moves by a fifth of the budget at once; and the suffix starts after the cursor, which typing does not change.

Lines end with a line feed for the model, also where the document has others: models see little else, and write `\r\n`
worse.

The lines just above the cursor tell most: snippets of other files get only what these leave. In their place, in prompts
of 512 tokens, snippets cost the default model 0.1 nats a token (`python -m evaluation.worth`). In prompts of 1,024, at
198 held-out middles, they bring 0.084 nats (standard error 0.027) where a word of the truth stands in it and not
above the cursor, and cost 0.027 (0.039) elsewhere. At 316 middles below 2,500 code points of a file, they cost 0.036
(0.023), and no share of the prompt from an eighth to a half does better than another (`--tokens 1024`;
the latter with `--shares`, one run each). The same weights without the default model's adapter, exported with `--style
plain`, say the same at 300 middles: -0.009 (0.031) over all, -0.186 (0.108) at the 44 where a word stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.model_folders.manifest import PromptFormat
from engine.request import CompletionRequest

_CHARACTERS_A_TOKEN = 4  # of source code, roughly; the tokens themselves are counted afterwards
_SUFFIX_LINES = 40
_MANY_STEPS = 7  # where a window begins, in steps above the cursor, before its tokens are counted
_SUFFIX = 64  # tokens
_LINE = 16  # tokens that are kept free for the cursor's line
_STEPS = 5  # by so many parts of itself a window moves
_NEAR = 512  # tokens above the cursor that come before any snippet


class Encoder(Protocol):
    """What the layout needs of a tokenizer: see `engine.prompt.tokenizer.Tokenizer`."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        ...

    def split_last_word(self, text: str) -> tuple[str, str, str]:
        """Cut off the last word of a text, and give it as it is and as the vocabulary spells it."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens each part of a prompt may take."""

    prompt: int

    @property
    def context(self) -> int:
        """For snippets of other files, at most."""
        return self.prompt * 3 // 8

    def context_at(self, offset: int) -> int:
        """For snippets of other files where `offset` code points stand above the cursor; typing changes it rarely."""
        step = self.prompt // 4
        above = -(-offset // (_CHARACTERS_A_TOKEN * step)) * step
        return max(min(self.context, self.prompt - self.suffix - min(above, _NEAR)), 0)

    @property
    def suffix(self) -> int:
        """For what stands after the cursor: more than 64 tokens bring nothing, fewer lose something."""
        return min(self.prompt // 8, _SUFFIX)

    def prefix(self, taken: int) -> int:
        """For what stands before the cursor, when the other parts have taken `taken` tokens."""
        return max(self.prompt - taken, self.prompt // 4)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of a prompt, in order, and how many of them each part has."""

    tokens: tuple[int, ...]
    snippet_tokens: int
    suffix_tokens: int
    prefix_tokens: int
    prefix_end: int
    """How many of the tokens stand before the place at which the text goes on."""
    last_word: str = ""
    """The end of the prefix that was taken back: what is decoded has to begin with it. Empty without token healing."""
    last_word_spelled: str = ""
    """The same as the vocabulary spells it."""


def lay_out(request: CompletionRequest, tokenizer: Encoder, style: PromptFormat, budget: Budget) -> Prompt:
    """Lay out a prompt in the model's own style; snippets that do not fit whole are left out, least relevant first."""
    project = _header(style.repository, request.project, tokenizer) if request.project else ()
    header = _header(style.filename, request.path, tokenizer)
    context = _context(request, tokenizer, style, budget.context_at(request.offset))
    suffix: list[int] = []
    if style.style != "plain":
        suffix = tokenizer.encode(suffix_window(request.text, request.offset, budget.suffix))[: budget.suffix]
    prefix, word, spelled = _prefix(
        request,
        tokenizer,
        budget.prefix(len(project) + len(header) + len(context) + len(suffix)),
        healing=style.token_healing,
    )
    if style.style == "mellum":
        before, after = [*header, style.fim_suffix, *suffix, style.fim_prefix, *prefix], [style.fim_middle]
    elif style.style == "psm":
        before, after = [*header, style.fim_prefix, *prefix], [style.fim_suffix, *suffix, style.fim_middle]
    else:
        before, after = [*header, *prefix], []
    known = [token for token in (*project, *context, *before) if token is not None]
    # the model needs at least one token to go on from: an empty file without a header starts with an end token
    tokens = (*known, *(token for token in after if token is not None)) or style.stop[:1]
    return Prompt(tokens, len(context), len(suffix), len(prefix), len(known), word, spelled)


def prefix_window(text: str, offset: int, budget: int, steps: int = _STEPS) -> str:
    """Cut what about `budget` tokens hold of `text` left of `offset`, from a start that moves in steps.

    A step is a fifth of that; `steps`: how many of them lie above the cursor at most.
    """
    step = max(budget * _CHARACTERS_A_TOKEN // _STEPS, 1)
    start = max(-(-(offset - steps * step) // step), 0) * step
    if start:
        line_end = text.find("\n", start, start + step // 2)
        start = line_end + 1 if line_end >= 0 else start
    return with_line_feeds(text[start:offset])


def suffix_window(text: str, offset: int, budget: int) -> str:
    """Cut the rest of the cursor's line and a fixed number of lines below it, from `offset`."""
    end = offset
    limit = offset + budget * 2 * _CHARACTERS_A_TOKEN
    for _ in range(_SUFFIX_LINES + 1):
        end = text.find("\n", end, limit) + 1
        if end == 0:
            return with_line_feeds(text[offset:limit])
    return with_line_feeds(text[offset:end])


def with_line_feeds(text: str) -> str:
    r"""The text as the model reads it: with `\n` at the end of every line."""
    return text.replace("\r\n", "\n") if "\r" in text else text


def _prefix(
    request: CompletionRequest, tokenizer: Encoder, budget: int, *, healing: bool
) -> tuple[list[int], str, str]:
    """Tokens of the prefix, and its last word where that is taken back."""
    line = request.offset - request.text.rfind("\n", 0, request.offset) - 1
    room = min(_LINE, budget // _STEPS)
    for steps in range(_MANY_STEPS, 0, -1):  # by the lines above: typing in a line moves nothing
        window = prefix_window(request.text, request.offset, budget, steps)
        if len(tokenizer.encode(window[: len(window) - line])) <= budget - room:
            break
    window, word, spelled = tokenizer.split_last_word(window) if healing else (window, "", "")
    tokens = tokenizer.encode(window)
    excess, step = len(tokens) - budget, max(budget // _STEPS, 1)
    return tokens[-(-excess // step) * step :] if excess > 0 else tokens, word, spelled


def _header(token: int | None, name: str, tokenizer: Encoder) -> Sequence[int]:
    """What stands above a file or a project; nothing for a model without such a token."""
    return (token, *tokenizer.encode(f"{name}\n")) if token is not None else ()


def _context(request: CompletionRequest, tokenizer: Encoder, style: PromptFormat, budget: int) -> list[int]:
    """Whole snippets within the budget, the most relevant last."""
    if style.filename is None:
        return []
    chosen: list[list[int]] = []
    for snippet in reversed(request.context):
        tokens = [
            *_header(style.filename, snippet.path, tokenizer),
            *tokenizer.encode(snippet.text.rstrip("\n") + "\n"),
        ]
        if len(tokens) <= budget:
            chosen.append(tokens)
            budget -= len(tokens)
    return [token for tokens in reversed(chosen) for token in tokens]
