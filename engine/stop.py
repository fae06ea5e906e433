"""Where a suggestion ends: after one statement, or after the block that it opens.

Apart from closers, only whole lines decide, and the first word of the next one: half a line says nothing yet. Open
brackets, strings and comments come from the leaves of the syntax tree, statements and blocks from their lines.
"""

from __future__ import annotations

from engine.closers import Closers
from engine.completion import StopReason
from syntax import (
    COMMENT,
    Delimiters,
    Ending,
    Reading,
    at_line_end,
    continues,
    ending,
    first_word,
    goes_on,
    indentation,
    is_annotation,
    is_quote,
    language_named,
    may_continue,
    opens_block,
)

_LOOK = 4000  # code points of the suffix that are looked at
_LONGEST_LINE = 400  # code points
_DECIDES = frozenset(")]}\"'`\n")
_OPENING = ("(", "[", "{")
_COMMENT_MARKS = " \t\r*#/-!"  # a line of these alone ends a paragraph
_LONG = 4  # lines
_TRIVIAL = 3  # a line of so few characters, such as `end`, stands in many places


class BlockPolicy:
    """The end of one suggestion. Feed it all text generated so far, again and again as it grows."""

    def __init__(self, *, prefix: str, suffix: str, language: str) -> None:
        self.reason = StopReason.BLOCK
        """Why the suggestion ended, once `end_of` has said that it did."""
        self._language = language_named(language)
        self._delimiters = Delimiters(prefix, language)
        self._line = prefix[prefix.rfind("\n") + 1 :]
        ahead = suffix[:_LOOK]
        self._below = _lines_below(ahead)
        self._closers = Closers(self._delimiters, line=self._line, suffix=suffix)
        self._base = self._depth_of_statement()
        self._in_text = _is_text(self._delimiters.at_line_start)
        self._in_comment = self._delimiters.in_comment or COMMENT in self._delimiters.at_cursor
        code, above = self._delimiters.code, self._delimiters.above
        if above and above[-1].lstrip().startswith(('"""', "'''")) and self._language.blocks == "indentation":
            above = above[:-1]  # a docstring is no body
        head = code if code.strip() else above[-1] if above else ""
        opens = opens_block(head, self._language) or head.rstrip().endswith(_OPENING)
        # a block without a body yet: all of the body is wanted, not its first statement alone
        self._wants_body = (
            opens and not self._line.strip() and indentation(self._below[0]) <= indentation(head.strip("\r\n"))
        )
        self._indent = indentation((code if code.strip() else self._line).lstrip("\r\n"))
        self._head = indentation(head.strip("\r\n")) if self._wants_body else -1
        if self._wants_body:
            self._indent = max(self._indent, indentation(head.strip("\r\n")) + 1)
        self._decides = _DECIDES | {"/"} if COMMENT in self._delimiters.at_cursor else _DECIDES
        self._read = 0
        self._awaits = False  # what follows decides about closers that were generated

    def end_of(self, generated: str) -> int | None:
        """The length in code points at which the suggestion ends, or None to decode on."""
        new, self._read = generated[self._read :], len(generated)
        line = generated[generated.rfind("\n") + 1 :]
        begins = len(line) < len(generated) and " " not in line[: len(line) - len(new)].lstrip()
        is_clear = not (begins or self._awaits or self._decides.intersection(new))
        if is_clear and len(line) <= _LONGEST_LINE:
            return None
        end = self._end(generated)
        return None if end is None else len(generated[:end].rstrip())

    def _end(self, generated: str) -> int | None:
        reading = self._delimiters.read(generated)
        meeting = self._closers.meet(generated, reading.delimiters, is_all=False)
        self._awaits = meeting.is_undecided
        end = self._after_statement(generated if meeting.end is None else generated[: meeting.end], reading)
        if end is None and meeting.end is not None and not meeting.is_undecided:
            self.reason, end = StopReason.SUFFIX, meeting.end
        if not self._closers.rest_is_closers and "\n" in generated[:end]:
            return generated.index("\n")  # code goes on behind the cursor: only this line can be meant
        if end is None and len(generated) - generated.rfind("\n") > _LONGEST_LINE:
            return max(generated.rfind("\n"), 0)  # no code is written so
        return end

    def _depth_of_statement(self) -> int:
        """How many of the open delimiters are given; more must be closed before a statement can be complete."""
        given = self._delimiters.at_line_start
        block = max((depth + 1 for depth, token in enumerate(given) if token == "{"), default=0)
        if self._delimiters.code.count("\n") > _LONG:  # such as a table: nobody wants all of it
            return len(given)
        is_open = any(depth not in self._closers.closed for depth in range(block, len(given)))
        return block if is_open else len(given)

    def _after_statement(self, generated: str, reading: Reading) -> int | None:
        """Go over the lines, each with what is open behind it, until the statement or its block is complete."""
        language, base = self._language, self._base
        head: int | None = None  # indentation of the line that opened a block which only a dedent or a word closes
        pending: int | None = None  # where the statement ended, if the next line does not go on with it
        twin: int | None = None  # start of a trivial line that stands below, too
        before = self._delimiters.at_line_start
        code, indent = "", self._indent
        start = 0
        for index, line in enumerate(generated.split("\n")):
            end = start + len(line)
            is_whole, is_first = end < len(generated), index == 0
            full = self._line + line if is_first else line
            begins = len(before) <= base
            if begins and not is_first:
                if not full.strip() or (not code.strip() and _is_bare(full)):
                    return start if is_whole else None
                if pending is not None:
                    may = may_continue(code, language) and continues(full, language, is_whole=is_whole)
                    if not may and not goes_on(full, language, indent=indent):
                        return pending
                    pending = None
            elif (
                self._in_text
                and not is_first
                and is_whole
                and _is_text(before)
                and not full.strip(_COMMENT_MARKS)
                and "*/" not in full
            ):
                return start  # the end of a paragraph
            if begins and is_whole and (is_first <= (not self._line.strip())):
                if twin is not None and _is_same(full, self._below[1]):
                    self.reason = StopReason.SUFFIX
                    return twin
                twin = None
                if _is_same(full, self._below[0]):
                    if len(full.strip()) > _TRIVIAL and not (head is not None and first_word(full) == full.strip(" :")):
                        self.reason = StopReason.SUFFIX
                        return start
                    twin = start
            if begins and not is_first and self._is_outside(full, head, is_whole=is_whole):
                return start
            if not is_whole:
                return None
            written = _without_comments(line, start, reading)
            above = self._delimiters.code if is_first else f"{code}\n" if code.strip() else ""
            code = above + written
            before = at_line_end(reading.open_at(end, self._delimiters.at_cursor))
            if is_first and not full.strip():
                if not self._wants_body:
                    return start
            elif len(before) <= base:
                if self._in_comment:
                    return end
                if len(before) < base:
                    if self._wants_body and not is_first:
                        return end
                    base = len(before)
                own = self._head if head is None else head
                opens = opens_block(code, language) and not (language.blocks == "indentation" and before)
                if language.blocks != "braces" and head is None and opens and not self._wants_body:
                    head = indentation(code.lstrip("\r\n"))
                elif first_word(full) in language.closes and indentation(full) <= own:
                    if head is not None or not _is_same(full, self._below[0]):
                        return end
                    self.reason = StopReason.SUFFIX
                    return start
                if head is not None or self._wants_body or is_annotation(code, language):
                    code = ""
                elif code.strip():
                    is_inside = bool(before) or not self._delimiters.is_whole
                    verdict = ending(code, language, is_item=is_inside, is_outermost=not is_inside)
                    indent = indentation(code.lstrip("\r\n"))
                    if verdict is Ending.COMPLETE:
                        return end
                    pending = end if verdict is Ending.NEXT_LINE_TELLS else None
            start = end + 1
        return None

    def _is_outside(self, line: str, head: int | None, *, is_whole: bool) -> bool:
        """Whether a further line stands outside of the block that the suggestion began in or opened."""
        if line.strip()[0] in ")]}":
            return False
        language = self._language
        if language.blocks == "end" and any(word.startswith(first_word(line)) for word in language.closes):
            return indentation(line) < (self._head if head is None else head)
        if head is not None and indentation(line) == head and continues(line, language, is_whole=is_whole):
            return False
        outside = head if head is not None and language.blocks == "indentation" else self._indent - 1
        return indentation(line) <= outside


def _is_bare(line: str) -> bool:
    return not line.strip(_COMMENT_MARKS) and "*/" not in line


def _is_text(stack: tuple[str, ...]) -> bool:
    return bool(stack) and (is_quote(stack[-1]) or stack[-1] == COMMENT)


def _without_comments(line: str, start: int, reading: Reading) -> str:
    """A line of generated text that starts at `start`, without the comments in it."""
    for first, last in reversed(reading.comments):
        if first < start + len(line) and last > start:
            line = line[: max(first - start, 0)] + line[max(last - start, 0) :]
    return line


def _lines_below(ahead: str) -> tuple[str, str]:
    """The first two lines below the cursor's that are not blank."""
    first, second, *_ = *(line.rstrip() for line in ahead.split("\n")[1:] if line.strip()), "", ""
    return first, second


def _is_same(line: str, other: str) -> bool:
    return line.strip() == other.strip() != "" and indentation(line) == indentation(other)
