"""The process that reads with grammars what stands around the cursor: `python -m syntax`, see `grammar_process.py`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from syntax.nesting.around import read_after, read_before
from syntax.nesting.tree_leaves import tree_leaves
from syntax.parsing.grammar_process import serve

_SECONDS = 0.1  # of the processor's time for one text; a large one takes 0.012


def answer(question: str, language: str, text: str, *more: Any) -> dict[str, Any]:
    """Answer "before", or "after" with the length of the text before the cursor and what is open there."""
    if question == "before":
        return asdict(read_before(text.encode("utf-8", "replace"), language, tree_leaves))
    cursor, stack = more
    before = text[:cursor].encode("utf-8", "replace")
    found = read_after(before, text[cursor:], tuple(stack), language, tree_leaves)
    delimiters = [(one.offset, one.text, one.open_after, one.closes, one.is_stray) for one in found.delimiters]
    return {"delimiters": delimiters, "comments": found.comments, "words": found.words}


if __name__ == "__main__":
    serve(answer, _SECONDS)
