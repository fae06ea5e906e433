"""Plots as SVG that takes its colours from the page's style sheet, so that they follow light and dark.

A mark shows its name and value under the mouse. Coordinates are those of the view box, which the page scales.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 14, 26
_LABEL_EVERY = 64  # units between two labels below an axis


def stacked_bars(labels: Sequence[str], series: Mapping[str, Sequence[float]], *, height: int = 230) -> str:
    """Bars from left to right; `series` are stacked from the bottom, each by the name of its colour's class."""
    totals = [sum(values) for values in zip(*series.values(), strict=True)]
    top, ticks = _scale(max(totals, default=0))
    floor, room = height - _BOTTOM, height - _BOTTOM - _TOP
    marks = [_grid(floor - room * tick / top, f"{tick:,.0f}") for tick in ticks]
    step = (WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    wide = min(max(step * 0.72, 1.0), 44.0)
    for index, label in enumerate(labels):
        x, y = _LEFT + step * (index + 0.5) - wide / 2, float(floor)
        said = [f"{name}: {values[index]:,.0f}" for name, values in series.items() if values[index]]
        marks.append(f"<g><title>{escape(', '.join([label, *said]))}</title>")
        marks.append(f'<rect class="target" x="{x:.1f}" y="{_TOP}" width="{wide:.1f}" height="{room}"/>')
        for name, values in series.items():
            tall = room * values[index] / top
            if tall > 0:
                y -= tall
                inner = max(tall - (1 if tall > 2 else 0), 0.5)
                marks.append(
                    f'<rect class="fill {_class(name)}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                    f'height="{inner:.1f}" rx="1.5"/>'
                )
        marks.append("</g>")
    marks += _labels_below(labels, step, height)
    return _svg(height, marks, "Suggestions by day")


def line(labels: Sequence[str], values: Sequence[float | None], *, height: int = 170) -> str:
    """A share of each label, from 0 to 1, as a line; it is broken where there is none."""
    highest = max((value for value in values if value is not None), default=0.0)
    top, ticks = _scale(max(min(highest * 1.15, 1.0), 0.05))
    floor, room = height - _BOTTOM, height - _BOTTOM - _TOP
    marks = [_grid(floor - room * tick / top, f"{tick:.0%}") for tick in ticks]
    step = (WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    points: list[tuple[float, float, str]] = []
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        if value is not None:
            points.append((_LEFT + step * (index + 0.5), floor - room * value / top, f"{label}: {value:.0%}"))
    if points:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        area = f"{points[0][0]:.1f},{floor} {path} {points[-1][0]:.1f},{floor}"
        marks += [f'<polygon class="area" points="{area}"/>', f'<polyline class="line" points="{path}"/>']
        radius = 3.5 if step > 14 else 2
        for x, y, said in points:
            marks.append(
                f"<g><title>{escape(said)}</title>"
                f'<rect class="target" x="{x - step / 2:.1f}" y="{_TOP}" width="{step:.1f}" height="{room}"/>'
                f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/></g>'
            )
    marks += _labels_below(labels, step, height)
    return _svg(height, marks, "A share by day")


def rows(entries: Sequence[tuple[str, float, str, str]], *, label: str, name_width: int = 220) -> str:
    """Bars below each other: each a name, a share of the full width, what is written after it, and its colour."""
    tall = 32
    room = WIDTH - name_width - 90
    marks = []
    for index, (name, share, said, colour) in enumerate(entries):
        y, wide = index * tall, max(room * share, 2.0)
        marks.append(
            f"<g><title>{escape(f'{name}: {said}')}</title>"
            f'<text class="name" x="{name_width - 12}" y="{y + 19}" text-anchor="end">{escape(_short(name))}</text>'
            f'<rect class="track" x="{name_width}" y="{y + 6}" width="{room}" height="18" rx="3"/>'
            f'<rect class="fill {colour}" x="{name_width}" y="{y + 6}" width="{wide:.1f}" height="18" rx="3"/>'
            f'<text class="value" x="{name_width + room + 10}" y="{y + 19}">{escape(said)}</text></g>'
        )
    return _svg(max(len(entries), 1) * tall, marks, label)


def histogram(counts: Mapping[float, int], marked: Mapping[str, float], *, height: int = 190) -> str:
    """How many answers took how long: `counts` by seconds, on a logarithmic axis; `marked` are drawn as lines."""
    if not counts:
        return _svg(height, [], "No answers")
    low = math.log2(max(min(counts), 0.001) / 1.3)
    high = max(math.log2(max(counts) * 1.3), low + 2)
    floor, room, wide = height - _BOTTOM, height - _BOTTOM - _TOP - 12, WIDTH - _LEFT - _RIGHT
    bars: dict[int, int] = {}
    per_octave = 4
    for seconds, count in counts.items():
        bar = math.floor((math.log2(max(seconds, 0.001)) - low) * per_octave)
        bars[bar] = bars.get(bar, 0) + count
    step = wide / ((high - low) * per_octave)

    def across(seconds: float) -> float:
        return _LEFT + wide * (math.log2(max(seconds, 0.001)) - low) / (high - low)

    marks = [f'<line class="grid" x1="{_LEFT}" y1="{floor}" x2="{WIDTH - _RIGHT}" y2="{floor}"/>']
    most = max(bars.values())
    for bar, count in sorted(bars.items()):
        tall = room * count / most
        begins, ends = (2 ** (low + edge / per_octave) for edge in (bar, bar + 1))
        said = f"{milliseconds(begins)} to {milliseconds(ends)}: {count:,} answers"
        marks.append(
            f'<rect class="fill time" x="{_LEFT + bar * step + 1:.1f}" y="{floor - tall:.1f}" width="{step - 2:.1f}" '
            f'height="{tall:.1f}" rx="1.5"><title>{escape(said)}</title></rect>'
        )
    for tick in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30):
        if low <= math.log2(tick) <= high:
            marks.append(
                f'<text class="tick" x="{across(tick):.1f}" y="{height - 8}" text-anchor="middle">'
                f"{milliseconds(tick)}</text>"
            )
    for index, (name, seconds) in enumerate(sorted(marked.items(), key=lambda item: item[1])):
        x, anchor = across(seconds), "end" if index == 0 else "start"
        marks.append(
            f'<line class="mark" x1="{x:.1f}" y1="{_TOP - 4}" x2="{x:.1f}" y2="{floor}"/>'
            f'<text class="value" x="{x + (-6 if anchor == "end" else 6):.1f}" y="{_TOP + 6}" text-anchor="{anchor}">'
            f"{escape(name)} {milliseconds(seconds)}</text>"
        )
    return _svg(height, marks, "Time to an answer")


def milliseconds(seconds: float) -> str:
    """A time as one reads it."""
    return f"{1000 * seconds:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s".replace(".0 s", " s")


def _scale(most: float) -> tuple[float, list[float]]:
    """The top of an axis, and where its lines are: at most five, at round numbers."""
    if most <= 0:
        return 1.0, [0.0]
    step = 10 ** math.floor(math.log10(most / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if step * factor * 4 >= most)
    count = math.ceil(most / step - 1e-9)
    return step * count, [step * index for index in range(count + 1)]


def _grid(y: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
    )


def _labels_below(labels: Sequence[str], step: float, height: int) -> list[str]:
    every = max(1, math.ceil(_LABEL_EVERY / step))
    first = (len(labels) - 1) % every  # the last one, which is today, is always named
    return [
        f'<text class="tick" x="{_LEFT + step * (index + 0.5):.1f}" y="{height - 8}" text-anchor="middle">'
        f"{escape(labels[index])}</text>"
        for index in range(first, len(labels), every)
    ]


def _svg(height: int, marks: Sequence[str], label: str) -> str:
    inside = "".join(marks)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{inside}</svg>'


def _class(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
