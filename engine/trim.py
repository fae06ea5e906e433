"""Generated text made to fit the document: nothing that stands there already, nothing half open, its own white space.

Each rule is a small function from text to text; `trim` applies them in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from syntax import Delimiters

_CLOSERS = frozenset(")]}>\"'`;,:")
_BRACKETS_CLOSING = frozenset(")]}")
_LOOK_BELOW = 4000  # code points
_LOOPS = 3  # the same line so many times over is a loop, not code


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Text to insert, and how many code points right of the cursor it repeats and takes the place of."""

    text: str
    replaces: int


def trim(generated: str, *, prefix: str, suffix: str, language: str) -> Trimmed:
    """Apply all rules; the text is empty where nothing sensible is left."""
    text = without_carriage_returns(generated)
    text = without_spurious_space(text, prefix)
    text = without_loops(text)
    text = without_lines_below(text, suffix)
    text = indented_like(text, prefix)
    text = without_stray_closers(text, prefix, language)
    rest = suffix[:_LOOK_BELOW].split("\n", 1)[0].rstrip()
    text, replaces = across_rest_of_line(text, rest)
    text = text.rstrip()
    if not text:
        return Trimmed("", 0)
    return Trimmed(with_newlines_of(text, prefix, suffix), replaces)


def without_carriage_returns(text: str) -> str:
    r"""Count lines by `\n` alone while the other rules run."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def without_spurious_space(text: str, prefix: str) -> str:
    """`x = ` and ` 1` give `x = 1`: tokens like to begin with the space that is typed already."""
    line = prefix[prefix.rfind("\n") + 1 :]
    return text.lstrip(" ") if line.endswith((" ", "\t")) and line.strip() else text


def without_loops(text: str) -> str:
    """Keep one of a line that repeats three times or more in a row."""
    lines = text.split("\n")
    for start in range(len(lines) - _LOOPS + 1):
        window = lines[start : start + _LOOPS]
        if window[0].strip() and len(set(window)) == 1:
            return "\n".join(lines[: start + 1])
    return text


def without_lines_below(text: str, suffix: str) -> str:
    """Cut what the document already has on the lines below the cursor: from the line on from which all agree."""
    below = [line.rstrip() for line in suffix[:_LOOK_BELOW].split("\n")[1:] if line.strip()]
    lines = text.split("\n")
    for start in range(1, len(lines)):
        tail = [line.rstrip() for line in lines[start:] if line.strip()]
        if tail and tail == below[: len(tail)]:
            return "\n".join(lines[:start])
    return text


def indented_like(text: str, prefix: str) -> str:
    """Turn leading spaces into tabs where the document is indented by tabs."""
    if "\n" not in text or "\n\t" not in prefix[-_LOOK_BELOW:] or "\n    " in prefix[-_LOOK_BELOW:]:
        return text
    first, *others = text.split("\n")
    converted = []
    for line in others:
        body = line.lstrip(" ")
        spaces = len(line) - len(body)
        converted.append("\t" * (spaces // 4) + " " * (spaces % 4) + body)
    return "\n".join([first, *converted])


def without_stray_closers(text: str, prefix: str, language: str) -> str:
    """Cut before a bracket that closes nothing: neither in the text nor before the cursor."""
    if not _BRACKETS_CLOSING & set(text):
        return text
    delimiters = Delimiters(prefix, language)
    stray = [delimiter.offset for delimiter in delimiters.read(text).delimiters if delimiter.is_stray]
    return text[: stray[0]].rstrip() if stray and delimiters.is_whole else text


def across_rest_of_line(text: str, rest: str) -> tuple[str, int]:
    """Never write the rest of the cursor's line twice.

    Where the text ends like the rest begins, the end is cut. Where it repeats the whole rest and goes on behind it,
    it takes the rest's place: returns the text and the number of code points that it replaces.
    """
    if not rest.strip():
        return text, 0
    first = text.split("\n", 1)[0]
    for length in range(min(len(rest), len(first)), 0, -1):
        head = rest[:length]
        if first.endswith(head) and (length == len(rest) or set(head) <= _CLOSERS):
            return first[:-length], 0
    if rest in first and set(rest) <= _CLOSERS:
        return first, len(rest)
    return (text if set(rest) <= _CLOSERS | {" "} else first), 0


def with_newlines_of(text: str, prefix: str, suffix: str) -> str:
    """Give the text the line ends that the document has."""
    line_end = prefix.rfind("\n")
    is_crlf = prefix[line_end - 1 : line_end] == "\r" if line_end > 0 else "\r\n" in suffix[:_LOOK_BELOW]
    return text.replace("\n", "\r\n") if is_crlf else text
