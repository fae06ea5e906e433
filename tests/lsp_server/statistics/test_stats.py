"""`mellum-lsp stats`: a table, an object for tools, and a page that a real browser shows, without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.statistics import an_answer, write_days
from lsp_server.statistics.events import STATE_VARIABLE, Kept, Outcome, Typed, When
from lsp_server.statistics.figures import report_of
from lsp_server.statistics.store import Store, reading

CHROMIUM = next((path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()), None)


def stats(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, STATE_VARIABLE: str(state), "COLUMNS": "160"}
    command = [sys.executable, "-m", "lsp_server.cli", "stats", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a user of some weeks."""
    state = tmp_path_factory.mktemp("state")
    write_days(state / "statistics.sqlite", days=40, answers=3_000)
    return state


def test_the_figures_are_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "statistics.sqlite")
    accepted = [an_answer(number, outcome=Outcome.ACCEPTED, accepted=30, total=0.1) for number in (1, 2)]
    others = [Outcome.TYPED, Outcome.REFUSED, Outcome.UNSEEN]
    store.add(
        [
            *accepted,
            *(an_answer(number, outcome=outcome, total=0.1) for number, outcome in enumerate(others, 3)),
            an_answer(6, outcome=Outcome.SILENT, reason="gate", total=1.0, language="rust"),
            Typed(accepted[0].at, "python", "smollm2-135m", 40),
            Kept(1, When.LATER, 1.0),
            Kept(2, When.LATER, 0.5),
        ]
    )
    store.close()
    with reading(tmp_path / "statistics.sqlite") as database:
        report = report_of(database)
    assert report is not None
    total = report.total
    assert (total.shown, total.accepted, total.acceptance_rate) == (4, 2, 0.5)
    assert total.ratio_of_completed_code == pytest.approx(60 / 100)
    assert total.keystrokes_saved == pytest.approx((60 - 2) / 100)
    assert total.kept_share(When.LATER) == pytest.approx(0.75)
    assert total.kept_share(When.SOON) is None
    assert total.percentile(0.5) == pytest.approx(0.1, rel=0.05)
    assert total.percentile(1.0) == pytest.approx(1.0, rel=0.05)
    assert total.reasons == {"gate": 1}
    assert list(report.by_language) == ["python", "rust"]
    assert report.by_language["rust"].shown == 0
    assert len(report.by_day) == 1


def test_the_table_and_the_object_say_the_same(days: Path) -> None:
    table = stats(days)
    assert table.returncode == 0, table.stderr
    found = json.loads(stats(days, "--json").stdout)["report"]
    shown = re.search(r"^shown .* ([\d,]+)$", table.stdout, re.MULTILINE)
    assert shown is not None
    assert int(shown[1].replace(",", "")) == found["total"]["shown"] > 1_000
    assert f"{found['total']['acceptanceRate']:.0%}" in table.stdout
    assert len(found["byDay"]) in (40, 41)
    assert sum(day["shown"] for day in found["byDay"].values()) == found["total"]["shown"]
    assert sum(one["shown"] for one in found["byLanguage"].values()) == found["total"]["shown"]


def test_the_last_days_only(days: Path) -> None:
    week = json.loads(stats(days, "--json", "--days", "7").stdout)["report"]
    assert len(week["byDay"]) == 7
    assert 0 < week["total"]["shown"] < 1_000


def test_the_gate_explains_itself(days: Path) -> None:
    said = " ".join(stats(days, "--gate").stdout.split())
    assert re.search(r"python: [\d,]+ of [\d,]+ were right, or \d+%; the model had stated \d+%", said)
    assert "learnGate" in said


def test_odd_days_and_names_of_a_file_are_no_traceback(tmp_path: Path) -> None:
    store = Store(tmp_path / "statistics.sqlite")
    store.add([replace(an_answer(1), at=1e14), replace(an_answer(2), at=-1e12)])
    store.add([replace(an_answer(3), model="[red]m[/x]", language="[/y]"), an_answer(4)])
    store.close()
    for options in ([], ["--gate"], ["--json"], ["--days", "7"], ["--html", str(tmp_path / "page.html")]):
        shown = stats(tmp_path, *options)
        assert shown.returncode == 0, shown.stderr
    assert "[red]m[/x]" in stats(tmp_path).stdout
    assert json.loads(stats(tmp_path, "--json").stdout)["report"]["total"]["shown"] == 2


def test_nothing_is_there_yet_and_nothing_is_made(tmp_path: Path) -> None:
    for options in ([], ["--gate"], ["--json"], ["--purge"]):
        assert stats(tmp_path / "state", *options).returncode == 0
    assert "Nothing is written down yet" in stats(tmp_path / "state").stdout
    assert not (tmp_path / "state").exists()


def test_a_file_without_tables_holds_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "statistics.sqlite").touch()  # by a server that was killed, or on a full disk
    shown = stats(tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "Nothing is written down yet" in shown.stdout


def test_so_many_days_that_there_is_no_date_are_refused(days: Path) -> None:
    refused = stats(days, "--days", "99999999999")
    assert refused.returncode == 2
    assert "--days" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_purge_removes_everything_also_what_is_damaged(tmp_path: Path) -> None:
    write_days(tmp_path / "statistics.sqlite", days=2, answers=50)
    assert stats(tmp_path, "--purge").returncode == 0
    assert "Nothing is written down yet" in stats(tmp_path).stdout
    (tmp_path / "statistics.sqlite").write_bytes(b"damaged" * 1000)
    read = stats(tmp_path)
    assert read.returncode == 1
    assert "--purge" in read.stderr
    assert stats(tmp_path, "--purge").returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1180, 420])
def test_a_browser_shows_the_page(scheme: str, width: int, days: Path, tmp_path: Path, browser: Any) -> None:
    """Nothing from elsewhere, no error, nothing wider than the window, and the colours of the scheme."""
    html = tmp_path / "page.html"
    assert stats(days, "--html", str(html)).returncode == 0
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(html.as_uri())
    assert (asked, errors) == ([html.as_uri()], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg").count() >= 6
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", back)[:3]))
    assert (brightness > 600) == (scheme == "light")
    outside = """[...document.querySelectorAll('svg')].flatMap(svg => {
        const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const own = text.getBoundingClientRect();
            return own.left < box.left - 1 || own.right > box.right + 1;
        }).map(text => text.textContent);
    })"""
    assert page.evaluate(outside) == []
    assert page.screenshot(path=str(tmp_path / f"{scheme}.png"), full_page=True)
    page.close()
