"""The patterns of one ignore file, as git reads them: see gitignore(5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from indexer.rules.consulted import Unreadable
from indexer.rules.wildmatch import SPECIAL, translated

_UP_TO_TRAILING_SPACES = re.compile(rb"(?:[^\\ ]|\\.| +(?=[^ ]))*+", re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MOST_WILD = 200_000  # bytes of lines with wildcards in one file, which take some seconds to compile
_REMEMBERED = 256  # ignore files, by their content: to compile a hundred patterns takes some 10 ms


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line that is neither empty nor a comment."""

    line: int
    """From 1."""
    text: bytes
    """The whole line, for the user."""
    glob: bytes
    """Without what follows."""
    is_negated: bool
    only_folders: bool
    is_path: bool
    """It is matched against the path from the ignore file's folder, not against the last name alone."""

    @property
    def is_wild(self) -> bool:
        """Whether it is more than a name, a path, or the end of a name."""
        return SPECIAL.search(self.glob.removeprefix(b"*") if not self.is_path else self.glob) is not None


class IgnoreFile:
    """The patterns of an ignore file."""

    def __init__(self, data: bytes) -> None:
        self.patterns = tuple(_patterns(data))
        self._matchers: dict[tuple[bool, bool], _Matcher] = {}

    def last_match(self, path: bytes, *, is_folder: bool, fold: bool = False) -> Pattern | None:
        """The pattern that decides about a path relative to the file's folder; None where none matches.

        It ignores the path unless it is negated. `fold`: git's `core.ignoreCase`.
        """
        matcher = self._matchers.get((is_folder, fold))
        if matcher is None:
            usable = (one for one in enumerate(self.patterns) if is_folder or not one[1].only_folders)
            matcher = self._matchers[is_folder, fold] = _Matcher(usable, fold=fold)
        last = matcher.last_match(path.lower() if fold else path)
        return None if last < 0 else self.patterns[last]


@lru_cache(maxsize=_REMEMBERED)
def parsed(data: bytes) -> IgnoreFile:
    """Read an ignore file's content; the same object for the same content. Raises Unreadable."""
    file = IgnoreFile(data)
    if sum(len(one.glob) for one in file.patterns if one.is_wild) > _MOST_WILD:
        raise Unreadable(f"its lines with wildcards have more than {_MOST_WILD:,} bytes")
    return file


class _Matcher:
    """Patterns, prepared to be matched all at once: literal text is looked up, the rest is one regular expression."""

    def __init__(self, patterns: Iterable[tuple[int, Pattern]], *, fold: bool) -> None:
        self._names: dict[bytes, int] = {}
        self._ends: dict[bytes, int] = {}
        self._paths: dict[bytes, int] = {}
        wild: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
        for index, pattern in patterns:
            if not pattern.is_wild:
                literal = pattern.glob.lower() if fold else pattern.glob
                if literal.startswith(b"*"):
                    self._ends[literal[1:]] = index
                else:
                    (self._paths if pattern.is_path else self._names)[literal] = index
            elif (expression := translated(pattern.glob, fold=fold)) is not None:
                wild[pattern.is_path].append((index, expression))
        self._lengths = {len(end) for end in self._ends}
        self._wild_names, self._wild_paths = map(_Alternatives, wild)

    def last_match(self, path: bytes) -> int:
        """The number of the last pattern that matches; -1 where none does."""
        name = path[path.rfind(b"/") + 1 :]
        return max(
            self._names.get(name, -1),
            self._paths.get(path, -1),
            *[self._ends.get(name[-length:] if length else b"", -1) for length in self._lengths],
            self._wild_names.last_match(name),
            self._wild_paths.last_match(path),
        )


class _Alternatives:
    """Numbered regular expressions; the last that matches is found first."""

    def __init__(self, numbered: list[tuple[int, bytes]]) -> None:
        self._numbers = [number for number, _ in reversed(numbered)]
        whole = b"|".join(b"(" + expression + b")" for _, expression in reversed(numbered))
        self._expression = re.compile(whole, re.DOTALL) if numbered else None

    def last_match(self, text: bytes) -> int:
        if self._expression is None or (found := self._expression.match(text)) is None:
            return -1
        assert found.lastindex is not None
        return self._numbers[found.lastindex - 1]


def _patterns(data: bytes) -> Iterable[Pattern]:
    for number, line in enumerate(data.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), 1):
        if line.startswith(b"#"):
            continue
        text = line.removesuffix(b"\r").partition(b"\0")[0]
        glob = text
        if text.endswith(b" ") and (found := _UP_TO_TRAILING_SPACES.match(text)) is not None:
            glob = found[0]
        is_negated = glob.startswith(b"!")
        glob = glob[is_negated:]
        only_folders = glob.endswith(b"/")
        glob = glob.removesuffix(b"/")
        is_path = b"/" in glob
        glob = glob.removeprefix(b"/")
        if glob.startswith(b"**/") and b"/" not in glob[3:]:
            glob, is_path = glob[3:], False
        if glob:  # an empty pattern matches nothing
            yield Pattern(number, text, glob, is_negated, only_folders, is_path)
