"""How a prompt travels: as token ids where both sides have the same vocabulary, else as text that cannot steer it.

A server reads its control tokens in a text, wherever they stand. So in a document's text each of them is broken with an
invisible character after its first one: `<fim_middle>` of a document is then read as letters, as it is locally.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from engine.model_folders.manifest import PromptFormat, PromptStyle
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from engine.request import CompletionRequest

BREAK = "\u2060"
"""The word joiner: no letter and no space, seen by no user, and part of no control token."""

_CONTROL = re.compile(r"(?=(<[^\s<>]{1,40}>|<<[A-Z]{2,10}>>|\[/?[A-Z][A-Z_]{1,30}\]))[<\[]")
"""The first character of what may be control, such as `<|im_end|>`, `</s>`, `[INST]`; of `<div>` as well."""
_PIECE = re.compile(r"\s?[^\W\d_]{1,6}|\d{1,3}|[^\S\n]+|\n+|.", re.DOTALL)
_NO_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # control characters but tab and the ends of lines
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Marks:
    """How a family of models spells the control tokens of a prompt."""

    prefix: str
    suffix: str
    middle: str
    filename: str | None
    """Before a path, which a newline ends."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(name for name in (self.prefix, self.suffix, self.middle, self.filename) if name is not None)


# The same families as in `export.prompt_style`, which says where their spelling is from.
KNOWN_MARKS = (
    Marks("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>"),
    Marks("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>"),
    Marks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"),
    Marks("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", None),
)


@dataclass(frozen=True, slots=True)
class Laid:
    """A prompt as it is sent."""

    prompt: str | list[int]
    tokens: int
    """How many there are; an estimate for text."""


class AsTokens:
    """Lays out prompts by a tokenizer that is the server's own."""

    def __init__(self, tokenizer: Tokenizer, style: PromptFormat) -> None:
        self.count: Callable[[str], int] = tokenizer.count
        self.ends: Collection[int] = frozenset(style.stop)
        """Ids of tokens that end a suggestion."""
        marks = (style.filename, style.fim_prefix, style.fim_middle, style.fim_suffix)
        self.stop = tuple(tokenizer.decode([mark]) for mark in marks if mark is not None)
        """Texts that end it."""
        # the last word before the cursor is sent as it is: a server cannot be told to begin with it
        self._tokenizer, self._style = tokenizer, replace(style, token_healing=False)

    def lay_out(self, request: CompletionRequest, budget: Budget) -> Laid:
        """Lay out a prompt as token ids."""
        tokens = lay_out(request, self._tokenizer, self._style, budget).tokens
        return Laid(list(tokens), len(tokens))


class AsText:
    """Lays out prompts as text, by an estimate of how many tokens it has."""

    def __init__(
        self,
        marks: Marks | None,
        style: PromptStyle,
        *,
        ends: Collection[int] = (),
        is_control: Callable[[Collection[str]], Collection[str]] = lambda candidates: candidates,
    ) -> None:
        """`marks`: None for a model that reads no suffix. `ends`: the known ids of control tokens. `is_control` takes
        texts, and returns those that the server may read as control tokens.
        """
        self.count: Callable[[str], int] = lambda text: sum(1 for _ in _PIECE.finditer(text))
        self.ends = ends
        self.stop = marks.names if marks is not None else ()
        self._is_control = is_control
        names = [] if marks is None else [marks.filename, marks.prefix, marks.middle, marks.suffix]
        self._names = {-1 - place: name for place, name in enumerate(names) if name is not None}
        filename, prefix, middle, suffix = ((-1 - place if -1 - place in self._names else None) for place in range(4))
        style = style if marks is not None else "plain"
        self._style = PromptFormat(style, filename, prefix, middle, suffix, (), token_healing=False)

    def lay_out(self, request: CompletionRequest, budget: Budget) -> Laid:
        """Lay out a prompt as text."""
        pieces, parts, run = _Pieces(), list[str](), list[int]()
        tokens = lay_out(request, pieces, self._style, budget).tokens
        for token in tokens:
            if token in self._names:
                parts += [broken_up(pieces.decode(run), self._is_control), self._names[token]]
                run = []
            else:
                run.append(token)
        parts.append(broken_up(pieces.decode(run), self._is_control))
        return Laid("".join(parts), len(tokens))


def broken_up(text: str, is_control: Callable[[Collection[str]], Collection[str]]) -> str:
    """The text with each part that the server may read as control broken after its first character."""
    candidates = {found[1] for found in _CONTROL.finditer(text)}
    control = set(is_control(candidates)) if candidates else candidates
    return _CONTROL.sub(lambda found: found[0] + BREAK if found[1] in control else found[0], text) if control else text


def mended(text: str) -> str:
    """What the model wrote, without the invisible characters that it may have copied, and without what is no text."""
    text = text.replace(BREAK, "") if BREAK in text else text
    return text if text.isascii() and text.isprintable() else _LONE_SURROGATES.sub("\ufffd", _NO_TEXT.sub("", text))


class _Pieces:
    """Cuts text into pieces about as long as tokens are, for one prompt."""

    def __init__(self) -> None:
        self._pieces: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        known = self._pieces
        text = _LONE_SURROGATES.sub("\ufffd", text)
        return [known.setdefault(piece, len(known)) for piece in _PIECE.findall(text)]

    def split_last_word(self, text: str) -> tuple[str, str, str]:
        return text, "", ""

    def decode(self, tokens: Sequence[int]) -> str:
        pieces = list(self._pieces)
        return "".join(pieces[token] for token in tokens)
