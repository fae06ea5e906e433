"""Generated text made to fit the document: nothing that stands there already, nothing half open, its own white space.

Each rule is a small function from text to text; `trim` applies them in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.ending.blocks import WordBlocks, column_of_block, is_closed_below
from engine.ending.closers import Closers, look_around
from engine.ending.surroundings import is_text
from engine.ending.tags import without_wrong_closing_tags
from syntax import (
    CLOSERS,
    Delimiter,
    Delimiters,
    Language,
    Reading,
    at_line_end,
    block_words,
    closes_block,
    indentation,
    is_quote,
    language_named,
    opens_block,
)

_CLOSERS = frozenset(")]}>\"'`;,:")
_BRACKETS_AND_QUOTES = frozenset(")]}\"'`")
_LETTERS = re.compile(r"\w+")
_LOOK = 4000  # code points of the document on either side
_MOST_PASSES = 20  # two or three are enough for code
_WITHOUT_LAST_COMMAS = frozenset({"json", "jsonc"})
_LOOPS = 3  # the same so many times over is a loop, not code
_LONGEST_PERIOD = 4  # lines
_TRIVIAL = 3  # a line of so few characters, such as `}`, stands in many places
_OVERLAP = 4  # code points that text and the rest of the line must share to be the same


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Text to insert, and how many code points after the cursor it repeats and replaces."""

    text: str
    replaces: int


def trim(generated: str, *, prefix: str, suffix: str, language: str) -> Trimmed:
    """Apply all rules, until none finds anything; the text is empty where nothing sensible is left."""
    trimmed = Trimmed(generated, 0)
    for _ in range(_MOST_PASSES):
        again = _trim_once(trimmed.text, prefix, suffix, language)
        if again == trimmed:
            return trimmed
        trimmed = again
    return Trimmed("", 0)


def _trim_once(generated: str, prefix: str, suffix: str, language: str) -> Trimmed:
    delimiters, closers = look_around(prefix, suffix, language)
    row = language_named(language)
    line, rest = prefix[prefix.rfind("\n") + 1 :], suffix[:_LOOK].split("\n", 1)[0].rstrip()
    text = without_carriage_returns(generated)
    text = without_spurious_space(text, line)
    text = without_indentation_that_stands(text, prefix, delimiters, row)
    text = without_loops(text, prefix)
    text = without_lines_below(text, suffix, line)
    text = without_wrong_closing_tags(text, prefix, language)
    if word := word_that_goes_on(line, rest):
        text, replaces = over_word(text, word, rest)
    else:
        text, replaces = across_closers(text, delimiters, closers)
        if not replaces:
            text = without_rest_of_line(text, rest)
    text = without_comment_before(text, rest[replaces:], delimiters, row)
    words = WordBlocks(line=line, suffix=suffix, delimiters=delimiters, language=row) if row.word_blocks else None
    if words is None:
        text = with_blocks_closed(balanced(text.rstrip(), delimiters, row), line, delimiters, row)
    else:
        text = text.rstrip() if words.ends_in_one(text) else balanced(text.rstrip(), delimiters, row)
        text = words.closed(text)
    text = without_comma_after_the_last(indented_like(text, prefix).rstrip(), suffix[replaces:], row)
    if not text or is_bare(text, delimiters, row) or is_misplaced_end(text, prefix, suffix, row):
        return Trimmed("", 0)
    return Trimmed(with_newlines_of(text, prefix, suffix), replaces)


