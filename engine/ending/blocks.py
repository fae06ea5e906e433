"""Blocks that end with a word, such as `end`, and which of them a text opens and was cut short in."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from syntax import (
    CLOSERS,
    Delimiters,
    Language,
    WordBlock,
    block_words,
    closes_block,
    continues,
    indentation,
    is_unfinished,
    opens_block,
)

_LOOK = 4000  # code points of the document on either side
_BEGINS_EXPRESSION = re.compile(r"(?:^|[=(\[{,;|&+]|\b(?:then|do|else|begin|and|or|not))\s*$")
_ENDLESS = re.compile(r"def\s+[\w.]+[?!]?(?:\s*\([^()]*\))?\s+=\s")  # Ruby's `def area = width * height`
_ASKING = frozenset({"until"})  # closers after which a condition must stand
_BODY_BEGINS = {  # on the line of its head, after the word that opens or introduces it
    "do": re.compile(r"\s*(?:\|[^|]*\|)?\s*[^\s|]"),
    "fn": re.compile(r".*->\s*\S"),
    "function": re.compile(r"[^()]*\([^()]*\)\s*\S"),
    "then": re.compile(r"\s*\S"),
}


@dataclass(frozen=True, slots=True)
class _Opener:
    """What begins a block or a bracket that nothing has closed yet."""

    at: int
    """In code points from the start of the cursor's line."""
    text: str
    closer: str
    depth: int
    """How many brackets are open after it."""
    block: WordBlock | None = None
    introduced: int | None = None
    """Where the word stands that its body follows."""

    @property
    def is_half(self) -> bool:
        """Whether its head has no end yet."""
        block = self.block
        return block is not None and bool(block.introduced_by) and not block.may_lack_it and self.introduced is None


class WordBlocks:
    """What is open after a text at a cursor, in a language whose blocks end with words."""

    def __init__(self, *, line: str, suffix: str, delimiters: Delimiters, language: Language) -> None:
        """`line`: the cursor's line up to the cursor; a head that it has begun counts unless the document closes it."""
        self._line, self._delimiters, self._language = line, delimiters, language
        is_closed = is_closed_below(suffix, indentation(line + "."), language)
        self._begun = [] if is_closed else block_words(line, language.name)

    def ends_in_one(self, text: str) -> bool:
        """Whether what a text opens last and does not close is such a block."""
        stack = self._open(text)
        return bool(stack) and stack[-1].block is not None

    def closed(self, text: str) -> str:
        """The text with its blocks closed, each where it was opened, without a last head that has no body.

        A text of one line may be such a head: more of it can be typed.
        """
        while True:
            stack, rows = self._open(text), (self._line + text).split("\n")
            if not stack or stack[-1].block is None:
                return text
            asking = next((one for one in stack if one.block is not None and one.closer in _ASKING), None)
            if asking is not None:  # nothing is known of its condition: the text ends before it
                start = (self._line + text).rfind("\n", 0, asking.at) - len(self._line)
                if start < 0:
                    return text.split("\n", 1)[0]
                text = text[:start].rstrip()
                continue
            if not self._awaits_more(stack[-1], rows):
                break
            if "\n" not in text:
                return text
            text = text[: text.rindex("\n")].rstrip()
        closed = self._with_closers(text, stack, rows)
        return closed if not self._open(closed) else ""

    def _open(self, text: str) -> list[_Opener]:
        whole, start = self._line + text, len(self._line)
        reading = self._delimiters.read(text)
        events = sorted(
            [
                *((at, word, None) for at, word in self._begun),
                *((start + at, word, None) for at, word in reading.words),
                *((start + one.offset, one.text, one) for one in reading.delimiters),
            ],
            key=lambda event: event[0],
        )
        stack: list[_Opener] = []
        depth = len(self._delimiters.at_cursor)
        for at, word, delimiter in events:
            if delimiter is None:
                self._pass(stack, _Opener(at, word, "", depth), whole)
                continue
            depth = len(delimiter.open_after)
            if not delimiter.closes:
                stack.append(_Opener(at, word, CLOSERS.get(word, word.lstrip("f")), depth))
            while stack and stack[-1].depth > depth:
                stack.pop()
        return stack

    def _pass(self, stack: list[_Opener], word: _Opener, whole: str) -> None:
        """Let a word close, introduce or open a block."""
        top = stack[-1] if stack else None
        if top is not None and top.block is not None:
            if top.closer == word.text:
                stack.pop()
                return
            is_near = not top.block.may_lack_it or "\n" not in whole[top.at : word.at]
            if top.block.introduced_by == word.text and top.introduced is None and is_near:
                stack[-1] = replace(top, introduced=word.at)
                return
        elif top is not None and self._language.name == "julia":
            return  # `a[end]`, `[x for x in y]`
        block = self._language.word_blocks.get(word.text)
        before = whole[whole.rfind("\n", 0, word.at) + 1 : word.at]
        is_modifier = word.text in self._language.modifiers and not _BEGINS_EXPRESSION.search(before)
        if block is not None and not is_modifier and not _ENDLESS.match(whole, word.at):
            stack.append(replace(word, closer=block.closer, block=block))

    def _awaits_more(self, opener: _Opener, rows: list[str]) -> bool:
        """Whether a text cannot end here: in a head, or right after one."""
        last, language = rows[-1].strip(), self._language
        introducing = opener.block is not None and opener.block.introduced_by
        if opener.is_half or (introducing and last == introducing) or is_unfinished(last):
            return True
        if continues(last, language) or last.startswith(language.comment or "\n"):
            return True
        start = sum(len(row) + 1 for row in rows[:-1])
        return opener.at >= start and not self._has_body(opener, "\n".join(rows))

    def _has_body(self, opener: _Opener, whole: str) -> bool:
        """Whether the line of a head goes on with its body."""
        at = opener.at if opener.introduced is None else opener.introduced
        word = opener.text if opener.introduced is None else whole[at:].split(maxsplit=1)[0].rstrip(";")
        begins = _BODY_BEGINS.get(word)
        return begins is not None and begins.match(whole, at + len(word)) is not None

    def _with_closers(self, text: str, stack: list[_Opener], rows: list[str]) -> str:
        whole, row_before = self._line + text, -1
        for opener in reversed(stack):
            row = whole.count("\n", 0, opener.at)
            if row == len(rows) - 1:
                is_shell = self._language.name == "shellscript"
                text += ("; " if is_shell else " ") if opener.block is not None else ""
            elif row != row_before:
                text += "\n" + rows[row][: len(rows[row]) - len(rows[row].lstrip())]
            elif opener.block is not None:
                text += " "
            text, row_before = text + opener.closer, row
        return text


def is_closed_below(suffix: str, column: int, language: Language) -> bool:
    """Whether the document closes, below the cursor's line, a block whose head is indented so far."""
    for line in suffix[:_LOOK].split("\n")[1:]:
        if line.strip() and indentation(line) <= column and not continues(line, language):
            return indentation(line) == column and closes_block(line, language)
    return False


def column_of_block(prefix: str, language: Language) -> int | None:
    """How far the head of the block is indented that a blank line at the cursor stands in; None without one."""
    lines = [line for line in prefix[-_LOOK:].split("\n")[:-1] if line.strip()]
    inside = indentation(lines[-1]) + 1 if lines and opens_block(lines[-1], language) else None
    for line in reversed(lines):
        inside = indentation(line) if inside is None else inside
        if indentation(line) < inside:
            return indentation(line) if opens_block(line, language) else None
    return None
