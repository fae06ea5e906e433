"""What the gate learns: nothing from ten events, the truth from thousands, and never more than it may."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.harness.client import SOON
from evaluation.statistics import an_answer
from lsp_server.statistics.events import Kept, Outcome, When
from lsp_server.statistics.gate import (
    ENOUGH_EVENTS,
    LEAST_EVENTS,
    LEAST_EXPONENT,
    MOST_EXPONENT,
    calibrations_of,
    exponent_of,
    gates_of,
)
from lsp_server.statistics.store import Store, reading
from tests.lsp_server.statistics.test_events import URI, answers, leave, observed, suggestion

SHIPPED = 0.7
DOUBTFUL, PLACE = "import sys\n\n\ndef main():\n    for line in sys.", (4, 20)
"""Where the model has several things to say: it is 0.65 sure with VNNI, and 0.63 without."""


def outcomes(true: float, events: int, seed: int = 0) -> dict[float, tuple[int, int]]:
    """Suggestions of a model whose stated p means p to the power of `true`."""
    chance, counts = random.Random(seed), Counter[tuple[float, bool]]()
    for _ in range(events):
        stated = round(chance.uniform(0.7, 1), 2)
        counts[stated, chance.random() < stated**true] += 1
    return {stated: (counts[stated, True], counts[stated, False]) for stated, _ in counts}


def learned(counts: dict[float, tuple[int, int]], confidence: float = SHIPPED) -> float:
    return calibrations_of({("model", "python"): counts})["model", "python"].gate(confidence)


def test_without_events_the_shipped_calibration_is_likeliest() -> None:
    assert exponent_of({}) == pytest.approx(1.0)
    assert exponent_of({}, prior=2.0) == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("is_right", [True, False])
def test_ten_events_change_nothing(is_right: bool) -> None:
    assert learned({0.8: (10, 0) if is_right else (0, 10)}) == SHIPPED
    assert abs(exponent_of({0.8: (10, 0) if is_right else (0, 10)}) - 1) < 0.2  # the prior holds it, too


@pytest.mark.parametrize("true", [0.5, 0.8, 1.0, 1.5, 3.0])
def test_thousands_of_events_find_the_truth(true: float) -> None:
    assert exponent_of(outcomes(true, 20_000)) == pytest.approx(true, rel=0.1)
    bounded = min(max(true, LEAST_EXPONENT), MOST_EXPONENT)
    assert learned(outcomes(true, 20_000)) == pytest.approx(SHIPPED ** (1 / bounded), abs=0.03)


def test_it_is_never_lower_before_there_are_enough() -> None:
    for events in range(0, ENOUGH_EVENTS, 50):
        assert learned({0.8: (events, 0)}) >= SHIPPED
    assert learned({0.8: (4 * ENOUGH_EVENTS, 0)}) < SHIPPED


def test_it_rises_sooner_than_it_falls() -> None:
    half = ENOUGH_EVENTS // 2
    assert learned({0.8: (half // 2, half // 2)}) > SHIPPED


@given(
    st.dictionaries(st.sampled_from([0.0, 0.5, 0.7, 0.85, 1.0]), st.tuples(st.integers(0, 9000), st.integers(0, 9000))),
    st.floats(0, 1),
)
def test_it_stays_within_its_limits(counts: dict[float, tuple[int, int]], confidence: float) -> None:
    gate = learned(counts, confidence)
    if confidence in (0, 1) or sum(map(sum, counts.values())) < LEAST_EVENTS:
        assert gate == confidence
    else:
        assert confidence ** (1 / LEAST_EXPONENT) - 0.006 <= gate <= confidence ** (1 / MOST_EXPONENT) + 0.006


def test_it_is_monotone_in_what_is_wanted() -> None:
    found = calibrations_of({("model", "python"): outcomes(1.7, 3_000)})["model", "python"]
    gates = [found.gate(wanted / 100) for wanted in range(1, 100)]
    assert gates == sorted(gates)


def test_a_rare_language_learns_from_the_others() -> None:
    many, few = outcomes(2.0, 5_000), outcomes(1.0, 120, seed=1)
    together = calibrations_of({("model", "python"): many, ("model", "lua"): few, ("other", "lua"): few})
    assert together["model", "lua"].exponent > together["other", "lua"].exponent + 0.3


def test_outcomes_are_read_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "statistics.sqlite"
    store = Store(file)
    store.add(
        [
            an_answer(1, outcome=Outcome.ACCEPTED, accepted=40),
            an_answer(2, outcome=Outcome.ACCEPTED, accepted=40),  # and removed again
            an_answer(3, outcome=Outcome.TYPED),
            an_answer(4, outcome=Outcome.REFUSED),
            an_answer(5, outcome=Outcome.MOVED),
            an_answer(6, outcome=Outcome.UNSEEN),
            an_answer(7, outcome=Outcome.SILENT, reason="gate"),
            an_answer(8, outcome=Outcome.REFUSED, probability=1.0),  # of a remote model that states none
            Kept(1, When.SOON, 0.9),
            Kept(2, When.SOON, 0.2),
        ]
    )
    store.close()
    with reading(file) as database:
        found = gates_of(database)["smollm2-135m", "python"]
    assert (found.right, found.events, found.stated) == (2, 4, pytest.approx(0.8))


async def test_a_server_asks_for_more_once_it_has_learned(model_cache: Path, tmp_path: Path) -> None:
    """A user for whom nothing was right is shown less of what the model states just above the set gate."""
    before, after = tmp_path / "before", tmp_path / "after"
    async with observed(model_cache, before, eagerness="balanced") as server:
        server.client.open(URI, DOUBTFUL)
        whole = (await suggestion(server.client, *PLACE))["insertText"]
        await leave(server)
    stated = answers(before)[0]["probability"] / 1000
    assert 0.6 < stated < 0.6 ** (1 / MOST_EXPONENT), "this place teaches nothing"
    store = Store(after / "statistics.sqlite")
    store.add([an_answer(number) for number in range(3 * ENOUGH_EVENTS)])
    store.close()
    settings = {"deadline": 0, "eagerness": "balanced"}
    async with observed(model_cache, after, learnGate=False, **settings) as server:
        server.client.open(URI, DOUBTFUL)
        assert (await suggestion(server.client, *PLACE))["insertText"] == whole
        learning = {"mellum": {**settings, "learnGate": True}}
        server.client.notify("workspace/didChangeConfiguration", {"settings": learning})
        async with asyncio.timeout(SOON):
            while [item["insertText"] for item in await server.client.complete(URI, *PLACE)] == [whole]:
                pass
        await leave(server)
