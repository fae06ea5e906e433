"""Where a suggestion ends: after one statement, or after the block that it opens.

Apart from closers, only whole lines decide, and the first word of the next one: half a line says nothing yet. Open
brackets, strings and comments come from the leaves of the syntax tree, statements and blocks from their lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.ending.surroundings import Surroundings, is_text
from engine.request import Place, StopReason
from syntax import (
    COMMENT,
    Ending,
    Reading,
    at_line_end,
    closes_block,
    continues,
    ending,
    first_word,
    goes_on,
    indentation,
    is_annotation,
    may_continue,
    opens_block,
)

_DECIDES = frozenset(")]}\"'`\n")
_LONGEST_LINE = 400  # code points
_COMMENT_MARKS = " \t\r*#/-!"  # a line of these alone ends a paragraph
_TELLING = 8  # a line of more characters, also inside of brackets, is no coincidence
_TRIVIAL = 3  # a line of so few characters, such as `end`, stands in many places


class BlockPolicy:
    """The end of one suggestion. Feed it all text generated so far, again and again as it grows."""

    def __init__(self, *, prefix: str, suffix: str, language: str) -> None:
        self.reason = StopReason.BLOCK
        """Why the suggestion ended, once `end_of` has said that it did."""
        self._surroundings = Surroundings.of(prefix=prefix, suffix=suffix, language=language)
        self._decides = _DECIDES | {"/"} if COMMENT in self._surroundings.delimiters.at_cursor else _DECIDES
        self._read = 0
        self._awaits = False  # what follows decides about closers that were generated

    @property
    def place(self) -> Place:
        """What the cursor stands in."""
        return self._surroundings.place

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
        surroundings = self._surroundings
        reading = surroundings.delimiters.read(generated)
        meeting = surroundings.closers.meet(generated, reading.delimiters, is_all=False)
        self._awaits = meeting.is_undecided
        walk = _Walk(surroundings, reading)
        end = walk.end(generated if meeting.end is None else generated[: meeting.end])
        self.reason = walk.reason
        if end is None and meeting.end is not None and not meeting.is_undecided:
            self.reason, end = StopReason.SUFFIX, meeting.end
        if not surroundings.closers.rest_is_closers and "\n" in generated[:end]:
            return generated.index("\n")  # code follows the cursor on its line: the suggestion has one line
        if end is None and len(generated) - generated.rfind("\n") > _LONGEST_LINE:
            return max(generated.rfind("\n"), 0)  # no code has lines so long
        return end


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of generated text; the first one with what stands before the cursor."""

    text: str
    start: int
    end: int
    is_first: bool
    is_whole: bool


