"""What holds for every text at every place: the engine ends it and trims it, soon and within the document."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator

from engine.ending.assembly import Composition
from engine.ending.block_policy import BlockPolicy
from engine.ending.closers import look_around
from engine.ending.trim import trim
from engine.model_folders.locations import find_model
from engine.prompt.tokenizer import Tokenizer

SLOW = 5.0
"""Seconds of the processor that no question may take in the process that asks."""


def rules_hold(prefix: str, suffix: str, language: str, generated: str, chance: random.Random) -> Iterator[str]:
    """What is wrong about a text at a place."""
    with timed() as seconds:
        try:
            look_around(prefix, suffix, language)
            policy, at = BlockPolicy(prefix=prefix, suffix=suffix, language=language), 0
            while at < len(generated):
                at += chance.choice((1, 3, 6))
                end = policy.end_of(generated[:at])
                if end is not None and not 0 <= end <= at:
                    yield f"{language}: the end of {at} code points is at {end}"
            tokenizer = _tokenizer()
            composition = Composition(
                BlockPolicy(prefix=prefix, suffix=suffix, language=language),
                tokenizer.stream(),
                ends=(),
                last_word="",
                gate=chance.choice((0.0, 0.7)),
                max_tokens=64,
            )
            for token in tokenizer.encode(generated):
                if composition.add(token, -chance.random() * 0.2):
                    break
            trimmed = trim(composition.text or generated, prefix=prefix, suffix=suffix, language=language)
            again = trim(trimmed.text, prefix=prefix, suffix=suffix, language=language)
        except Exception as error:
            yield f"{language}: {error!r}"
            return
    if seconds[0] > SLOW * 2:
        yield f"{language}: it takes {seconds[0]:.1f} s"
    if not composition.generated.startswith(composition.text):
        yield f"{language}: the composition {composition.text!r} is not what was generated"
    line_end = suffix.find("\n")
    if trimmed.replaces > (len(suffix) if line_end < 0 else line_end):
        yield f"{language}: {trimmed.replaces} code points are replaced, more than the line has"
    if trimmed.text != trimmed.text.rstrip() or (trimmed.replaces and not trimmed.text):
        yield f"{language}: what is left is {trimmed!r}"
    if again != trimmed:
        yield f"{language}: {trimmed!r}, trimmed again, is {again!r}"


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """Seconds of the processor that a block has taken, once it has ended: other processes do not count."""
    seconds, started = [0.0], time.process_time()
    try:
        yield seconds
    finally:
        seconds[0] = time.process_time() - started


_TOKENIZERS: list[Tokenizer] = []


def _tokenizer() -> Tokenizer:
    if not _TOKENIZERS:
        _TOKENIZERS.append(Tokenizer(find_model() / "tokenizer.json"))
    return _TOKENIZERS[0]
