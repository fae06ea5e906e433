"""As many candidates as a number of tokens holds: whole ones only, one snippet a file, the best file last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from indexer.retrieval.query import Question
from indexer.retrieval.ranking import Ranked
from indexer.store.overlay import Library
from syntax import DocumentId

CHARACTERS_A_TOKEN = 3.2
"""Of code, about; for callers that cannot count. `python -m evaluation.retrieval` prints what it is for its model."""
_MOST_CHARACTERS_A_TOKEN = 6
_HEADER = 2  # tokens of a file's header beside its path
_MOST_REFUSED = 12  # candidates in a row that do not fit, after which no others are tried
_LONGEST = 3000  # code points of one candidate

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Snippet:
    """Candidates of one file, in the file's order, and why they were chosen."""

    document: DocumentId
    path: str
    """As the prompt names it: relative to the workspace folder, with that folder's name if it is another one."""
    text: str
    score: float
    """Of its best candidate, after fusion."""
    sources: tuple[str, ...]
    tokens: int


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return round(len(text) / CHARACTERS_A_TOKEN + 0.5)


@dataclass(slots=True)
class _Open:
    """A snippet that may still grow."""

    document: DocumentId
    path: str
    score: float
    lines: dict[int, str] = field(default_factory=dict)
    sources: dict[str, None] = field(default_factory=dict)
    tokens: int = 0


def pack(
    ranked: Iterable[Ranked],
    question: Question,
    library: Library,
    budget: int,
    count: Count = estimated_tokens,
    root: Path | None = None,
) -> list[Snippet]:
    """Fill a budget, in tokens; returns snippets by file, least relevant first. `root`: where the document lies."""
    files: dict[str, _Open] = {}
    taken: set[str] = set()
    left, refused = budget, 0
    for one in ranked:
        key = one.candidate.path
        if refused >= _MOST_REFUSED or left <= 0:
            break
        if (found := library.lines(key, one.candidate.lines)) is None:
            continue
        text = "\n".join(found)
        if len(text) > _LONGEST or not text.strip() or text in taken or text in question.text:
            continue
        opened = files.get(key)
        lines = dict(zip(one.candidate.lines, found, strict=True))
        if opened is not None:
            lines = {at: line for at, line in lines.items() if at not in opened.lines}
        added = "".join(f"{line}\n" for line in lines.values())
        if is_new := opened is None:
            if (document := library.document(key)) is None:
                continue
            opened = _Open(document, _shown(document, root), one.score)
            added = f"{opened.path}\n{added}"
        cost = left + 1
        if len(added) <= left * _MOST_CHARACTERS_A_TOKEN:  # else it cannot fit, and counting would take time
            cost = count(added) + (_HEADER if is_new else 0) if added else 0
        if cost > left:
            refused += 1
            continue
        refused = 0
        left -= cost
        taken.add(text)
        files[key] = opened
        opened.lines.update(lines)
        opened.sources.update(dict.fromkeys(one.sources))
        opened.tokens += cost
    return [_snippet(opened) for opened in sorted(files.values(), key=lambda opened: opened.score)]


def _snippet(opened: _Open) -> Snippet:
    text = "\n".join(opened.lines[at] for at in sorted(opened.lines)).rstrip() + "\n"
    return Snippet(opened.document, opened.path, text, opened.score, tuple(opened.sources), opened.tokens)


def _shown(document: DocumentId, root: Path | None) -> str:
    other = document.root if document.root != root else None
    return document.shown if other is None or root is None else f"{other.name}/{document.shown}"
