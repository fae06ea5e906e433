"""Sentences of warning about a source that can be exported, though another one would be better."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from export.sources.gguf.file import GgufSource
from export.sources.source import Source

_TUNED = re.compile(r"(?:^|[^a-z])(?:instruct|chat|it)(?:$|[^a-z])", re.IGNORECASE)


def cautions(text: str, source: Source) -> Iterator[str]:
    """What to know before exporting the source that the user named `text`."""
    names = (Path(text).name, source.description)
    if any(_TUNED.search(name) for name in names) or (isinstance(source, GgufSource) and source.finetune == "Instruct"):
        yield (
            f"{source.description} is tuned to follow instructions: it completes code less well than the base model "
            "that it was made from. Export that one"
        )
    if isinstance(source, GgufSource) and source.quantized:
        yield (
            f"{source.description} is quantized already ({source.quantized}): quantized again, it loses more than the "
            "published weights of 16 bits would. Export those, or a GGUF file of F16, BF16 or Q8_0"
        )
