"""Generated text made to fit the document: nothing that stands there already, nothing half open, its own white space.

Each rule is a small function from text to text; `trim` applies them in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.closers import Closers, look_around
from syntax import Delimiters, at_line_end, indentation, is_quote

_CLOSERS = frozenset(")]}>\"'`;,:")
_BRACKETS_AND_QUOTES = frozenset(")]}\"'`")
_LOOK = 4000  # code points of the document on either side
_LOOPS = 3  # the same so many times over is a loop, not code
_LONGEST_PERIOD = 4  # lines
_TRIVIAL = 3  # a line of so few characters, such as `}`, stands in many places
_OVERLAP = 4  # code points that text and the rest of the line must share to be the same


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Text to insert, and how many code points right of the cursor it repeats and takes the place of."""

    text: str
    replaces: int


def trim(generated: str, *, prefix: str, suffix: str, language: str) -> Trimmed:
    """Apply all rules, until none finds anything; the text is empty where nothing sensible is left."""
    trimmed = Trimmed(generated, 0)
    while (again := _trim_once(trimmed.text, prefix, suffix, language)) != trimmed:
        trimmed = again
    return trimmed


def _trim_once(generated: str, prefix: str, suffix: str, language: str) -> Trimmed:
    delimiters, closers = look_around(prefix, suffix, language)
    line = prefix[prefix.rfind("\n") + 1 :]
    text = without_carriage_returns(generated)
    text = without_spurious_space(text, line)
    text = without_loops(text, prefix)
    text = without_lines_below(text, suffix, line)
    text, replaces = across_closers(text, delimiters, closers)
    if not replaces:
        text = without_rest_of_line(text, suffix[:_LOOK].split("\n", 1)[0].rstrip())
    text = balanced(text.rstrip(), delimiters)
    text = indented_like(text, prefix).rstrip()
    if not text:
        return Trimmed("", 0)
    return Trimmed(with_newlines_of(text, prefix, suffix), replaces)


def without_carriage_returns(text: str) -> str:
    r"""Count lines by `\n` alone while the other rules run."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def without_spurious_space(text: str, line: str) -> str:
    """`x = ` and ` 1` give `x = 1`: tokens like to begin with the space that is typed already."""
    return text.lstrip(" ") if line.endswith((" ", "\t")) and line.strip() else text


def without_loops(text: str, prefix: str) -> str:
    """Keep one of what repeats three times or more in a row: of lines, also those above the cursor, or in a line."""
    lines = [_STUTTER.sub(r"\1", line) for line in text.split("\n")]
    if lines != text.split("\n"):
        cut = next(index for index, (new, old) in enumerate(zip(lines, text.split("\n"), strict=True)) if new != old)
        lines = lines[: cut + 1]
    *above, begun = prefix[-_LOOK:].split("\n")
    above = [one.rstrip() for one in above[-_LOOPS * _LONGEST_PERIOD :] if one.strip()]
    rows = [*above, *(one.rstrip() for one in [begun + lines[0], *lines[1:]])]
    for start in range(max(len(above) - _LOOPS + 1, 0), len(rows)):
        for period in range(1, _LONGEST_PERIOD + 1):
            part = rows[start : start + period]
            is_loop = rows[start : start + _LOOPS * period] == part * _LOOPS
            if is_loop and any(character.isalnum() for character in "".join(part)):
                kept = max(start + period - len(above), 0)
                return "\n".join(lines[:kept])
    return "\n".join(lines)


_STUTTER = re.compile(r"(?=.*[A-Za-z])(.{12,120}?)\1{2,}.*")


def without_lines_below(text: str, suffix: str, line: str) -> str:
    """Cut what the document already has on the lines below the cursor: from the line on from which all agree."""
    below = [one.rstrip() for one in suffix[:_LOOK].split("\n")[1:] if one.strip()]
    lines = text.split("\n")
    for start in range(1 if line.strip() else 0, len(lines)):
        whole = [line + lines[start] if start == 0 else lines[start], *lines[start + 1 :]]
        tail = [one.rstrip() for one in whole if one.strip()]
        if tail and tail == below[: len(tail)] and any(len(one.strip()) > _TRIVIAL for one in tail):
            return "\n".join(lines[:start])
    return text


def across_closers(text: str, delimiters: Delimiters, closers: Closers) -> tuple[str, int]:
    """End before a closer that the document has, or carry on across it: see `Closers`."""
    found = delimiters.read(text).delimiters
    if not delimiters.is_whole:  # what looks stray may close something further up than was read
        found = [delimiter for delimiter in found if not delimiter.is_stray]
    meeting = closers.meet(text, found, is_all=True)
    return (text if meeting.end is None else text[: meeting.end]), meeting.replaces


def without_rest_of_line(text: str, rest: str) -> str:
    """Cut the end of the text where the rest of the cursor's line begins with it."""
    if not rest.strip():
        return text
    first = text.split("\n", 1)[0]
    for length in range(min(len(rest), len(first)), 0, -1):
        if first.endswith(rest[:length]) and _is_same_code(rest, length, first):
            return first[:-length]
    return text if set(rest) <= _CLOSERS | {" "} else first