def without_carriage_returns(text: str) -> str:
    r"""Count lines by `\n` alone while the other rules run."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def without_comma_after_the_last(text: str, rest: str, language: Language) -> str:
    """JSON allows no comma before the bracket that closes what the entry stands in."""
    is_last = language.name in _WITHOUT_LAST_COMMAS and rest[:_LOOK].lstrip()[:1] in ("}", "]")
    return text.rstrip(",").rstrip() if is_last else text


def without_spurious_space(text: str, line: str) -> str:
    """`x = ` and ` 1` give `x = 1`: tokens like to begin with the space that is typed already."""
    return text.lstrip(" ") if line.endswith((" ", "\t")) and line.strip() else text


def without_indentation_that_stands(text: str, prefix: str, delimiters: Delimiters, language: Language) -> str:
    """On a blank line that is indented as its block is, drop the indentation that the text begins with once more.

    Further lines lose as much, where all of them have it.
    """
    line = prefix[prefix.rfind("\n") + 1 :]
    first = text.split("\n", 1)[0]
    extra = len(first) - len(first.lstrip(" \t"))
    if not extra or line.strip() or not first.strip() or is_text(delimiters.at_line_start):
        return text
    if closes_block(first, language) and (column := column_of_block(prefix, language)) is not None:
        missing = max(column - indentation(line + "."), 0)  # the word stands where its block begins
        return "\n".join([" " * missing + first.lstrip(), *text.split("\n")[1:]])
    above = next((one for one in reversed(prefix[-_LOOK:].split("\n")[:-1]) if one.strip()), "")
    opens = opens_block(above, language) or above.rstrip().endswith(("(", "[", "{", ":"))
    is_outermost = not indentation(above) and not delimiters.at_cursor  # where nothing that is indented begins
    if indentation(line + ".") < indentation(above) + opens or not (line or is_outermost):
        return text  # the cursor stands further out than the block
    others = text.split("\n")[1:]
    margin = len(line) + extra
    too_deep = [len(one) - len(one.lstrip(" \t")) >= margin for one in others if one.strip()]
    if all(too_deep):
        others = [one[extra:] if one.strip() else one for one in others]
    return "\n".join([first[extra:], *others])


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


def word_that_goes_on(line: str, rest: str) -> str:
    """The part after the cursor of the word that the cursor stands in; empty between words."""
    return _LETTERS.match(rest)[0] if _is_word(line[-1:] + rest[:1]) else ""  # type: ignore[index]


def over_word(text: str, word: str, rest: str) -> tuple[str, int]:
    """Within a word, replace the rest of the word: `comp|ute(x)` becomes `compile(x)`.

    Where code goes on after the word, the text keeps to it; where nothing changes, there is nothing to say.
    """
    found = _LETTERS.match(text)
    if found is None:
        return "", 0
    kept = found[0] if rest[len(word) :].strip() else text.split("\n", 1)[0].rstrip()
    return ("", 0) if kept == word else (kept, len(word))


def without_rest_of_line(text: str, rest: str) -> str:
    """Cut the end of the text where the rest of the cursor's line begins with it."""
    if not rest.strip():
        return text
    first = text.split("\n", 1)[0]
    for length in range(min(len(rest), len(first)), 0, -1):
        if first.endswith(rest[:length]) and _is_same_code(rest, length, first):
            return first[:-length]
    return text if set(rest) <= _CLOSERS | {" "} else first


def without_comment_before(text: str, rest: str, delimiters: Delimiters, language: Language) -> str:
    """Cut a comment up to the end of the line where the document has code after it: that would be a comment, too."""
    mark = language.comment
    if not mark or mark not in text.rsplit("\n", 1)[-1] or not rest.strip():
        return text
    if delimiters.in_comment or is_text(delimiters.at_cursor):
        return text
    for start, end in delimiters.read(text).comments[-1:]:
        if end >= len(text.rstrip()) and text.startswith(mark, start) and "\n" not in text[start:].rstrip():
            return text[:start].rstrip()
    return text


def _is_same_code(rest: str, length: int, first: str) -> bool:
    """Whether the start of the rest of a line, found at the end of the text, is no coincidence."""
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


def balanced(text: str, delimiters: Delimiters, language: Language) -> str:
    """Cut back to where nothing is open that the text opened: to the last such line, or before an open string.

    The blocks of a language of braces may stay open, for `with_blocks_closed`, and so may the brackets of a single
    line: more of it can be typed.
    """
    blocks = language.blocks == "braces"
    reading = delimiters.read(text)
    at_end = reading.open_at(len(text) + 1, delimiters.at_cursor)
    depth = _depth_of_text(at_end, delimiters, blocks=blocks)
    if depth is None:
        return text
    lines = text.split("\n")
    for count in range(len(lines) - 1, 0, -1):
        end = sum(len(one) + 1 for one in lines[:count]) - 1
        stack = at_line_end(reading.open_at(end, delimiters.at_cursor), language.name)
        if _depth_of_text(stack, delimiters, blocks=blocks) is None and "".join(lines[:count]).strip():
            return text[:end]
    if not is_quote(at_end[depth]):
        return lines[0] if at_end[-1] != "{" else text
    return text[: _opener(at_end[: depth + 1], reading).offset]