class _Walk:
    """One pass over generated text, line by line, until the statement or its block is complete."""

    def __init__(self, surroundings: Surroundings, reading: Reading) -> None:
        self.reason = StopReason.BLOCK
        self._surroundings, self._language, self._reading = surroundings, surroundings.language, reading
        self._depth = surroundings.depth
        self._open = surroundings.delimiters.at_line_start  # where the line begins
        self._code = ""  # of the statement so far
        self._indent = surroundings.indent  # of that statement
        self._head: int | None = None  # of the line that opened a block which only a dedent or a word closes
        self._pending: int | None = None  # where the statement ended, if the next line does not go on with it
        self._twin: int | None = None  # start of a trivial line that stands below, too

    def end(self, generated: str) -> int | None:
        """Where the suggestion ends, in code points."""
        start = 0
        for index, text in enumerate(generated.split("\n")):
            end, is_first = start + len(text), index == 0
            line = _Line(
                self._surroundings.line + text if is_first else text, start, end, is_first, end < len(generated)
            )
            found = self._at_begin(line)
            if found is None and line.is_whole:
                found = self._at_end(line, _without_comments(text, start, self._reading))
            if found is not None or not line.is_whole:
                return found
            start = end + 1
        return None

    def _at_begin(self, line: _Line) -> int | None:
        """Judge a line by what it begins with: whether the suggestion ended before it."""
        if line.is_first:
            return self._below(line) if not self._surroundings.line.strip() else None
        if len(self._open) > self._depth:
            return self._at_begin_inside(line)
        if not line.text.strip() or (not self._code.strip() and _is_bare(line.text)):
            return line.start if line.is_whole else None
        if self._pending is not None:
            has_more = may_continue(self._code, self._language) and self._continues(line)
            if not has_more and not goes_on(line.text, self._language, indent=self._indent):
                return self._pending
            self._pending = None
        below = self._below(line)
        return line.start if below is None and self._is_outside(line) else below

    def _at_begin_inside(self, line: _Line) -> int | None:
        """Judge a line that begins inside of a bracket, string or comment which the suggestion has to close."""
        if not line.is_whole:
            return None
        if self._surroundings.in_text and is_text(self._open) and _is_bare(line.text):
            return line.start  # the end of a paragraph
        if len(line.text.strip()) > _TELLING and _is_same(line.text, self._surroundings.below[0]):
            self.reason = StopReason.SUFFIX
            return line.start
        return None

    def _below(self, line: _Line) -> int | None:
        """Where the text comes to what stands below the cursor, if with this line it does."""
        if not line.is_whole:
            return None
        if self._twin is not None and _is_same(line.text, self._surroundings.below[1]):
            self.reason = StopReason.SUFFIX
            return self._twin
        self._twin = None
        if not _is_same(line.text, self._surroundings.below[0]):
            return None
        stripped = line.text.strip()
        is_keyword = self._head is not None and first_word(stripped) == stripped.strip(" :")
        if len(stripped) <= _TRIVIAL or is_keyword:
            self._twin = line.start
            return None
        self.reason = StopReason.SUFFIX
        return line.start

    def _is_outside(self, line: _Line) -> bool:
        """Whether a further line stands outside of the block that the suggestion began in or opened."""
        width = indentation(line.text)
        if line.text.strip()[0] in ")]}":
            return False
        if closes_block(line.text, self._language, is_whole=line.is_whole):
            return width < (self._surroundings.head if self._head is None else self._head)
        if self._head is None:
            return width < self._surroundings.indent
        if width == self._head and self._continues(line):
            return False
        return width <= (self._head if self._language.blocks == "indentation" else self._surroundings.indent - 1)

    def _continues(self, line: _Line) -> bool:
        return continues(line.text, self._language, is_whole=line.is_whole)

    def _at_end(self, line: _Line, written: str) -> int | None:
        """Judge a whole line, whose code without comments is `written`: whether the suggestion ends after it."""
        surroundings = self._surroundings
        open_there = self._reading.open_at(line.end, surroundings.delimiters.at_cursor)
        self._open = at_line_end(open_there, surroundings.language.name)
        if line.is_first:
            self._code = surroundings.delimiters.code + written
        else:
            self._code = f"{self._code}\n{written}" if self._code.strip() else written
        if line.is_first and not line.text.strip():
            return None if surroundings.wants_body else line.start
        if len(self._open) > self._depth:
            return None
        if surroundings.in_comment:
            return line.end
        if len(self._open) < self._depth:
            if surroundings.wants_body and not line.is_first:
                return line.end
            self._depth = len(self._open)
        closed = self._past_block(line)
        if closed is None and self._head is None and not surroundings.wants_body:
            return self._past_statement(line)
        self._code = ""
        return closed

    def _past_block(self, line: _Line) -> int | None:
        """Note that a block opens; and say where it ends, if a word on this line closes it."""
        surroundings, language = self._surroundings, self._language
        if language.blocks == "braces":
            return None
        in_bracket = language.blocks == "indentation" and bool(self._open)
        if self._head is None and not surroundings.wants_body and not in_bracket and opens_block(self._code, language):
            self._head = indentation(self._code.lstrip("\r\n"))
            return None
        head = surroundings.head if self._head is None else self._head
        if not closes_block(line.text, language) or indentation(line.text) > head:
            return None
        if self._head is not None or not _is_same(line.text, surroundings.below[0]):
            return line.end
        self.reason = StopReason.SUFFIX
        return line.start

    def _past_statement(self, line: _Line) -> int | None:
        """Say where the statement ends, if with this line it does; the next line may have to tell."""
        if is_annotation(self._code, self._language):
            self._code = ""
        if not self._code.strip():
            return None
        is_inside = bool(self._open) or not self._surroundings.delimiters.is_whole
        verdict = ending(self._code, self._language, is_item=is_inside, is_outermost=not is_inside)
        self._indent = indentation(self._code.lstrip("\r\n"))
        self._pending = line.end if verdict is Ending.NEXT_LINE_TELLS else None
        return line.end if verdict is Ending.COMPLETE else None


def _is_bare(line: str) -> bool:
    return not line.strip(_COMMENT_MARKS) and "*/" not in line


def _without_comments(line: str, start: int, reading: Reading) -> str:
    """A line of generated text that starts at `start`, without the comments in it."""
    for first, last in reversed(reading.comments):
        if first < start + len(line) and last > start:
            line = line[: max(first - start, 0)] + line[max(last - start, 0) :]
    return line


def _is_same(line: str, other: str) -> bool:
    return line.strip() == other.strip() != "" and indentation(line) == indentation(other)