def _is_same_code(rest: str, length: int, first: str) -> bool:
    """Whether the begin of the rest of a line, found at the end of the text, is no coincidence."""
    head = rest[:length]
    if head[0] in _BRACKETS_AND_QUOTES:
        return False  # its own: those of the document were dealt with
    if head[0] == ">" and first.count("<") >= first.count(">"):
        return False
    if set(head) <= _CLOSERS:
        return True
    cuts_word = _is_word(first[:-length][-1:] + head[0]) or _is_word(head[-1] + rest[length : length + 1])
    return not cuts_word and (length == len(rest) or len(head.strip()) >= _OVERLAP)


def _is_word(pair: str) -> bool:
    return len(pair) == 2 and all(character.isalnum() or character == "_" for character in pair)


def balanced(text: str, delimiters: Delimiters) -> str:
    """Cut back to where nothing is open that the text opened: to the last such line, or before an open string.

    A block may stay open, with what it has, and so may the brackets of a single line: more of it can be typed.
    """
    reading = delimiters.read(text)
    at_end = reading.open_at(len(text) + 1, delimiters.at_cursor)
    depth = _depth_of_text(at_end, delimiters)
    if depth is None:
        return text
    lines = text.split("\n")
    for count in range(len(lines) - 1, 0, -1):
        end = sum(len(one) + 1 for one in lines[:count]) - 1
        is_open = _depth_of_text(at_line_end(reading.open_at(end, delimiters.at_cursor)), delimiters) is not None
        if not is_open and "".join(lines[:count]).strip():
            return text[:end]
    if not is_quote(at_end[depth]):
        return text
    opened = [one for one in reading.delimiters if not one.closes and one.open_after == at_end[: depth + 1]]
    return text[: opened[-1].offset]


def _depth_of_text(stack: tuple[str, ...], delimiters: Delimiters) -> int | None:
    """How deep the first thing lies that the text opened and has not closed; None where there is none."""
    given = next(
        (depth for depth, (a, b) in enumerate(zip(stack, delimiters.at_cursor, strict=False)) if a != b),
        min(len(stack), len(delimiters.at_cursor)),
    )
    return next((depth for depth in range(given, len(stack)) if stack[depth] != "{"), None)


def indented_like(text: str, prefix: str) -> str:
    """Turn leading spaces into tabs, or tabs into spaces, where the document clearly uses the other."""
    first, *others = text.split("\n")
    document = [one for one in prefix[-_LOOK:].split("\n")[1:] if one[:1] in (" ", "\t") and one.strip()]
    tabs = sum(one.startswith("\t") for one in document)
    if not others or not document or 0 < tabs < len(document):
        return text
    if tabs:
        width = _step([one for one in others if one.startswith(" ")])
        converted = [re.sub(r"^ +", lambda found: _tabs(len(found[0]), width), one) for one in others]
    else:
        width = _step(document)
        converted = [re.sub(r"^[ \t]*\t", lambda found: found[0].expandtabs(width), one) for one in others]
    return "\n".join([first, *converted])


def _step(lines: list[str]) -> int:
    """The columns of one level of indentation."""
    return min((width for one in lines if (width := indentation(one)) > 1 and one.strip()), default=4)


def _tabs(columns: int, width: int) -> str:
    return "\t" * (columns // width) + " " * (columns % width)


def with_newlines_of(text: str, prefix: str, suffix: str) -> str:
    """Give the text the line ends that the document has."""
    line_end = prefix.rfind("\n")
    is_crlf = prefix[line_end - 1 : line_end] == "\r" if line_end > 0 else "\r\n" in suffix[:_LOOK]
    return text.replace("\n", "\r\n") if is_crlf else text
