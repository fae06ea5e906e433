"""Text to tokens and back. Document text is never control: a `<fim_middle>` in a file stays plain characters.

A keystroke changes one line, so only one line is tokenized: text is cut into segments at places where the
tokenizer's own splitting rule always cuts as well, and the tokens of each segment are remembered.
"""

from __future__ import annotations

import json
import os
import re
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers.decoders import DecodeStream

from engine.model_folders.manifest import ModelError

_PARALLEL = "TOKENIZERS_PARALLELISM"  # which the library looks at for each batch
_REMEMBERED_SEGMENTS = 16384
_REMEMBERED_CHARACTERS = 1_000_000  # code points in them: lines of 60 on average; 10 to 20 MB with their tokens
_LONGEST_WORD = 48  # letters of the vocabulary's spelling

# Where splitting rules cut for sure. GPT-2's: between a visible character and a line's end. Those of the GPT-4 kind,
# whose punctuation swallows the newlines after it: before a line's first characters.
_BOUNDARIES = (re.compile(r"(?<=\S)(?=[\r\n])"), re.compile(r"(?<=\n)(?=[^\S\r\n]*\S)"))

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")

PROBE = (
    'def f(a,\n      b="x"):\n\n\n    """Doc.\n\n    More.  \n\t\n  """\n    return [\n        1,\n\n        {2: -3},\n'
    "    ]  # end\r\n\r\n\tif (x) {\r\n\t\ty();\r\n\t}\n\n\nclass A:  \n \n  é = '🎉'\n\n    don't we'll\n1234\n"
    "<|endoftext|>\n}\n})\n \n\n\n...\n\t \n;"
)


class TokenizerFailed(Exception):
    """The tokenizers library gave up on a text, as a rule that backtracks without end does."""


