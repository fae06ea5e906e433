"""The rules of the TOML files, ready for use. A pattern is compiled when a text has its hint for the first time."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Found = tuple[int, int, str]
"""Where a secret begins and ends, in code points, and its kind."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One form of secrets."""

    what: str
    hints: tuple[str, ...]
    """Every text with such a secret has one of these substrings."""
    source: str
    judged: str
    """A further condition: `random`, `password`, `chosen` (no placeholder), or none."""
    back: int
    """How many code points before the hint the secret may begin; 0 where it begins at the hint."""
    after: tuple[str, ...]
    """If there are any, one of these must stand shortly before the hint, in lower case."""
    _pattern: str

    def pattern(self) -> re.Pattern[str]:
        """The pattern of the whole; its last group, or all of it, is the secret."""
        return re.compile(self._pattern)  # `re` remembers compiled patterns


@dataclass(frozen=True, slots=True)
class Block:
    """One form of secrets that take several lines."""

    what: str
    hint: str
    source: str
    _begin: str
    _end: str

    def begin(self) -> re.Pattern[str]:
        """Matches at the hint."""
        return re.compile(self._begin)

    def end(self) -> re.Pattern[str]:
        """Found after the beginning."""
        return re.compile(self._end)


@dataclass(frozen=True, slots=True)
class Root:
    """A part of names under which secrets are kept."""

    root: str
    what: str
    strength: str
    goes_on: re.Pattern[str]
    """What may follow the root within its word."""
    after: tuple[str, ...]
    """Words before it that give it the strength of `key`."""
    not_after: tuple[str, ...]
    """Words before it that make it harmless."""
    is_word: bool
    """Whether it must begin a word, unless `goes_on` extends it."""


def load(name: str) -> dict[str, Any]:
    """Read one of the files of rules."""
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


_CONTEXTS, _NAMES = load("contexts.toml"), load("names.toml")
TOKENS = tuple(
    Rule(row["what"], tuple(row["hints"]), row["source"], "random" if row.get("random") else "", 0, (), row["pattern"])
    for row in load("tokens.toml")["token"]
)
CONTEXTS = tuple(
    Rule(
        row["what"],
        (row["hint"],),
        row["source"],
        row["judged"],
        row.get("back", 0),
        tuple(row.get("after", ())),
        row["pattern"],
    )
    for row in _CONTEXTS["context"]
)
TOKEN_HINTS = tuple((hint, rule) for rule in TOKENS for hint in rule.hints)
CONTEXTS_BY_HINT = {
    hint: tuple(rule for rule in CONTEXTS if rule.hints == (hint,)) for one in CONTEXTS for hint in one.hints
}
"""The rules of each hint, so that a text is searched for it once."""
BLOCKS = tuple(Block(*(row[key] for key in ("what", "hint", "source", "begin", "end"))) for row in _CONTEXTS["block"])
ROOTS = tuple(
    Root(
        row["root"],
        row["what"],
        row["strength"],
        re.compile(row.get("goes_on", "s?")),
        tuple(row.get("after", ())),
        tuple(row.get("not_after", ())),
        row.get("is_word", False),
    )
    for row in _NAMES["root"]
)
ENDINGS = re.compile(_NAMES["words"]["endings"])
PLACEHOLDER = re.compile(_NAMES["words"]["placeholder"])
