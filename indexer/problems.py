"""Problems as sentences for the user: each is said once, and of a kind that comes in thousands, the first few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

_MOST_OF_A_KIND = 10


class Problems:
    """Passes sentences to `say`: one for each kind and path, until the kind is `mended`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[tuple[str, str]] = set()
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, path: str, sentence: str) -> None:
        """Say a sentence about a path, unless one of this kind was said before."""
        if (kind, path) in self._said or self._counts[kind] > _MOST_OF_A_KIND:
            return
        self._said.add((kind, path))
        self._counts[kind] += 1
        more = " There are more such cases; they are not named." if self._counts[kind] > _MOST_OF_A_KIND else ""
        self._say(sentence + more)

    def mended(self, kind: str) -> None:
        """Let problems of this kind be said again when they come back."""
        self._said = {one for one in self._said if one[0] != kind}
        del self._counts[kind]
