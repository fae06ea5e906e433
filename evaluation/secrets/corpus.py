"""Files with a secret in each: every kind of secret, in every kind of file, among lines that hold none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.secrets.kinds import ASSIGNMENTS, BETWEEN, COMMENTS, NAMED, NEUTRAL, SPOKEN, TOKENS, blocks


@dataclass(frozen=True, slots=True)
class Planted:
    """A file with a secret in it."""

    kind: str
    name: str
    text: str
    secret: str
    """What must not come through: of several lines, none."""


def corpus(seed: int, times: int = 3) -> Iterator[Planted]:
    """Plant secrets: every kind `times` times in each language, at a place among lines that hold none."""
    chance = random.Random(seed)
    for _ in range(times):
        for name, forms in ASSIGNMENTS.items():
            for kind, make in TOKENS.items():
                value = make(chance)
                yield _planted(
                    chance, kind, name, _assigned(chance.choice(forms), chance.choice(NEUTRAL), value), value
                )
            for kind, (names, make) in NAMED.items():
                value, spelled = make(chance), chance.choice(names)
                yield _planted(chance, kind, name, _assigned(chance.choice(forms), spelled, value), value)
            for kind, (spoken, make) in SPOKEN.items():
                value = make(chance)
                yield _planted(chance, kind, name, f"{COMMENTS.get(name, '#')} {spoken.format(value)}", value)
        for kind, name, text, secret in blocks(chance):
            yield _planted(chance, kind, name, text, secret)


def _assigned(form: str, name: str, value: str) -> str:
    return form.format(n=name, v=value)


def _planted(chance: random.Random, kind: str, name: str, text: str, secret: str) -> Planted:
    filler = BETWEEN.get(name, f"{COMMENTS.get(name, '#')} line {{}} of the settings")
    around = [filler.format(number) for number in range(chance.choice((0, 60 + 12 * text.count("\n"))))]
    at = chance.randrange(len(around) + 1)
    return Planted(kind, name, "\n".join((*around[:at], text, *around[at:])) + "\n", secret)


def came_through(planted: Planted, text: str | None) -> bool:
    """Whether any line of a planted secret is in a text; None is no text at all."""
    return text is not None and any(line.strip() in text for line in planted.secret.split("\n"))
