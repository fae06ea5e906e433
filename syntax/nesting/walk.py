"""Over the text before the cursor: what is open at its end, and where its statements begin.

While the user types, only the end of that text changes. So a long text is walked over in two parts: the first, up to
a place that moves in steps of many lines and is therefore remembered from keystroke to keystroke, and the rest, from
the start of a statement in the first. What is found depends on the text alone, not on what was asked before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from syntax.nesting.leaves import CLOSERS, COMMENT, QUOTES, Leaf, ReadLeaves
from syntax.statements import indentation

Stack = tuple[str, ...]
"""What is open, the innermost last: opening brackets and quotes (an `f` before those of f-strings), or COMMENT."""

DEEPEST = 200
"""What is open further out than so many brackets counts as closed: no code nests so deeply."""

_QUOTES = QUOTES | {f"f{quote}" for quote in QUOTES}  # f-strings keep their letter: braces in them are code
_MULTILINE = frozenset({"`", '"""', "'''"})
_ENDED_BY_LINE = _QUOTES - _MULTILINE - {f"f{quote}" for quote in _MULTILINE}
_OVER_LINES = frozenset({"shellscript"})
"""Where all strings go on over lines, also to the grammar. Others' grammars see code after a quote without an end."""
_PART = 800  # bytes; the end that is walked over for each keystroke is two to three times as long
_CANDIDATES = 24  # how many of the last statements are looked at for one that code can be read from
_KEPT = 600  # beginnings; more than are looked at in any part of a window
_LONGEST_INDENT = 1_000  # bytes


@dataclass(frozen=True, slots=True)
class Beginning:
    """The start of a line on which a statement may begin: nothing is open there, or a brace was opened last."""

    start: int
    """In bytes."""
    stack: Stack
    columns: tuple[int, ...]
    indent: int


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found in a text; positions are in bytes."""

    at_line_start: Stack
    """What is open where the last line starts."""
    at_end: Stack
    columns: tuple[int, ...]
    """How far the line is indented on which each of those was opened."""
    beginnings: tuple[Beginning, ...]
    comments: tuple[Leaf, ...]

    def statements(self, source: bytes, count: int) -> list[str]:
        """The last `count` statements of the text that was walked over, without their comments."""
        starts = [beginning.start for beginning in self.beginnings[-count:]]
        return [self._without_comments(source, start, end) for start, end in pairwise([*starts, len(source)])]

    def _without_comments(self, source: bytes, start: int, end: int) -> str:
        parts, position = [], start
        for comment in self.comments:
            if start <= comment.start < end:
                parts.append(source[position : comment.start])
                position = comment.end_without_newline(source)
        return b"".join([*parts, source[position:end]]).decode("utf-8")


_NOTHING = Walk((), (), (), (Beginning(0, (), (), 0),), ())


@lru_cache(maxsize=32)  # a handful of parts for each of a handful of documents
def walk(source: bytes, language: str, leaves: ReadLeaves) -> Walk:
    """Walk over a text in UTF-8, of some ten thousand bytes, leaf by leaf."""
    cut = source.rfind(b"\n", 0, max(len(source) // _PART - 2, 0) * _PART) + 1
    if not cut:
        return _on_from(_NOTHING, source, language, leaves)
    first = walk(source[:cut], language, leaves)
    beginnings = [one for one in first.beginnings[-_CANDIDATES:] if one.start < cut]
    readable = [
        one for one in beginnings if not source[one.start : one.start + 200].lstrip().startswith((b")", b"]", b"}"))
    ]
    # from the outermost one, the last of those: what follows reads like the start of a file
    chosen = min(reversed(readable), key=lambda one: one.indent, default=_NOTHING.beginnings[0])
    known = Walk(
        chosen.stack,
        chosen.stack,
        chosen.columns,
        (*(one for one in first.beginnings if one.start < chosen.start), chosen),
        tuple(comment for comment in first.comments if comment.start < chosen.start),
    )
    return _on_from(known, source, language, leaves)


def _on_from(known: Walk, source: bytes, language: str, leaves: ReadLeaves) -> Walk:
    """Go on to the end of the source from the last beginning that is known."""
    base = known.beginnings[-1].start
    rest = source[base:]
    stack, columns, at_line_start = known.at_end, known.columns, known.at_line_start
    beginnings, comments = list(known.beginnings), list(known.comments)
    previous_end = 0
    for leaf in (*leaves(rest, 0, language), Leaf(len(rest), len(rest), "")):
        if newline := rest.rfind(b"\n", previous_end, leaf.start) + 1:
            stack = at_line_start = at_line_end(stack, language)
            columns = columns[: len(stack)]
            if _may_begin_statement(stack):
                indent = indentation(rest[newline : leaf.start].decode("utf-8", "replace") + ".")
                beginnings.append(Beginning(base + newline, stack, columns, indent))
        found = step(leaf.kind, stack)
        if found is not None:
            columns = columns[: len(found[0])]
            if len(found[0]) > len(columns):
                columns = (*columns, _indentation_at(rest, leaf.start))
            stack, columns = found[0][-DEEPEST:], columns[-DEEPEST:]
        if leaf.kind == "comment":
            comments.append(Leaf(base + leaf.start, base + leaf.end, leaf.kind))
        previous_end = leaf.end_without_newline(rest)
        if b"\n" in rest[leaf.start : previous_end]:  # a comment or string of several lines
            at_line_start = stack
    return Walk(at_line_start, stack, columns, tuple(beginnings[-_KEPT:]), tuple(comments))


def _indentation_at(source: bytes, position: int) -> int:
    start = source.rfind(b"\n", 0, position) + 1
    return indentation(source[start : min(position, start + _LONGEST_INDENT)].decode("utf-8", "replace"))


def _may_begin_statement(stack: Stack) -> bool:
    return not stack or (stack[-1] == "{" and _QUOTES.isdisjoint(stack))


def step(kind: str, stack: Stack) -> tuple[Stack, bool, bool] | None:
    """Pass a leaf: what is open after it, whether it closes, whether it is stray. None where it changes nothing."""
    top = stack[-1] if stack else ""
    if kind in ("", "comment") or kind.isalpha() or top == COMMENT:
        return None
    if is_quote(top):
        if kind.lstrip("f") == top.lstrip("f"):
            return stack[:-1], True, False
        if kind in ("${", "#{", "$(") or (kind == "{" and top.startswith("f")):
            return (*stack, kind), False, False
        return None  # text: unfinished strings have leaves like code
    if kind in CLOSERS or is_quote(kind) or kind == COMMENT:
        return (*stack, kind), False, False
    if CLOSERS.get(top) == kind:
        return stack[:-1], True, False
    return stack, True, True


def at_line_end(stack: Stack, language: str) -> Stack:
    """What stays open after a line's end, which ends a string that cannot go on over it."""
    if language in _OVER_LINES or _ENDED_BY_LINE.isdisjoint(stack):
        return stack
    return stack[: next(depth for depth, token in enumerate(stack) if token in _ENDED_BY_LINE)]


def is_quote(token: str) -> bool:
    """Whether an open delimiter is a quote."""
    return token in _QUOTES
