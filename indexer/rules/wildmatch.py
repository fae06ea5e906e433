"""Git's wildcards as regular expressions over bytes, with the same answers as git's own, oddities included.

No pattern can be made slow: whatever stands between two wildcards takes its leftmost match and never goes back. That
is enough, as the later wildcard covers what an earlier match leaves over.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache

SPECIAL = re.compile(rb"[*?\[\\]")
"""The bytes that make a pattern more than literal text."""
_FOLDERS = b"(?:[^/]*/)*?"
_NEVER = b"(?!)"
_SLASH = ord("/")
_CAPITALS = frozenset(string.ascii_uppercase.encode())
_TO_SMALL = ord("a") - ord("A")
_CLASSES = {
    name: frozenset(members.encode())
    for name, members in {
        b"alnum": string.ascii_letters + string.digits,
        b"alpha": string.ascii_letters,
        b"blank": " \t",
        b"cntrl": "".join(map(chr, [*range(32), 127])),
        b"digit": string.digits,
        b"graph": string.ascii_letters + string.digits + string.punctuation,
        b"lower": string.ascii_lowercase,
        b"print": string.ascii_letters + string.digits + string.punctuation + " ",
        b"punct": string.punctuation,
        b"space": " \t\n\r",
        b"upper": string.ascii_uppercase,
        b"xdigit": string.hexdigits,
    }.items()
}


def translated(pattern: bytes, *, fold: bool = False) -> bytes | None:
    """A regular expression (with `re.DOTALL`) that matches whole paths as git does; None if the pattern never matches.

    With `fold`, capital and small letters of ASCII are the same, in git's way, where the path is given in small ones.
    """
    sections = [(b"", [b""])]  # parted by `**`, with what that may match; their pieces are parted by `*`
    at, is_first = 0, True
    while at < len(pattern):
        byte = pattern[at : at + 1]
        pieces = sections[-1][1]
        if byte == b"*":
            start, at = at, _end_of_run(pattern, at)
            # git compares what lies before the first wildcard by itself, and then takes `a**/b` for `**/b`
            is_deep = at - start > 1 and (is_first or pattern[start - 1 : start] == b"/")
            if is_deep and pattern[at : at + 1] == b"/":
                if sections[-1] != (_FOLDERS, [b""]):
                    sections.append((_FOLDERS, [b""]))
                at += 1
            elif is_deep and pattern[at : at + 2] == b"\\/":
                sections.append((b"(?:[^/]*/)+?", [b""]))
                at += 2
            elif is_deep and at == len(pattern):
                pieces[-1] += b".*"
            else:
                pieces.append(b"")
        elif byte == b"?":
            start, at = at, _end_of_run(pattern, at)
            pieces[-1] += b"[^/]{%d}" % (at - start)
        elif byte == b"[":
            found = _bracket(pattern, at + 1, fold=fold)
            if found is None:
                return None
            members, at = found
            pieces[-1] += _one_of(members)
        elif byte == b"\\":
            byte = pattern[at + 1 : at + 2]
            if not byte:
                return None
            pieces[-1] += re.escape(byte)  # as it is: git does not fold what is escaped
            at += 2
        else:
            pieces[-1] += re.escape(byte.lower() if fold else byte)
            at += 1
            continue
        is_first = False
    *atomic, (opening, pieces) = sections
    return b"".join(_atomic(opening, pieces) for opening, pieces in atomic) + opening + _starred(pieces) + rb"\Z"


def matches(pattern: bytes, path: bytes, *, fold: bool = False) -> bool:
    """Whether a whole path matches."""
    expression = translated(pattern, fold=fold)
    return expression is not None and re.match(expression, path.lower() if fold else path, re.DOTALL) is not None


def _end_of_run(pattern: bytes, at: int) -> int:
    """The end of the run of equal bytes that begins at `at`."""
    byte = pattern[at]
    while at < len(pattern) and pattern[at] == byte:
        at += 1
    return at


def _atomic(opening: bytes, pieces: list[bytes]) -> bytes:
    first, *others = pieces
    return b"(?>" + opening + first + b"".join(b"(?>[^/]*?" + piece + b")" for piece in others) + b")"


def _starred(pieces: list[bytes]) -> bytes:
    """The last pieces: what comes after the last star must reach the end."""
    if len(pieces) == 1:
        return pieces[0]
    return _atomic(b"", pieces[:-1]) + b"[^/]*" + pieces[-1]


@lru_cache(maxsize=256)
def _one_of(members: frozenset[int]) -> bytes:
    """A regular expression for one byte; in ranges, which compile faster."""
    starts = sorted(byte for byte in members if byte - 1 not in members)
    ends = sorted(byte for byte in members if byte + 1 not in members)
    ranges = b"".join(b"\\x%02x-\\x%02x" % pair for pair in zip(starts, ends, strict=True))
    return b"[" + ranges + b"]" if members else _NEVER


def _bracket(pattern: bytes, at: int, *, fold: bool) -> tuple[frozenset[int], int] | None:
    """Which bytes a bracket expression stands for, and where it ends; `at` is after the bracket. None: malformed."""
    is_negated = pattern[at : at + 1] in (b"!", b"^")
    at += is_negated
    members: set[int] = set()
    before, is_opening = 0, True  # `before` is what a range may begin with
    while is_opening or pattern[at : at + 1] != b"]":
        is_opening = False
        if at == len(pattern):
            return None
        byte, lowest, before = pattern[at], before, pattern[at]
        if byte == ord("-") and lowest and pattern[at + 1 : at + 2] not in (b"", b"]"):
            at += 1 + (pattern[at + 1] == ord("\\"))
            if at == len(pattern):
                return None
            inside = frozenset(range(lowest, pattern[at] + 1))
            members |= inside
            if fold:
                members |= {byte + _TO_SMALL for byte in inside & _CAPITALS}
            before = 0
        elif pattern[at : at + 2] == b"[:":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                return None
            if end == at + 2 or pattern[end - 1] != ord(":"):
                members.add(byte)  # no class, only a bracket
            else:
                name = pattern[at + 2 : end - 1]
                if name not in _CLASSES:
                    return None
                members |= _CLASSES[b"alpha" if fold and name == b"upper" else name]
                at, before = end, 0
        else:
            if byte == ord("\\"):
                at += 1
                if at == len(pattern):
                    return None
                before = pattern[at]
            members.add(before)
        at += 1
    if is_negated:
        members = set(range(256)) - members
    return frozenset(members - {_SLASH}), at + 1
