"""Make generated text fit the document: a first cut."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What is left of the text, and how many code points right of the cursor it takes the place of."""

    text: str
    replaces: int


def trim(generated: str, *, prefix: str, suffix: str, language: str) -> Trimmed:
    """Remove what the document has already: a leading space, the rest of the line, trailing space."""
    text = generated.rstrip()
    if prefix.endswith((" ", "\t")):
        text = text.lstrip(" ")
    rest = suffix.split("\n", 1)[0].rstrip()
    if rest and text.endswith(rest):
        text = text[: -len(rest)]
    return Trimmed(text, 0)