def _opener(stack: tuple[str, ...], reading: Reading) -> Delimiter:
    """What has opened the innermost of these."""
    return next(one for one in reversed(reading.delimiters) if not one.closes and one.open_after == stack)


def _given(stack: tuple[str, ...], delimiters: Delimiters) -> int:
    """How much of what is open was open at the cursor already."""
    return next(
        (depth for depth, (a, b) in enumerate(zip(stack, delimiters.at_cursor, strict=False)) if a != b),
        min(len(stack), len(delimiters.at_cursor)),
    )


def _depth_of_text(stack: tuple[str, ...], delimiters: Delimiters, *, blocks: bool) -> int | None:
    """How deep the first thing lies that the text opened and has not closed; None where there is none.

    `blocks`: braces do not count.
    """
    opened = range(_given(stack, delimiters), len(stack))
    return next((depth for depth in opened if not blocks or stack[depth] != "{"), None)


def with_blocks_closed(text: str, line: str, delimiters: Delimiters, language: Language) -> str:
    """Close the blocks that the text opens and was cut short in; leave out a brace that opens one with nothing in it.

    So braces balance once it is accepted. `line`: the cursor's line up to the cursor.
    """
    if language.blocks != "braces":
        return text
    while True:
        reading = delimiters.read(text)
        stack = reading.open_at(len(text) + 1, delimiters.at_cursor)
        opened = stack[_given(stack, delimiters) :]
        if not opened or opened[-1] != "{":
            return text
        if not text.rstrip().endswith("{"):
            break
        head = text.rstrip()[:-1].rstrip()
        text = head if "\n" not in head else head.rsplit("\n", 1)[0].rstrip()
    rows, closed, row_before = (line + text).split("\n"), text, len(text)
    for depth in range(len(stack), len(stack) - len(opened), -1):
        opener = _opener(stack[:depth], reading)
        row = text.count("\n", 0, opener.offset)
        margin = rows[row][: len(rows[row]) - len(rows[row].lstrip())]
        if row == len(rows) - 1:
            closed += " " if row_before != row and opener.text == "{" else ""
        elif row != row_before:
            closed += f"\n{margin}"
        closed += CLOSERS.get(opener.text, opener.text.lstrip("f"))
        row_before = row
    left = delimiters.read(closed).open_at(len(closed) + 1, delimiters.at_cursor)
    return closed if len(left) <= _given(left, delimiters) else ""  # text that no grammar understands


def is_bare(text: str, delimiters: Delimiters, language: Language) -> bool:
    """Whether a text is nothing but the mark of a comment, or closers: not worth showing.

    Closers are worth showing where they close what the cursor's line has opened.
    """
    stripped = text.strip()
    if set(stripped) <= _CLOSERS:
        opened_here = delimiters.at_cursor[: len(delimiters.at_line_start)] != delimiters.at_cursor
        return not (opened_here and _BRACKETS_AND_QUOTES.intersection(stripped))
    return stripped in ("/*", "/**", "*", "<!--") or set(stripped) <= set(language.comment or " ")


def is_misplaced_end(text: str, prefix: str, suffix: str, language: Language) -> bool:
    """Whether a text is nothing but a word that ends a block, where that is not what the cursor's line has opened.

    On a blank line it may stand alone at the column of its block, unless the document ends the block below.
    """
    if text.strip() not in language.closes:
        return False
    line = prefix[prefix.rfind("\n") + 1 :]
    if line.strip():
        return not block_words(line, language.name)
    column = column_of_block(prefix, language)
    written = indentation(line + text.split("\n", 1)[0])
    return column is None or written != column or is_closed_below(suffix, column, language)


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
