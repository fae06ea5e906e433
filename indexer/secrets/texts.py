"""Secrets in a text, and the text without the lines that hold them.

Each search is linear in the text's length, and begins with the cheapest test: a substring that every secret of the form
has. `python -m evaluation.secrets` measures what is found, what is found wrongly, and the time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from indexer.secrets.assignments import assigned_secrets
from indexer.secrets.rules import BLOCKS, CONTEXTS_BY_HINT, TOKEN_HINTS, Found
from indexer.secrets.values import is_judged, looks_random

MOST_SECRETS, LARGEST_SHARE = 10, 10
"""A text is refused as a whole if it has more secrets than the first number, or if one in the second number of its
lines that are not blank holds one."""
_SHORTEST = 20  # characters of the word that every token has
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_IN_WORDS = bytes(ord("a") if _WORD.match(chr(byte)) else ord(" ") for byte in range(256))
_DIGIT = re.compile(r"\d")
_FEWEST_DIGITS = 3  # of a long word in small letters, or in capitals with underscores; with fewer it is a name
_FEWEST_DIFFERENT = 8  # characters of a token: `ghp_xxxxxxxx` is a placeholder
_WORTH_FINDING = 12  # characters of a secret that is looked for elsewhere in the text
_BEFORE = 200  # code points before a hint
_MOST_LOOKED_FOR = 100
_GOES_ON = re.compile(r"""\s*["'`]?([A-Za-z0-9+/_-]{16,}={0,2})(?:\\n)?["'`]?[\s+.,;\\)]*""")


@dataclass(frozen=True, slots=True)
class Secret:
    """Lines, counted from 0, that hold a likely secret."""

    what: str
    first: int
    last: int

    @property
    def lines(self) -> str:
        """Its lines in words, counted from 1."""
        return f"line {self.first + 1}" if self.first == self.last else f"lines {self.first + 1} to {self.last + 1}"

    def __str__(self) -> str:
        return f"line {self.first + 1} has what looks like a secret: {self.what}"


def secrets_in(text: str) -> list[Secret]:
    """The likely secrets in a text, in order."""
    lowered = _lowered(text)
    found = [*_tokens(text), *_contexts(text, lowered), *_blocks(text), *assigned_secrets(text, lowered)]
    secrets = _by_lines(text, found)
    if not secrets or len(secrets) > MOST_SECRETS:  # a text with so many is refused anyway
        return secrets
    return _by_lines(text, [*found, *_repeated(text, found)])


def _by_lines(text: str, found: list[Found]) -> list[Secret]:
    """The lines with secrets, in order; a line with several is named after the first."""
    if not found:
        return []
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    secrets: list[Secret] = []
    for start, end, what in sorted(found, key=lambda one: bisect_right(starts, one[0])):
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
        if secrets and last <= secrets[-1].last:
            continue
        last = _last_line(text, starts, last)
        if not secrets or first > secrets[-1].last:
            secrets.append(Secret(what, first, last))
        else:
            secrets[-1] = Secret(secrets[-1].what, secrets[-1].first, last)
    return secrets


def without_secrets(text: str) -> tuple[str | None, list[Secret]]:
    """A text with empty lines in place of secrets, and these secrets; None where too little of it would be left."""
    secrets = secrets_in(text)
    if not secrets:
        return text, secrets
    lines = text.split("\n")
    written = sum(1 for line in lines if not line.isspace() and line)
    held = [number for secret in secrets for number in range(secret.first, secret.last + 1)]
    if len(secrets) > MOST_SECRETS or len(held) * LARGEST_SHARE >= written:
        return None, secrets
    for number in held:
        lines[number] = "\r" if lines[number].endswith("\r") else ""
    return "\n".join(lines), secrets


def _tokens(text: str) -> Iterator[Found]:
    """Tokens that are known by their form, in lines with a long word."""
    spans = list(_lines_with_long_words(text))
    if not spans:
        return
    lines = "\n".join(text[start:end] for start, end in spans)
    starts, at = [], 0
    for start, end in spans:
        starts.append(at)
        at += end - start + 1
    for rule in dict.fromkeys([rule for hint, rule in TOKEN_HINTS if hint in lines]):
        for match in rule.pattern().finditer(lines):
            secret = match[match.lastindex or 0]
            if len(set(secret)) < _FEWEST_DIFFERENT or not is_judged(secret, rule.judged):
                continue
            span = bisect_right(starts, match.start()) - 1
            offset = spans[span][0] - starts[span]
            yield match.start() + offset, match.end() + offset, rule.what


def _lines_with_long_words(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each line with a word that is long enough for a token, and does not look like a name.

    All characters of words become one letter, because a substring is found four times as fast as a pattern.
    """
    words, long = text.encode("ascii", "replace").translate(_IN_WORDS), b"a" * _SHORTEST
    at = words.find(long)
    while at >= 0:
        word = _WORD.match(text, at)
        assert word is not None
        at = word.end()
        is_name = word[0].islower() or (word[0].isupper() and "_" in word[0])
        if not is_name or len(_DIGIT.findall(word[0])) >= _FEWEST_DIGITS:
            at = text.find("\n", at)
            at = len(text) if at < 0 else at
            yield text.rfind("\n", 0, word.start()) + 1, at
        at = words.find(long, at)


def _contexts(text: str, lowered: str) -> Iterator[Found]:
    """Secrets known by the text before them."""
    for hint, rules in CONTEXTS_BY_HINT.items():
        at = lowered.find(hint)
        while at >= 0:
            for rule in rules:
                if rule.after and not any(word in lowered[max(at - _BEFORE, 0) : at] for word in rule.after):
                    continue
                if rule.back:
                    match = rule.pattern().search(text, max(at - rule.back, 0), at + len(hint))
                else:
                    match = rule.pattern().match(text, at)
                if match is not None and is_judged(match[match.lastindex or 0], rule.judged):
                    yield *match.span(match.lastindex or 0), rule.what
            at = lowered.find(hint, at + 1)


def _blocks(text: str) -> Iterator[Found]:
    """Secrets that take several lines."""
    for block in BLOCKS:
        at = text.find(block.hint)
        while at >= 0:
            if block.begin().match(text, at) is not None:
                end = block.end().search(text, at)
                stop = end.end() if end is not None else len(text)
                yield at, stop, block.what
                at = stop
            at = text.find(block.hint, at + 1)


def _lowered(text: str) -> str:
    """A text in lower case, of the same length: a capital I with a dot would become two characters."""
    return text.replace("İ", "I").lower()


def _repeated(text: str, found: list[Found]) -> Iterator[Found]:
    """Other occurrences of the same secrets."""
    values = {text[start:end]: what for start, end, what in found if "\n" not in text[start:end]}
    for value, what in list(values.items())[:_MOST_LOOKED_FOR]:
        if len(value) >= _WORTH_FINDING and looks_random(value):
            at = text.find(value)
            while at >= 0:
                yield at, at + len(value), what
                at = text.find(value, at + len(value))


def _last_line(text: str, starts: list[int], line: int) -> int:
    """The last line of a secret that may continue in the next lines, as folded base64 does."""
    while line + 1 < len(starts):
        end = starts[line + 2] - 1 if line + 2 < len(starts) else len(text)
        more = _GOES_ON.fullmatch(text, starts[line + 1], end)
        if more is None or not looks_random(more[1]):
            break
        line += 1
    return line
