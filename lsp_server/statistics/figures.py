"""The figures of `mellum-lsp stats`: sums of the file's days, by language, by model and by day."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lsp_server.statistics.events import SEEN, STEPS, TAKEN, Outcome, When
from lsp_server.statistics.store import names_of, seconds_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = (When.SOON, When.LATER, When.SAVED)


@dataclass(slots=True)
class Figures:
    """What became of the answers of a part, such as a language."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    accepted_characters: int = 0
    typed_characters: int = 0
    kept: dict[When, tuple[int, int]] = field(default_factory=dict)
    """By time: of how many accepted characters it is known, and how many of them stand."""
    latencies: dict[str, Counter[int]] = field(default_factory=dict)
    """By step: how many answers took as long as each bucket."""

    @property
    def shown(self) -> int:
        """Suggestions that were really seen."""
        return sum(self.outcomes[outcome] for outcome in SEEN)

    @property
    def accepted(self) -> int:
        """Of these, those that were accepted by a key, whole or in part."""
        return sum(self.outcomes[outcome] for outcome in TAKEN)

    @property
    def acceptance_rate(self) -> float | None:
        """The share of seen suggestions that were accepted, whole or in part."""
        return _ratio(self.accepted, self.shown)

    @property
    def ratio_of_completed_code(self) -> float | None:
        """The share of all characters written that came from accepted suggestions; pasted text is not counted."""
        return _ratio(self.accepted_characters, self.accepted_characters + self.typed_characters)

    @property
    def keystrokes_saved(self) -> float | None:
        """The share of keys that were not pressed, if an accepted suggestion costs one and any other character one."""
        written = self.accepted_characters + self.typed_characters
        return _ratio(self.accepted_characters - self.accepted, written)

    def kept_share(self, when: When) -> float | None:
        """The share of accepted characters that still stood then."""
        known, stand = self.kept.get(when, (0, 0))
        return _ratio(stand, known)

    def percentile(self, share: float, step: str = "total") -> float | None:
        """Seconds in which this share of the answers was there, to 9%; None without answers."""
        counts = self.latencies.get(step, Counter())
        left = share * counts.total()
        for bucket in sorted(counts):
            left -= counts[bucket]
            if left <= 0:
                return seconds_of(bucket)
        return None

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values: counts, shares from 0 to 1, and milliseconds."""
        return {
            "shown": self.shown,
            "accepted": self.accepted,
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "acceptanceRate": self.acceptance_rate,
            "ratioOfCompletedCode": self.ratio_of_completed_code,
            "keystrokesSaved": self.keystrokes_saved,
            "acceptedCharacters": self.accepted_characters,
            "typedCharacters": self.typed_characters,
            "kept": {when.value: self.kept_share(when) for when in _KEPT},
            "silences": dict(self.reasons.most_common()),
            "milliseconds": {
                step: {
                    name: _milliseconds(self.percentile(share, step)) for name, share in (("p50", 0.5), ("p90", 0.9))
                }
                for step in ("total", *STEPS)
            },
        }


_AHEAD = 366
"""Days after today that count as well: clocks differ. What is later still was no event."""


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a number of days."""

    first: datetime
    last: datetime
    """Days, inclusive."""
    total: Figures
    by_language: Mapping[str, Figures]
    """The one with the most shown suggestions first, like `by_model`."""
    by_model: Mapping[str, Figures]
    by_day: Mapping[str, Figures]
    """Each day from the first to the last, also those without events, as `2026-11-27`."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        parts = {"byLanguage": self.by_language, "byModel": self.by_model, "byDay": self.by_day}
        return {
            "first": self.first.date().isoformat(),
            "last": self.last.date().isoformat(),
            "total": self.total.to_json(),
            **{name: {key: figures.to_json() for key, figures in part.items()} for name, part in parts.items()},
        }


def report_of(database: sqlite3.Connection, days: int | None = None) -> Report | None:
    """Read the figures of the last `days`, today among them, or of all; None without any. Raises sqlite3.Error."""
    names = names_of(database)
    today = int((time.time() + time.localtime().tm_gmtoff) // 86400)
    since = 0 if days is None else today - days + 1
    span = since, today + _AHEAD
    total, by_day = Figures(), defaultdict[int, Figures](Figures)
    languages, models = defaultdict[str, Figures](Figures), defaultdict[str, Figures](Figures)

    def parts(language: int, model: int) -> Iterable[Figures]:
        yield total
        if names.get(language):
            yield languages[names[language]]
        if names.get(model):
            yield models[names[model]]

    for row in database.execute(
        "SELECT day, language, model, outcome, reason, answers, accepted, "
        "soon_of, soon, later_of, later, saved_of, saved FROM days WHERE day BETWEEN ? AND ?",
        span,
    ):
        day, language, model, outcome, reason, answers, accepted, *kept = row
        for figures in (by_day[day], *parts(language, model)):
            figures.outcomes[names[outcome]] += answers
            if names[outcome] == Outcome.SILENT:
                figures.reasons[names[reason]] += answers
            figures.accepted_characters += accepted
            for index, when in enumerate(_KEPT):
                known, stand = figures.kept.get(when, (0, 0))
                figures.kept[when] = known + kept[2 * index], stand + kept[2 * index + 1]
    # summed by SQLite: there are many rows, and a day's figures need no more than the total
    for language, model, step, bucket, answers in database.execute(
        "SELECT language, model, step, bucket, sum(answers) FROM latencies WHERE day BETWEEN ? AND ? "
        "GROUP BY 1, 2, 3, 4",
        span,
    ):
        for figures in parts(language, model):
            figures.latencies.setdefault(names[step], Counter())[bucket] += answers
    for day, bucket, answers in database.execute(
        "SELECT day, bucket, sum(answers) FROM latencies WHERE day BETWEEN ? AND ? "
        "AND step = (SELECT id FROM names WHERE name = 'total') GROUP BY 1, 2",
        span,
    ):
        by_day[day].latencies.setdefault("total", Counter())[bucket] += answers
    for day, language, model, characters in database.execute(
        "SELECT day, language, model, characters FROM typed WHERE day BETWEEN ? AND ?", span
    ):
        for figures in (by_day[day], *parts(language, model)):
            figures.typed_characters += max(characters, 0)
    if not by_day:
        return None
    first, last = (min(by_day) if days is None else since), max(today, *by_day)
    each_day = {_date(day).date().isoformat(): by_day.get(day, Figures()) for day in range(first, last + 1)}
    return Report(_date(first), _date(last), total, _largest_first(languages), _largest_first(models), each_day)


def _largest_first(parts: Mapping[str, Figures]) -> dict[str, Figures]:
    size: Callable[[str], tuple[int, int]] = lambda name: (-parts[name].shown, -parts[name].typed_characters)  # noqa: E731
    return {name: parts[name] for name in sorted(parts, key=size)}


def _date(day: int) -> datetime:
    return _EPOCH + timedelta(days=day)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
