"""What all campaigns share: rounds that a seed repeats, limits of count and time, findings, and a table at the end."""

from __future__ import annotations

import json
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluation.harness.report import machine

_PROGRESS_EVERY = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    kind: str
    what: str
    again: str
    """The command that repeats the round in which it was found."""


@dataclass(frozen=True, slots=True)
class Round:
    """One attempt; its seed says all about it."""

    seed: int
    random: random.Random


class Campaign:
    """One run of a campaign: its limits, and what it has tried and found."""

    def __init__(self, name: str, *, seed: int, count: int, seconds: float, only: Sequence[str] = ()) -> None:
        """`count`: of rounds; `seconds`: after which no round begins any more; `only`: the kinds to try, else all."""
        self.name, self.only = name, tuple(only)
        self.tried: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.notes: dict[str, str] = {}
        """Figures for the table's end, by their name."""
        self._seed, self._count, self._seconds = seed, count, seconds
        self._started = self._said = time.monotonic()

    @property
    def seconds_left(self) -> float:
        """Until no round begins any more."""
        return self._started + self._seconds - time.monotonic()

    def rounds(self) -> Iterator[Round]:
        """Rounds up to the limits. The first one has the campaign's seed, each further one the next number."""
        for number in range(self._count):
            if self.seconds_left <= 0:
                return
            if time.monotonic() - self._said > _PROGRESS_EVERY:
                self._said = time.monotonic()
                self.say(f"{number} of {self._count} rounds, {len(self.findings)} findings")
            seed = self._seed + number
            yield Round(seed, random.Random(seed))

    def kinds(self, all_of_them: Sequence[str]) -> list[str]:
        """Those that were asked for; all, if none was."""
        return [kind for kind in all_of_them if not self.only or kind in self.only]

    def found(self, kind: str, what: str, seed: int) -> None:
        """Report a finding of a round."""
        only = "".join(f" --only {one}" for one in self.only)
        again = f"python -m evaluation.robustness {self.name} --seed {seed} --count 1{only}"
        self.findings.append(Finding(kind, what, again))
        self.say(f"FOUND ({kind}): {what}\n    again: {again}")

    def found_by_bytes(self, kind: str, what: str, data: bytes) -> None:
        """Report a finding that a text repeats, not a seed."""
        code = f"from evaluation.robustness.guided import try_bytes; try_bytes({data!r})"
        self.findings.append(Finding(kind, what, f"python -c {shlex.quote(code)}"))
        self.say(f"FOUND ({kind}): {what}\n    again: {self.findings[-1].again}")

    def say(self, what: str) -> None:
        """Show progress on stderr."""
        print(f"{self.name}: {time.monotonic() - self._started:.0f} s, {what}", file=sys.stderr, flush=True)

    def table(self) -> str:
        """What was tried and found, by kind, then each finding with the command that repeats it."""
        found = Counter(finding.kind for finding in self.findings)
        kinds = sorted({*self.tried, *found})
        width = max(map(len, [*kinds, *self.notes, "kind"]))
        lines = [
            f"| {self.name:{width}} | {'tried':>9} | {'found':>9} |",
            f"| {'-' * width} | {'-' * 8}: | {'-' * 8}: |",
        ]
        lines += [f"| {kind:{width}} | {self.tried[kind]:9,} | {found[kind]:9,} |" for kind in kinds]
        lines += [f"| {'all':{width}} | {self.tried.total():9,} | {len(self.findings):9,} |"]
        lines += [f"{name}: {figure}" for name, figure in self.notes.items()]
        lines += [f"- {finding.kind}: {finding.what}\n  {finding.again}" for finding in self.findings]
        return "\n".join(lines)

    def write(self, file: Path) -> None:
        """Keep all of it as JSON."""
        whole = {
            "campaign": self.name,
            "machine": machine(),
            "seed": self._seed,
            "seconds": round(time.monotonic() - self._started, 1),
            "tried": dict(self.tried),
            "notes": self.notes,
            "findings": [asdict(finding) for finding in self.findings],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
