"""The typing simulation: with suggestions that are always right or always wrong, and with the real server."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import difflib
import hashlib
import json
import math
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.harness import report
from evaluation.harness.functions import Function, functions, functions_of, unpacked
from evaluation.harness.sides import Answer, difference, mellum, position, shown
from evaluation.harness.typist import Page
from evaluation.typing import Record, type_function

FUNCTION = next(functions_of(Path(difflib.__file__).read_text(encoding="utf-8"), path="difflib.py"))
START = dataclasses.replace(FUNCTION, text="\n".join(FUNCTION.text.split("\n")[:2]))
FAST = 3000.0  # words a minute


class Written:
    """A side that answers every request with what a text function says, at once."""

    name = "written"

    def __init__(self, says: Callable[[Page], str]) -> None:
        self._says = says

    async def open(self, function: Function, page: Page) -> None:
        pass

    def ask(self, page: Page) -> asyncio.Task[Answer]:
        async def answer() -> Answer:
            return Answer(self._says(page), 0, 0.001, 3)

        return asyncio.create_task(answer())

    def taken(self) -> None:
        pass

    async def rest(self) -> None:
        pass

    def cpu_seconds(self) -> float:
        return 0.0


def run(says: Callable[[Page], str], speed: float = FAST) -> Record:
    return asyncio.run(type_function(Written(says), FUNCTION, "none", speed))


def test_suggestions_that_are_always_right_save_all_but_the_time_to_look() -> None:
    record = run(lambda page: page.rest, speed=100)
    assert record.keys < 8
    assert record.taken == {"whole": 1, "line": 0, "word": 0}
    assert record.flickers == 0
    assert record.wrong == 0
    assert record.on_screen > 0.25


def test_silence_saves_nothing_and_shows_nothing() -> None:
    record = run(lambda page: "")
    assert record.keys == record.keys_alone == record.characters
    assert record.on_screen == record.flickers == 0
    assert len(record.seconds) + record.superseded == record.keys
    assert sum(map(len, record.computed.values())) == len(record.seconds)
    assert record.computed["arrival"] in ([3], [])
    assert record.computed["accept"] == []
    assert 0 < len(record.computed["enter"]) <= FUNCTION.text.count("\n") < len(record.computed["character"])


def test_a_key_that_is_never_answered_has_waited_until_the_end() -> None:
    class Mute(Written):
        def ask(self, page: Page) -> asyncio.Task[Answer]:
            return asyncio.create_task(asyncio.sleep(60))  # type: ignore[arg-type]

    record = asyncio.run(type_function(Mute(lambda page: ""), FUNCTION, "none", FAST))
    assert record.superseded == len(record.waits) == record.keys
    assert max(record.waits) > 0.1
    assert not record.seconds


def test_what_is_always_wrong_is_never_taken_and_counted_as_wrong_all_the_time() -> None:
    record = run(lambda page: "#wrong")
    assert record.keys == record.characters
    assert record.wrong == pytest.approx(record.on_screen) != 0


def test_a_suggestion_that_changes_under_the_typing_hand_flickers() -> None:
    record = run(lambda page: page.rest[:3] if page.written % 2 else "")
    assert record.flickers > record.characters / 4


def test_an_edit_turns_one_text_into_the_other() -> None:
    for old, new in (("a\nbc\nd", "a\nbXc\nd"), ("aaa", "aa"), ("", "x\ny"), ("x\ny", ""), ("ab", "ab")):
        change = difference(old, new)
        start, end = (
            next(
                offset for offset in range(len(old) + 1) if position(old, offset) == (place["line"], place["character"])
            )
            for place in (change["range"]["start"], change["range"]["end"])
        )
        assert old[:start] + change["text"] + old[end:] == new


def test_a_function_is_typed_into_its_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLUM_LSP_CACHE", str(tmp_path))
    (tmp_path / "evaluation").mkdir()
    wheel = tmp_path / "evaluation" / "texts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for module in (difflib, json, argparse):
            archive.write(str(module.__file__), f"texts/{module.__name__}.py")
        archive.writestr("texts/LICENSE", "MIT")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr("evaluation.harness.functions.PACKAGES", {"texts==1.0": digest})
    (function,) = functions(1)
    root = unpacked(function, tmp_path / "project")
    modules = {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
    assert modules == {"texts/difflib.py", "texts/json.py", "texts/argparse.py"} - {function.path}
    assert not list(unpacked(dataclasses.replace(function, package=""), tmp_path / "project").iterdir())


def test_an_item_is_shown_from_the_cursor_on() -> None:
    page = Page("x = f(a", ")\n", "")

    def item(start: int, end: int, text: str) -> dict[str, object]:
        places = [{"line": 0, "character": character} for character in (start, end)]
        return {"range": {"start": places[0], "end": places[1]}, "insertText": text}

    assert shown(page, [item(7, 7, "b")]) == ("b", 0)
    assert shown(page, [item(4, 8, "f(a, b)")]) == (", b)", 1)
    assert shown(page, [item(4, 8, "g(a, b)")]) == ("", 0)
    assert shown(page, []) == ("", 0)


@pytest.mark.slow
def test_the_real_server_is_measured_and_compared_with_an_earlier_run(
    model_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure() -> Record:
        async with mellum(model_cache, maxTokens=8, contextTokens=256) as side:
            return await type_function(side, START, "brackets", 100.0)

    record = asyncio.run(measure())
    assert 0 < len(record.seconds) + record.superseded <= record.keys
    assert record.cpu_seconds > 0
    arguments = argparse.Namespace(json=tmp_path / "now.json", compare=None, plot=None)
    report.give({"mellum-lsp": [dataclasses.asdict(record)]}, arguments)
    kept = json.loads(arguments.json.read_text(encoding="utf-8"))
    assert kept["figures"]["mellum-lsp"]["characters"] == len(START.text)
    capsys.readouterr()
    arguments = argparse.Namespace(json=None, compare=tmp_path / "now.json", plot=None)
    report.give({"mellum-lsp": [dataclasses.asdict(record)]}, arguments)
    compared = capsys.readouterr().out
    assert "mellum-lsp, earlier" in compared
    assert "(   1.00 x)" in compared


def test_percentiles_are_values_that_occurred() -> None:
    assert [report.percentile([4, 1, 3, 2], percent) for percent in (50, 90, 99)] == [2, 4, 4]


def test_a_share_is_as_uncertain_as_functions_vary() -> None:
    alike = [{"wrong": 1.0, "on_screen": 4.0}] * 5
    assert report.standard_error(alike, "wrong", "on_screen") == 0
    chance = random.Random(5)
    varied = [{"wrong": float(chance.random() < 0.2), "on_screen": 1.0} for _ in range(400)]
    share = sum(one["wrong"] for one in varied) / 400
    binomial = 100 * (share * (1 - share) / 399) ** 0.5
    assert report.standard_error(varied, "wrong", "on_screen") == pytest.approx(binomial, rel=1e-6)
    assert math.isnan(report.standard_error(alike[:1], "wrong", "on_screen"))
