"""Where a suggestion ends: after one statement, or after the block that it opens.

Apart from closers, only whole lines decide: a token in the middle of a line says nothing yet. Open brackets and strings
come from the leaves of the syntax tree; the blocks of Python and its like from indentation.
"""

from __future__ import annotations

from engine.completion import StopReason
from syntax import Delimiter, Delimiters, at_line_end, language_named

_LOOK = 4000  # code points in which the lines next to the cursor's are looked for
_CLOSING = frozenset(")]}\"'`")
_DECIDES = _CLOSING | {"\n"}
_TRIVIAL = 3  # a line of so few characters, such as `}` or `end`, stands in many places


class BlockPolicy:
    """The end of one suggestion. Feed it all text generated so far, again and again as it grows."""

    def __init__(self, *, prefix: str, suffix: str, language: str) -> None:
        self.reason = StopReason.BLOCK
        """Why the suggestion ended, once `end_of` has said that it did."""
        self._language = language_named(language)
        self._delimiters = Delimiters(prefix, language)
        self._line = prefix[prefix.rfind("\n") + 1 :]
        self._rest = suffix[:_LOOK].split("\n", 1)[0].strip()
        self._below = _next_line(suffix)
        above = _last_line_above(prefix)
        opens = not self._line.strip() and self._opens_block(above)
        # a block without a body yet: all of the body is wanted, not its first statement alone
        self._wants_body = opens and indentation(self._below) <= indentation(above)
        self._indent = max(indentation(self._line), indentation(above) + 1 if opens else 0)
        self._base = len(self._delimiters.at_line_start)
        self._read = 0

    def end_of(self, generated: str) -> int | None:
        """The length in code points at which the suggestion ends, or None to decode on."""
        new, self._read = generated[self._read :], len(generated)
        line = generated[generated.rfind("\n") + 1 :]
        begins = len(line) < len(generated) and " " not in line[: len(line) - len(new)].lstrip()
        if not _DECIDES & set(new) and not begins:
            return None
        delimiters = self._delimiters.in_generated(generated)
        if (end := self._before_existing_closer(delimiters)) is not None:
            return end
        if self._rest.strip(")]}>;,:\"'`") and "\n" in generated:
            return generated.index("\n")  # code goes on behind the cursor: only this line can be meant
        return self._after_statement(generated, delimiters)

    def _before_existing_closer(self, delimiters: list[Delimiter]) -> int | None:
        """Inside a bracket or string that the document closes right of the cursor: stop before that closer."""
        inside = len(self._delimiters.at_cursor)
        for delimiter in delimiters if self._rest else ():
            if delimiter.closes and len(delimiter.open_after) < inside:
                return delimiter.offset if self._rest.startswith(delimiter.text.lstrip("f")) else None
        return None

    def _after_statement(self, generated: str, delimiters: list[Delimiter]) -> int | None:
        """Go over the lines, each with what is open behind it, until the statement or its block is complete."""
        head: int | None = None  # indentation of the line that opened a block which only a dedent or `end` closes
        before = self._delimiters.at_line_start
        start = 0
        for index, line in enumerate(generated.split("\n")):
            end = start + len(line)
            is_whole, is_first = end < len(generated), index == 0
            full = self._line + line if is_first else line
            inside = len(before) > self._base
            is_judged = not is_first and not inside and (is_whole or bool(line.strip()))
            if is_judged and self._ends_before(full, head, is_whole=is_whole):
                return len(generated[:start].rstrip())
            if not is_whole:
                return None
            behind = [delimiter.open_after for delimiter in delimiters if delimiter.offset < end]
            before = at_line_end(behind[-1] if behind else self._delimiters.at_cursor)
            if full.strip() and len(before) <= self._base:
                if len(before) < self._base and not (is_first and self._wants_body):
                    return end
                if head is None and self._opens_block(full) and self._language.blocks != "braces":
                    head = indentation(full)
                elif head is not None and self._language.blocks == "end" and indentation(full) <= head:
                    if not self._continues(full):
                        return end
                elif head is None and not self._wants_body:
                    return end
            start = end + 1
        return None

    def _ends_before(self, line: str, head: int | None, *, is_whole: bool) -> bool:
        """Whether a further line is none of the suggestion's: blank, there already, or outside of the block."""
        stripped = line.strip()
        if not stripped:
            return True
        closes = stripped[0] in ")]}"
        if is_whole and stripped == self._below.strip() and (closes or len(stripped) > _TRIVIAL):
            self.reason = StopReason.SUFFIX
            return True
        if closes:
            return False
        if head is not None and indentation(line) == head and self._continues(line, is_whole=is_whole):
            return False
        outside = head if head is not None and self._language.blocks == "indentation" else self._indent - 1
        return indentation(line) <= outside

    def _opens_block(self, line: str) -> bool:
        """Whether a line is the head of a block whose body follows below it."""
        if self._language.blocks == "braces":
            return line.rstrip().endswith("{")
        if self._language.blocks == "indentation":
            return line.split(" #")[0].rstrip().endswith(":")
        words = line.split()
        return bool(words) and (words[-1] in _END_LAST or words[0] in _END_FIRST)

    def _continues(self, line: str, *, is_whole: bool = True) -> bool:
        """Whether a line goes on with the statement whose block ends before it, such as `else:`."""
        word = line.split()[0].rstrip(":{(")
        if is_whole or len(line.split()) > 1:
            return word in self._language.continues
        return any(keyword.startswith(word) for keyword in self._language.continues)


_END_FIRST = frozenset({"def", "class", "module", "function", "local", "while", "for", "if", "unless", "begin", "case"})
_END_LAST = frozenset({"then", "do", "repeat"})


def indentation(line: str) -> int:
    """How far a line is indented, a tab to the next multiple of eight."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _next_line(suffix: str) -> str:
    """The first line below the cursor's that is not blank."""
    lines = suffix[:_LOOK].split("\n")[1:]
    return next((line.rstrip() for line in lines if line.strip()), "")


def _last_line_above(prefix: str) -> str:
    """The last line above the cursor's that is not blank."""
    end = max(prefix.rfind("\n"), 0)
    lines = prefix[max(end - _LOOK, 0) : end].split("\n")
    return next((line.rstrip() for line in reversed(lines) if line.strip()), "")
