"""The page itself: figures in large type, plots below them, and all of it as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from html import escape
from importlib import resources

from lsp_server.statistics.events import SEEN, Outcome, When
from lsp_server.statistics.figures import Figures, Report
from lsp_server.statistics.gate import Gates
from lsp_server.statistics.page.plots import histogram, line, milliseconds, rows, stacked_bars
from lsp_server.statistics.store import seconds_of

_MOST_BARS = 62  # days; more are drawn as weeks
_MOST_ROWS = 12
_AT_ONCE = 0.002  # seconds
_GROUPS: Mapping[str, tuple[Outcome, ...]] = {
    "accepted": (Outcome.ACCEPTED, Outcome.BY_LINE, Outcome.BY_WORD),
    "typed through": (Outcome.TYPED,),
    "moved away": (Outcome.MOVED, Outcome.DISMISSED, Outcome.LEFT),
    "typed otherwise": (Outcome.REFUSED,),
}
"""What became of suggestions, in few enough parts for colours to tell them apart."""


def page_of(report: Report | None, gates: Gates, confidence: float) -> str:
    """The page as HTML. `confidence` is the gate that is set."""
    style = (resources.files(__package__) / "page.css").read_text(encoding="utf-8")
    body = _nothing() if report is None else _body(report, gates, confidence)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>mellum-lsp: statistics</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        "</body>\n</html>\n"
    )


def _nothing() -> str:
    return (
        "<header><h1>What became of suggestions</h1></header>\n<section><p>Nothing is written down yet: it begins with "
        "the first suggestion, unless the setting <code>statistics</code> is false.</p></section>\n"
    )


def _body(report: Report, gates: Gates, confidence: float) -> str:
    total = report.total
    days, labels = _bars(report)
    is_by_day = len(days) == len(report.by_day)
    parts = {
        name: [float(sum(one.outcomes[outcome] for outcome in outcomes)) for one in days]
        for name, outcomes in _GROUPS.items()
    }
    wide = [
        _section(
            "Day by day" if is_by_day else "Week by week",
            "What became of the suggestions that were on the screen.",
            _legend(_GROUPS) + stacked_bars(labels, parts),
        ),
        _section(
            "Code that was completed",
            "Of all characters that were written, the share that came from accepted suggestions.",
            line(labels, [one.ratio_of_completed_code for one in days]),
        ),
    ]
    halves = [_outcomes(total), _times(total), _languages(report), _silences(total), _kept(total), _models(report)]
    return (
        f"<header><h1>What became of suggestions</h1><p>{_day(report.first.date())} to {_day(report.last.date())}. "
        "Counted on this machine, and nowhere else.</p></header>\n"
        f'<div class="cards">{_cards(total)}</div>\n{"".join(wide)}<div class="halves">{"".join(halves)}</div>\n'
        f"{_gate(gates, confidence)}{_table(report)}"
    )


def _outcomes(total: Figures) -> str:
    shares = {outcome: total.outcomes[outcome] / max(total.shown, 1) for outcome in SEEN if total.outcomes[outcome]}
    entries = [(outcome.value, share, _percent(share), _colour(outcome)) for outcome, share in shares.items()]
    title = "What became of them"
    return _section(title, f"Of {total.shown:,} suggestions on the screen.", rows(entries, label=title))


def _languages(report: Report) -> str:
    said = "The share of suggestions that were accepted, whole or in part."
    return _section("By language", said, _accepted(report.by_language, "By language"))


def _models(report: Report) -> str:
    if len(report.by_model) < 2:
        return ""
    return _section("By model", "The share of suggestions that were accepted.", _accepted(report.by_model, "By model"))


def _silences(total: Figures) -> str:
    if not (empty := total.reasons.total()):
        return ""
    shares = {reason: count / empty for reason, count in total.reasons.most_common(_MOST_ROWS)}
    entries = [(reason, share, _percent(share), "silent") for reason, share in shares.items()]
    title = "Why there was nothing to show"
    return _section(title, f"Of {empty:,} empty answers.", rows(entries, label=title))


def _kept(total: Figures) -> str:
    entries = [
        ("when saved" if when is When.SAVED else f"after {when.value}", share, _percent(share), "kept")
        for when in When
        if (share := total.kept_share(when)) is not None
    ]
    said = "The share of accepted characters that stood later."
    return _section("Still there", said, rows(entries, label="Still there")) if entries else ""


def _times(total: Figures) -> str:
    counts = {seconds_of(bucket): count for bucket, count in total.latencies.get("total", {}).items()}
    quick = sum(count for seconds, count in counts.items() if seconds < _AT_ONCE)
    marked = {"p50": total.percentile(0.5), "p90": total.percentile(0.9)}
    said = "From the request to the suggestion, or to the silence."
    if quick:
        said += f" {quick / sum(counts.values()):.0%} came at once, most of them from the cache, and are not drawn."
    drawn = {seconds: count for seconds, count in counts.items() if seconds >= _AT_ONCE}
    found = {name: seconds for name, seconds in marked.items() if seconds is not None and seconds >= _AT_ONCE}
    return _section("Time to an answer", said, histogram(drawn, found)) if drawn else ""


def _cards(total: Figures) -> str:
    later = total.kept_share(When.LATER)
    p50, p90 = total.percentile(0.5), total.percentile(0.9)
    cards = [
        ("accepted", _percent(total.acceptance_rate), f"{total.accepted:,} of {total.shown:,} shown"),
        ("of the code completed", _percent(total.ratio_of_completed_code), f"{total.accepted_characters:,} characters"),
        ("of the keystrokes saved", _percent(total.keystrokes_saved), f"{total.typed_characters:,} were typed"),
        ("still there after 5 minutes", _percent(later), "of accepted characters"),
        (
            "to an answer",
            "–" if p50 is None else milliseconds(p50),
            "" if p90 is None else f"nine of ten within {milliseconds(p90)}",
        ),
    ]
    return "".join(
        f'<div class="card"><strong>{escape(figure)}</strong><span>{escape(name)}</span>'
        f"<small>{escape(more)}</small></div>"
        for name, figure, more in cards
    )


def _bars(report: Report) -> tuple[list[Figures], list[str]]:
    """The days with their labels, or the weeks where there are many days."""
    days = list(report.by_day.items())
    if len(days) <= _MOST_BARS:
        return [figures for _, figures in days], [_day(date.fromisoformat(day)) for day, _ in days]
    weeks = [days[max(end - 7, 0) : end] for end in range(len(days), 0, -7)][::-1]
    return [_together(figures for _, figures in week) for week in weeks], [
        _day(date.fromisoformat(week[0][0])) for week in weeks
    ]


def _together(parts: Iterable[Figures]) -> Figures:
    total = Figures()
    for part in parts:
        total.outcomes += part.outcomes
        total.accepted_characters += part.accepted_characters
        total.typed_characters += part.typed_characters
    return total


def _accepted(parts: Mapping[str, Figures], title: str) -> str:
    return rows(
        [
            (f"{name} · {figures.shown:,}", figures.acceptance_rate, _percent(figures.acceptance_rate), "accepted")
            for name, figures in list(parts.items())[:_MOST_ROWS]
            if figures.acceptance_rate is not None
        ],
        label=title,
    )


def _gate(gates: Gates, confidence: float) -> str:
    if not gates:
        return ""
    found = sorted(gates.items(), key=lambda item: -item[1].events)[:_MOST_ROWS]
    lines = "".join(
        f"<tr><td>{escape(language)}<small>{escape(model)}</small></td><td>{learned.right / learned.events:.0%}</td>"
        f"<td>{learned.stated:.0%}</td><td>{learned.gate(confidence):.2f}</td>"
        f"<td class='said'>{escape(learned.reason(confidence))}</td></tr>"
        for (model, language), learned in found
    )
    head = "<tr><th>language</th><th>right</th><th>stated</th><th>gate</th><th></th></tr>"
    return _section(
        "What the gate has learned",
        f"How often suggestions were right, against what the model had stated. The set gate is {confidence:.2f}.",
        f'<div class="scrolls"><table class="learned">{head}{lines}</table></div>',
    )


def _table(report: Report) -> str:
    parts = {**report.by_language, "all": report.total}
    head = "".join(f"<th>{escape(name)}</th>" for name in parts)
    lines: dict[str, list[str]] = {
        "shown": [f"{one.shown:,}" for one in parts.values()],
        **{
            outcome.value: [f"{one.outcomes[outcome]:,}" for one in parts.values()]
            for outcome in SEEN
        },
        "acceptance rate": [_percent(one.acceptance_rate) for one in parts.values()],
        "code that was completed": [_percent(one.ratio_of_completed_code) for one in parts.values()],
        "keystrokes saved": [_percent(one.keystrokes_saved) for one in parts.values()],
        **{f"kept: {when.value}": [_percent(one.kept_share(when)) for one in parts.values()] for when in When},
        "answer, p50": [_time(one.percentile(0.5)) for one in parts.values()],
        "answer, p90": [_time(one.percentile(0.9)) for one in parts.values()],
    }  # fmt: skip
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in lines.items()
    )
    return (
        f"<details><summary>The same as a table</summary><div class='scrolls'><table><tr><th></th>{head}</tr>{body}"
        "</table></div></details>\n"
    )


def _section(title: str, said: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(said)}</p>{content}</section>\n"


def _legend(names: Iterable[str]) -> str:
    items = "".join(f'<span><i class="{name.replace(" ", "-")}"></i>{escape(name)}</span>' for name in names)
    return f'<div class="legend">{items}</div>'


def _colour(outcome: Outcome) -> str:
    return next((name.replace(" ", "-") for name, outcomes in _GROUPS.items() if outcome in outcomes), "silent")


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else milliseconds(seconds)
