"""Short campaigns: each finds nothing in the product, and finds a fault that is planted."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from evaluation.robustness import texts
from evaluation.robustness.__main__ import main
from evaluation.robustness.campaign import Campaign
from evaluation.robustness.faults import FAULTS
from evaluation.robustness.mutations import Messages, sent
from evaluation.robustness.soak import Sample, _judge

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed with a signal of POSIX")


@pytest.fixture(autouse=True)
def _cache(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(model_cache))


def number_of(fault: str) -> str:
    return str(list(FAULTS).index(fault) + 1)


CAMPAIGNS = {
    "messages": ["messages", "--count", "1", "--only", "bytes"],
    "documents": ["documents", "--count", "8", "--only", "grammars", "--only", "rules"],
    "changes": ["documents", "--count", "1", "--only", "server"],
    "fault": ["faults", "--count", "1", "--seed", number_of("names")],
    "grammars": ["kill", "--count", "1", "--only", "grammars"],
}


@pytest.mark.parametrize("arguments", CAMPAIGNS.values(), ids=CAMPAIGNS.keys())
def test_a_short_campaign_finds_nothing(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    code = main([*arguments, "--json", str(file)])
    written = json.loads(file.read_text())
    assert written["findings"] == []
    assert code == 0
    assert sum(written["tried"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["kill", "--count", "12", "--seed", "40"],
        ["messages", "--count", "3"],
        ["documents", "--count", "200"],
        ["faults"],
        ["soak", "--seconds", "90"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_longer_campaign_finds_nothing(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    main([*arguments, "--json", str(file)])
    assert json.loads(file.read_text())["findings"] == []


def test_the_same_seed_gives_the_same_round() -> None:
    def messages(seed: int) -> list[bytes]:
        supply = Messages(random.Random(seed), ["file:///a.py"], ["file:///project", "file:///other"])
        return [supply.one().body for _ in range(300)]

    assert messages(3) == messages(3) != messages(4)
    for language in texts.LANGUAGES:
        documents = [texts.document(random.Random(seed), language) for seed in (1, 1, 2)]
        assert documents[0] == documents[1] != documents[2]


@pytest.mark.parametrize(
    ("message", "answered", "identifier"),
    [
        ({"jsonrpc": "2.0", "id": 7, "method": "x"}, True, 7),
        ({"jsonrpc": "2.0", "id": "\ud83d", "method": "x"}, True, "\ud83d"),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "x"}, True, None),
        ({"jsonrpc": "2.0", "id": True, "method": "x"}, True, None),
        ({"jsonrpc": "2.0", "method": "x"}, False, None),
        ({"jsonrpc": "2.0", "id": 7, "result": 1}, False, None),
        ({"jsonrpc": "2.0", "method": 5}, True, None),
        ({"jsonrpc": "2.0", "method": "x", "params": "@deepest@"}, True, None),
        ([], True, None),
    ],
)
def test_which_response_a_message_gets_is_said_by_the_protocol(
    message: object, answered: bool, identifier: object
) -> None:
    expected = sent(message)
    assert (expected.answered, expected.identifier) == (answered, identifier)


def test_what_grows_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    campaign = Campaign("soak", seed=1, count=1, seconds=60)
    (one,) = campaign.rounds()
    _judge(campaign, one, [Sample(1e8 + 1e6 * number, 1e8, 5e7 + 1e6 * number, 20, 10, 3) for number in range(30)])
    _judge(campaign, one, [Sample(1e8, 1e8, 5e7, 20 + number, 10, 3) for number in range(30)])
    assert Counter(finding.kind for finding in campaign.findings) == {"memory": 1, "descriptors": 1}
    assert "soak --seed 1 --count 1" in campaign.table()
    assert "FOUND (memory)" in capsys.readouterr().err
