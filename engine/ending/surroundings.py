"""What stands around the cursor, in the parts that the block policy needs."""

from __future__ import annotations

from dataclasses import dataclass

from engine.ending.closers import Closers, look_around
from engine.request import Place
from syntax import COMMENT, Delimiters, Language, indentation, is_quote, language_named, opens_block

_LOOK = 4000  # code points of the suffix that are looked at
_LONG = 4  # lines
_OPENING = ("(", "[", "{")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A cursor, with what stands around it."""

    language: Language
    line: str
    """The cursor's line up to the cursor."""
    below: tuple[str, str]
    """The first two lines below the cursor's that are not blank; empty where there are none."""
    delimiters: Delimiters
    closers: Closers
    depth: int
    """How many of the delimiters open at the cursor are given; more must be closed before a statement is complete."""
    wants_body: bool
    """Whether the cursor stands in a block that has no body yet: all of it is wanted, not its first statement alone."""
    head: int
    """How far the head of that block is indented; -1 where there is none."""
    indent: int
    """How far the cursor's statement is indented; a line that is indented less is not part of the suggestion."""
    in_text: bool
    """Whether the cursor's line begins within a comment or string."""
    in_comment: bool

    @classmethod
    def of(cls, *, prefix: str, suffix: str, language: str) -> Surroundings:
        """Look around the cursor, in a bounded part of the document."""
        row = language_named(language)
        delimiters, closers = look_around(prefix, suffix, language)
        line = prefix[prefix.rfind("\n") + 1 :]
        below = _lines_below(suffix[:_LOOK])
        head = _line_above(delimiters, row)
        opens = opens_block(head, row) or head.rstrip().endswith(_OPENING)
        wants_body = opens and not line.strip() and indentation(below[0]) <= indentation(head)
        indent = indentation(delimiters.code.lstrip("\r\n") if delimiters.code.strip() else line)
        return cls(
            language=row,
            line=line,
            below=below,
            delimiters=delimiters,
            closers=closers,
            depth=_depth_of_statement(delimiters, closers),
            wants_body=wants_body,
            head=indentation(head) if wants_body else -1,
            indent=max(indent, indentation(head) + 1) if wants_body else indent,
            in_text=is_text(delimiters.at_line_start),
            in_comment=delimiters.in_comment or COMMENT in delimiters.at_cursor,
        )

    @property
    def place(self) -> Place:
        """What the cursor stands in."""
        innermost = self.delimiters.at_cursor[-1] if self.delimiters.at_cursor else ""
        if self.in_comment or innermost == COMMENT:
            return Place.COMMENT
        if innermost and is_quote(innermost):
            return Place.STRING
        return Place.ARGUMENT if innermost in ("(", "[") else Place.STATEMENT


def is_text(stack: tuple[str, ...]) -> bool:
    """Whether what is open makes text of what follows: a string or a comment."""
    return bool(stack) and (is_quote(stack[-1]) or stack[-1] == COMMENT)


def _line_above(delimiters: Delimiters, language: Language) -> str:
    """What may be the head of a block that the cursor stands in, from its first line on."""
    code, above = delimiters.code, delimiters.above
    if above and above[-1].lstrip().startswith(('"""', "'''")) and language.blocks == "indentation":
        above = above[:-1]  # a docstring is no body
    head = code if code.strip() else above[-1] if above else ""
    return head.strip("\r\n")


def _depth_of_statement(delimiters: Delimiters, closers: Closers) -> int:
    given = delimiters.at_line_start
    block = max((depth + 1 for depth, token in enumerate(given) if token == "{"), default=0)
    if delimiters.code.count("\n") > _LONG:  # such as a table, of which one line is suggested
        return len(given)
    is_open = any(depth not in closers.closed for depth in range(block, len(given)))
    return block if is_open else len(given)


def _lines_below(ahead: str) -> tuple[str, str]:
    first, second, *_ = *(line.rstrip() for line in ahead.split("\n")[1:] if line.strip()), "", ""
    return first, second