class Vocabulary:
    """A model's tokens by how they are spelled, to find those that agree with a text.

    Spelled as in `tokenizer.json`: for byte-level models, in letters that stand for bytes.
    """

    def __init__(self, spellings: dict[str, int]) -> None:
        self._ids = spellings
        self._sorted = sorted(spellings)
        self._sorted_ids = np.array([spellings[word] for word in self._sorted], np.int64)

    def agreeing_with(self, text: str) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Tokens that begin with `text`, or that `text` begins with; and what of `text` is left after the latter."""
        first, last = bisect_left(self._sorted, text), bisect_left(self._sorted, text + chr(0x10FFFF))
        begun = {
            self._ids[text[:length]]: text[length:] for length in range(1, len(text)) if text[:length] in self._ids
        }
        return np.append(self._sorted_ids[first:last], np.array(list(begun), np.int64)), begun


class Tokenizer:
    """A model's `tokenizer.json`, with control tokens switched off for all text. Thread-safe."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = _call(_without_control, path)
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path} is not a tokenizer ({error}). Run: mellum-lsp setup --force") from error
        self._remembered: OrderedDict[str, list[int]] = OrderedDict()
        self._characters = 0  # code points in `_remembered`
        self._lock = threading.Lock()  # for both; not held while the library works
        self._boundary = next((rule for rule in _BOUNDARIES if self._cuts_at(rule)), None)
        special = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        self.vocabulary = Vocabulary({word: token for word, token in vocabulary.items() if word not in special})

    def encode(self, text: str) -> list[int]:
        """Tokens of `text`, the same as if it were tokenized whole. Half a surrogate pair counts as U+FFFD.

        Raises TokenizerFailed where the library gives up, here and in all that follows.
        """
        text = _LONE_SURROGATES.sub("\ufffd", text)  # a client can send them, UTF-8 cannot hold them
        if self._boundary is None:
            return self._encode_whole(text)
        segments = self._boundary.split(text)
        found: dict[str, list[int]] = {}
        new: dict[str, None] = {}
        with self._lock:
            for segment in segments:
                if (known := self._remembered.get(segment)) is None:
                    new[segment] = None
                elif segment not in found:
                    found[segment] = known
                    self._remembered.move_to_end(segment)
        if new:
            encodings = self._encode_all(list(new))
            made = {segment: encoding.ids for segment, encoding in zip(new, encodings, strict=True)}
            found |= made
            with self._lock:
                self._characters += sum(len(segment) for segment in made if segment not in self._remembered)
                self._remembered |= made
                while len(self._remembered) > _REMEMBERED_SEGMENTS or self._characters > _REMEMBERED_CHARACTERS:
                    self._characters -= len(self._remembered.popitem(last=False)[0])
        return list(chain.from_iterable(map(found.__getitem__, segments)))

    def encode_once(self, text: str) -> list[int]:
        """The same for a text that is not going to be asked for again: nothing is remembered."""
        return self._encode_whole(_LONE_SURROGATES.sub("\ufffd", text))

    def split_last_word(self, text: str) -> tuple[str, str, str]:
        """Cut off the last word of a text: what stands before it, the word, and the word as the vocabulary spells it.

        A word is what the tokenizer keeps together: ` name`, `("`, or the white space at the end. It is empty where it
        would be unusually long, since each of its tokens costs a step of decoding.
        """
        line = text.rfind("\n", 0, len(text.rstrip())) + 1
        splitter = self._tokenizer.pre_tokenizer
        pieces = _call(splitter.pre_tokenize_str, text[line:]) if splitter is not None else []
        if not pieces or pieces[-1][1][1] != len(text) - line or len(pieces[-1][0]) > _LONGEST_WORD:
            return text, "", ""
        spelled, (start, _) = pieces[-1]
        return text[: line + start], text[line + start :], spelled

    def count(self, text: str) -> int:
        """Count the tokens of a text."""
        return len(self.encode(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, special ones shown by their names."""
        text: str = _call(self._tokenizer.decode, list(tokens), skip_special_tokens=False)
        return text

    def stream(self) -> Callable[[int], str]:
        """Decode token by token: each call gives the characters that became whole with this token."""
        stream = DecodeStream(skip_special_tokens=True)
        return lambda token: _call(stream.step, self._tokenizer, token) or ""

    def _encode_whole(self, text: str) -> list[int]:
        tokens: list[int] = _call(self._tokenizer.encode, text, add_special_tokens=False).ids
        return tokens

    def _encode_all(self, texts: list[str]) -> list[Any]:
        try:
            return list(_call(self._tokenizer.encode_batch, texts, add_special_tokens=False))
        except TokenizerFailed as failed:
            if "thread pool" not in str(failed) or os.environ.get(_PARALLEL) == "false":
                raise
        os.environ[_PARALLEL] = "false"  # the machine starts no more threads: it goes on with this one
        return self._encode_all(texts)

    def _cuts_at(self, rule: re.Pattern[str]) -> bool:
        """Whether this tokenizer gives the same tokens for a difficult text in segments as for the whole."""
        try:
            parts = [self._encode_whole(segment) for segment in rule.split(PROBE)]
            return list(chain.from_iterable(parts)) == self._encode_whole(PROBE)
        except TokenizerFailed:
            return False


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call the library. A panic in it is no Exception: it would pass every handler and end the thread."""
    try:
        return function(*arguments, **options)
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as panic:
        raise TokenizerFailed(f"The tokenizer gave up: {panic}") from None


def is_control(added: str) -> bool:
    """Whether an added token is control, although it may not be marked as special: Qwen2.5's `<tool_call>` is not.

    What models add as text are runs of white space, and characters or words that their merges lack. All else is taken
    for control, such as `<table>`: spelling it in pieces costs little, and taking it for text would let a file steer.
    """
    return not (added.isspace() or added.isalnum())


def _without_control(path: Path) -> tokenizers.Tokenizer:
    """Read a tokenizer that never makes a control token of a text. Raises what the library raises."""
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    added = tokenizer.get_added_tokens_decoder().values()
    if any(not token.special and is_control(token.content) for token in added):
        spelled = json.loads(path.read_text(encoding="utf-8"))
        for token in spelled["added_tokens"]:  # what is special is left out as one; a token added again keeps its mark
            token["special"] = token["special"] or is_control(token["content"])
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spelled))
    tokenizer.encode_special_tokens = True
    return tokenizer
