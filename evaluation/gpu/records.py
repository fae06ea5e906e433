"""Results, a line of JSON each as they come; the table is written from them after each step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

LINES, RESULTS, TABLE = "findings.jsonl", "gpu.json", "gpu.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was measured or checked."""

    step: str
    subject: str
    """The model that was measured, as `name format`, or the card."""
    what: str
    value: float | str | None = None
    unit: str = ""
    goal: str = ""
    """What it should be, as a sentence has it, such as `at most 20 ms`."""
    passed: bool | None = None
    """Whether it is as it should be; None where nothing was promised."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes findings of one step as they come."""

    folder: Path
    step: str
    dry: bool
    """Speeds are kept, and not held against what was promised: a processor took the card's place."""

    def add(
        self,
        subject: str,
        what: str,
        value: float | str | None = None,
        unit: str = "",
        *,
        goal: str = "",
        passed: bool | None = None,
    ) -> None:
        """Print a finding and keep it."""
        finding = Finding(self.step, subject, what, value, unit, goal, passed)
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(finding)) + "\n")
        print(f"  {subject:22} {what:58} {shown(finding)}{_verdict(finding)}", flush=True)

    def at_most(
        self, subject: str, what: str, value: float, most: float, unit: str = "", *, speed: bool = False
    ) -> None:
        """Keep a number that should not be larger than another one. `speed`: it says how fast the card is."""
        passed = None if speed and self.dry else value <= most
        self.add(subject, what, value, unit, goal=f"at most {most:g} {unit}".rstrip(), passed=passed)

    def at_least(
        self, subject: str, what: str, value: float, least: float, unit: str = "", *, speed: bool = False
    ) -> None:
        """Keep a number that should not be smaller than another one; see `at_most`."""
        passed = None if speed and self.dry else value >= least
        self.add(subject, what, value, unit, goal=f"at least {least:g} {unit}".rstrip(), passed=passed)


def read(folder: Path) -> list[Finding]:
    """Read all findings so far; a line that was cut short is left out."""
    return list(_read(folder / LINES))


def _read(file: Path) -> Iterator[Finding]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield Finding(**json.loads(line))
        except (ValueError, TypeError):
            continue


def write(folder: Path, head: dict[str, str], findings: Iterable[Finding]) -> None:
    """Write `gpu.json` and `gpu.md`."""
    findings = list(findings)
    results = {"head": head, "findings": [asdict(finding) for finding in findings]}
    (folder / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    lines = ["# Measured on a card", "", *(f"{name}: {text}  " for name, text in head.items())]
    for step in dict.fromkeys(finding.step for finding in findings):
        lines += ["", f"## {step}", "", "| model | what | value | goal | reached |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {one.subject} | {one.what} | {shown(one)} | {one.goal} | {_REACHED[one.passed]} |"
            for one in findings
            if one.step == step
        ]
    (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")


_REACHED = {True: "yes", False: "**no**", None: ""}


def shown(finding: Finding) -> str:
    """The value as a table has it."""
    value = finding.value
    if isinstance(value, float):
        digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if value else "0"
        return f"{digits} {finding.unit}".rstrip()
    return f"{'' if value is None else value} {finding.unit}".strip().replace("|", "\\|").replace("\n", " ")


def _verdict(finding: Finding) -> str:
    if finding.passed is None:
        return ""
    return f"   ({finding.goal or 'expected'}: {'yes' if finding.passed else 'NO'})"
