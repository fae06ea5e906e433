"""`mellum-lsp stats`: what became of suggestions, as a table, for tools, or as a page with plots."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lsp_server.cli.console import AsJson, error_sentence, failure, out, print_json
from lsp_server.configuration.settings import CONFIDENCES, Settings
from lsp_server.statistics.events import STEPS, Outcome, When, statistics_file
from lsp_server.statistics.figures import Figures, Report, report_of
from lsp_server.statistics.gate import Gates, gates_of
from lsp_server.statistics.page.page import page_of
from lsp_server.statistics.samples import count_samples, samples_file
from lsp_server.statistics.store import NewerFile, Store, reading

_NOTHING = "Nothing is written down yet: it begins with the first suggestion, unless the setting `statistics` is false."


def stats(
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Only the last days, today among them.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with plots: one file, for any browser; - prints it.")
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Show what the gate has learned, and why.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove all that was written down.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what became of suggestions: how many were accepted, what was kept, how long they took."""
    if (file := statistics_file()) is None:
        raise failure("There is no home folder that could hold statistics; let MELLUM_LSP_STATE name a folder.")
    try:
        if purge:
            _purge(file)
            return
        with reading(file) as database:
            report, gates = report_of(database, days), gates_of(database)
    except FileNotFoundError:
        report, gates = None, {}
    except (sqlite3.Error, NewerFile) as error:
        if isinstance(error, NewerFile):
            raise failure(f"{error}.") from error
        raise failure(f"{file} cannot be read: {error}. `mellum-lsp stats --purge` removes it.") from error
    if html is not None:
        page = page_of(report, gates, CONFIDENCES[Settings().eagerness])
        if str(html) == "-":
            print(page)
        else:
            try:
                html.write_text(page, encoding="utf-8")
            except OSError as error:
                raise failure(error_sentence(error, html)) from error
            out.print(Text(f"{html} is written"), soft_wrap=True)
    elif as_json:
        figures = report.to_json() if report is not None else None
        print_json({"file": str(file), "report": figures, "gate": _gates_as_json(gates)})
    elif gate:
        _print_gates(gates)
    elif report is None:
        out.print(_NOTHING)
    else:
        _print(report)
        out.print(Text(f"Kept in {file}", style="dim"), soft_wrap=True)
        if samples := count_samples(samples_file(file)):
            said = f"{samples:,} samples with code, for the setting `collectSamples`, are kept in {samples_file(file)}"
            out.print(Text(said), soft_wrap=True)


def _purge(file: Path) -> None:
    """Remove all events. What cannot be emptied, because it is damaged, is removed."""
    try:
        if file.exists():
            with closing(Store(file)) as store:
                store.purge()
    except (sqlite3.DatabaseError, NewerFile):
        for end in ("", "-wal", "-shm"):
            Path(f"{file}{end}").unlink(missing_ok=True)
    file.with_name(f"{file.stem}.damaged{file.suffix}").unlink(missing_ok=True)
    for end in ("", "-journal"):
        Path(f"{samples_file(file)}{end}").unlink(missing_ok=True)
    out.print(Text(f"{file} holds nothing any more, and there are no samples"), soft_wrap=True)


def _print(report: Report) -> None:
    total = report.total
    out.print(Text(f"{report.first:%d %B %Y} to {report.last:%d %B %Y}", style="bold"))
    table = _table("", *map(escape, report.by_language), "all")
    parts = [*report.by_language.values(), total]
    for name, cells in _rows(parts):
        table.add_row(name, *cells)
    out.print(table)
    if len(report.by_model) > 1:
        table = _table("", *map(escape, report.by_model))
        for name, cells in _rows(list(report.by_model.values())):
            table.add_row(name, *cells)
        out.print(table)
    out.print(Text("What became of what was shown", style="bold"))
    table = _table("", "suggestions", "")
    for outcome in Outcome:
        if outcome not in (Outcome.SILENT, Outcome.UNSEEN) and total.outcomes[outcome]:
            count = total.outcomes[outcome]
            table.add_row(outcome.value, f"{count:,}", _percent(count / total.shown))
    out.print(table)
    if total.reasons:
        out.print(Text("Why there was nothing to show", style="bold"))
        table = _table("", "answers", "")
        for reason, count in total.reasons.most_common():
            table.add_row(reason, f"{count:,}", _percent(count / total.reasons.total()))
        out.print(table)
    out.print(Text("Time to an answer", style="bold"))
    table = _table("", "p50", "p90")
    for step in ("total", *STEPS):
        table.add_row(step, _seconds(total.percentile(0.5, step)), _seconds(total.percentile(0.9, step)))
    out.print(table)
    out.print("[dim]A page with plots: mellum-lsp stats --html FILE. What the gate has learned: --gate[/dim]")


def _rows(parts: list[Figures]) -> list[tuple[str, list[str]]]:
    return [
        ("shown", [f"{one.shown:,}" for one in parts]),
        ("accepted", [_percent(one.acceptance_rate) for one in parts]),
        ("code that was completed", [_percent(one.ratio_of_completed_code) for one in parts]),
        ("keystrokes saved", [_percent(one.keystrokes_saved) for one in parts]),
        *(
            (f"kept after {when.value}" if when is not When.SAVED else "kept when saved", [
                _percent(one.kept_share(when)) for one in parts
            ])
            for when in When
        ),
        ("answer, p50", [_seconds(one.percentile(0.5)) for one in parts]),
        ("answer, p90", [_seconds(one.percentile(0.9)) for one in parts]),
    ]  # fmt: skip


def _print_gates(gates: Gates) -> None:
    wanted = CONFIDENCES[Settings().eagerness]
    if not gates:
        out.print("Nothing is learned yet: the gate is the one that the settings say.")
        return
    table = _table("model", "language", "suggestions", "right", "stated", "gate")
    for (model, language), learned in sorted(gates.items(), key=lambda item: -item[1].events):
        table.add_row(
            escape(model),
            escape(language),
            f"{learned.events:,}",
            _percent(learned.right / learned.events),
            _percent(learned.stated),
            f"{learned.gate(wanted):.2f}",
        )
    out.print(table)
    for (_, language), learned in sorted(gates.items(), key=lambda item: -item[1].events):
        out.print(Text.assemble((f"{language}: ", "bold"), learned.reason(wanted)))
    out.print(
        f"The gate is what a suggestion's stated probability must be where `eagerness` is {Settings().eagerness}, its "
        "default. The setting `learnGate` switches this off."
    )


def _gates_as_json(gates: Gates) -> list[Mapping[str, object]]:
    wanted = CONFIDENCES[Settings().eagerness]
    return [
        {
            "model": model,
            "language": language,
            "suggestions": learned.events,
            "right": learned.right,
            "stated": learned.stated,
            "exponent": learned.exponent,
            "gate": learned.gate(wanted),
            "reason": learned.reason(wanted),
        }
        for (model, language), learned in gates.items()
    ]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if not index or not column else "right", overflow="fold")
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:,.0f} ms"
