"""Samples with code are collected where the user wants it, never with secrets, and teach what was written instead."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.tokenizer import Tokenizer
from evaluation.harness.client import SOON
from lsp_server.statistics import observer as observing
from lsp_server.statistics.events import Outcome
from lsp_server.statistics.samples import Sample, Surroundings, add_samples, count_samples
from tests.lsp_server.statistics.test_events import TEXT, URI, answers, leave, observed, type_otherwise
from tests.lsp_server.statistics.test_observer import Desk, until
from training.feedback import Taken, pair_of, read_samples, told

BEFORE, AFTER = "def add(first, second):\n    return ", "\n\nprint(add(1, 2))\n"


def sample(before: str = BEFORE, after: str = AFTER, written: str = "first + second", **kind: Any) -> Sample:
    return Sample(
        time.time(), "python", "model", Surroundings("a.py", before, after), kind.get("suggestion", "first"),
        kind.get("outcome", Outcome.REFUSED), False, written,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("later", "written"),
    [
        (BEFORE + "first + second" + AFTER, "first + second"),
        ("# a line above\n" + BEFORE + "first" + AFTER + "\nmore = 1\n", "first"),
        (BEFORE.replace("add", "sum") + "first" + AFTER, None),  # the place is not there any more
        (BEFORE + "1" + AFTER + BEFORE + "2" + AFTER, None),  # it is there twice
        (BEFORE + "x" * 5000 + AFTER, None),  # much was pasted
    ],
)
def test_what_was_written_is_found_again(later: str, written: str | None) -> None:
    where = Surroundings.of("a.py", BEFORE + AFTER, len(BEFORE))
    found = where.written_in(later)
    assert (found if found is None else found.rstrip()) == written


async def test_what_was_written_instead_is_collected_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "_SOON", 0.05)
    desk, collected = Desk("value = 12\nx = "), list[Sample]()
    desk.observer.collect = collected.append
    desk.observer.shown(desk.ask("first"))
    for key in "other":
        desk.edit(desk.cursor, desk.cursor, key)
    await until(lambda: bool(collected))
    [found] = collected
    assert (found.suggestion, found.written, found.outcome) == ("first", "other", Outcome.REFUSED)
    assert found.surroundings == Surroundings("module.py", "value = 12\nx = ", "")


async def test_a_server_collects_only_where_it_is_wanted(model_cache: Path, tmp_path: Path) -> None:
    async with observed(model_cache, tmp_path, collectSamples=True) as server:
        server.client.open(URI, TEXT)
        assert "collectSamples" in (await server.client.request("mellum/status"))["message"]
        off = {"mellum": {"collectSamples": True, "completeIgnoredFiles": True}}
        server.client.notify("workspace/didChangeConfiguration", {"settings": off})
        async with asyncio.timeout(SOON):
            while "collectSamples" in (await server.client.request("mellum/status"))["message"]:
                pass
        await type_otherwise(server.client)
        await leave(server)
    assert answers(tmp_path)
    assert count_samples(tmp_path / "samples.sqlite") == 0


def test_secrets_never_enter(tmp_path: Path) -> None:
    file = tmp_path / "samples.sqlite"
    key = "AKIA" + "Z7Q4W2X9K8V5B3N6"
    secret = f'aws_access_key_id = "{key}"\n'
    add_samples(file, [sample(), sample(before=secret + BEFORE), sample(after=AFTER + secret), sample(written=secret)])
    assert count_samples(file) == 1
    assert key.encode() not in file.read_bytes()


def test_the_oldest_go_where_there_are_too_many(tmp_path: Path) -> None:
    file = tmp_path / "samples.sqlite"
    for _ in range(30):
        add_samples(file, [sample(before="x = 1\n" * 1000)] * 10, most_bytes=500_000)
    assert 40 < count_samples(file) < 120
    assert file.stat().st_size < 1_000_000


def test_a_pair_is_what_was_written_and_what_was_not_taken(model_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "samples.sqlite"
    kept = sample(written="first + second\n", suggestion="first + second", outcome=Outcome.ACCEPTED)
    add_samples(file, [kept, sample(written="first * second\n    # more", suggestion="first + second")])
    [taken] = read_samples(file)
    assert (taken.written, taken.suggestion) == ("first * second", "first + second")
    folder = model_cache / "models" / DEFAULT_MODEL
    tokenizer, style = Tokenizer(folder / TOKENIZER_FILE), read_manifest(folder).prompt
    preferred, avoided = pair_of(taken, tokenizer, style)
    assert list(preferred.tokens[: preferred.prompt]) == list(avoided.tokens[: avoided.prompt])
    for example, text in ((preferred, taken.written), (avoided, taken.suggestion)):
        assert tokenizer.decode([int(token) for token in example.tokens[example.prompt : -1]]).endswith(text)


@pytest.mark.parametrize("written", ["", "  \n", "first", "first + second and more"])
def test_there_is_nothing_to_learn(written: str) -> None:
    assert told(Taken("a.py", "python", BEFORE, AFTER, "first + second", written)) is None
