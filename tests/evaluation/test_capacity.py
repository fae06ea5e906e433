"""The trace of typing, the prefix cache, and the laws that the simulated server has to keep."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model_folders.locations import CACHE_VARIABLE, DEFAULT_MODEL
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.layout import Budget
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.kv_shift import common_prefix
from evaluation.capacity import rates as known_rates
from evaluation.capacity import table, trace
from evaluation.capacity.blocks import BLOCK, BlockCache, chain
from evaluation.capacity.layouts import layouts
from evaluation.capacity.prefix import Prompts, measure
from evaluation.capacity.rates import Rates
from evaluation.capacity.recording import record
from evaluation.capacity.server import Job
from evaluation.capacity.simulation import Conditions, Life, Simulation, time_within
from evaluation.capacity.slots import Slots
from evaluation.capacity.trace import Place, Typed
from evaluation.capacity.typist import sent
from evaluation.harness.functions import functions_of

FAST = Rates("a card", "made up", ((1, 0.005), (200, 0.005), (8200, 0.125)), 1e-7, 160_000)


def typed(
    text: str, *, pause: float = 0.12, prompt: int = 600, decoded: int = 5, shown: int = 0, name: int = 0
) -> Typed:
    """A function whose prompts grow by a token each character; `shown`: right characters that each answer shows."""
    tokens = [name * 100_000 + index for index in range(prompt)]
    places = tuple(
        Place((*tokens, *range(written), 7), text[written : written + shown], 0, decoded, 0.1)
        for written in range(len(text))
    )
    return Typed(f"f{name}", "f.py", "", "", text, (pause,) * len(text), places)


def run(functions: Sequence[Typed], developers: int, rates: Rates = FAST, **conditions: object) -> Simulation:
    simulation = Simulation(functions, developers, rates, replace(Conditions(), **conditions))  # type: ignore[arg-type]
    simulation.run()
    return simulation


TRACE = [typed("def f(x): return x * 2\n" * 4, name=name, shown=name % 3 * 4) for name in range(6)]


def test_a_prompt_hits_its_whole_blocks_and_never_its_last_token() -> None:
    cache, tokens = BlockCache(10_000), list(range(100))
    assert cache.hit(chain(tokens), 100) == 0
    cache.add(chain(tokens), 100)
    assert cache.hit(chain(tokens), 100) == 96
    assert cache.hit(chain(tokens[:96]), 96) == 80
    assert cache.hit(chain([*tokens[:50], 7, *tokens[51:]]), 100) == 48
    assert cache.hit(chain(tokens), 100, owner=3) == 0


def test_a_block_stands_for_all_tokens_before_it() -> None:
    chance = random.Random(3)
    texts = [[chance.randrange(2) for _ in range(70)] for _ in range(60)]
    for one in texts:
        for other in texts:
            shared = common_prefix(chain(one), chain(other))
            assert shared == min(common_prefix(one, other) // BLOCK, 70 // BLOCK)


def test_a_full_cache_forgets_what_was_used_least_recently_and_the_ends_of_prompts_first() -> None:
    cache = BlockCache(10 * BLOCK)
    first, second = (chain(list(range(start, start + 6 * BLOCK))) for start in (0, 1000))
    cache.add(first, 6 * BLOCK)
    cache.add(second, 6 * BLOCK)
    assert cache.hit(second, 6 * BLOCK + 1) == 6 * BLOCK
    assert cache.hit(first, 6 * BLOCK + 1) == 4 * BLOCK


def test_times_of_cancelled_requests_count_as_longer_than_they_waited() -> None:
    times = [(1.0, True), (2.0, False), (3.0, True), (4.0, True)]
    assert [time_within(times, share) for share in (0.25, 0.5, 0.9)] == [1.0, 3.0, 4.0]
    assert time_within([(seconds, True) for seconds in (3.0, 1.0, 2.0)], 0.5) == 2.0
    assert time_within([(1.0, True), (2.0, False)], 0.9) == float("inf")


def test_alone_and_without_a_cache_a_request_takes_what_its_steps_take() -> None:
    rates = Rates("a", "made up", ((1, 0.01), (1001, 0.11)), 1e-6, 10_000, batch_tokens=512)
    found = run([typed("abcdef", pause=2.0, decoded=3)], 1, rates, prefix_caching=False, network=0.02, typing=1.0)
    length = 601
    expected = 0.02 + sum(rates.seconds(count, before) for count, before in ((512, 0), (length - 512, 512)))
    expected += rates.seconds(1, length + 1) + rates.seconds(1, length + 2)
    seconds = sorted(seconds for seconds, _ in found.outcome.times)
    assert seconds[0] == pytest.approx(expected, rel=1e-3)
    assert seconds[-1] == pytest.approx(expected, rel=1e-2)  # the prompt grows by a token each key
    assert all(answered for _, answered in found.outcome.times)


def test_one_request_at_a_time_waits_as_long_as_queueing_theory_says() -> None:
    service, arrivals = 0.1, 5.0
    rates = Rates("a", "made up", ((1, service), (2, service)), 0.0, 10_000, sequences=1, batch_tokens=10_000)
    alone = [replace(typed("a", pause=1.0, prompt=3, decoded=1), name="one")]
    cycle = 1.0 / 0.01
    more = {"prefix_caching": False, "cancellation": False, "network": 0.0, "typing": 0.01, "seconds": 700.0}
    times = [seconds for seconds, _ in run(alone, int(arrivals * cycle), rates, **more).outcome.times]
    load = service * arrivals
    assert sum(times) / len(times) == pytest.approx(service + load * service / (2 * (1 - load)), rel=0.1)


def test_from_the_beginning_as_many_type_as_later() -> None:
    lives = [Life(TRACE, random.Random(number), Conditions(typing=0.2)) for number in range(2000)]
    typing = [written for life in lives if (written := life.begin().written)]
    assert len(typing) / len(lives) == pytest.approx(0.2, abs=0.04)
    assert sum(typing) / len(typing) == pytest.approx(len(TRACE[0].text) / 2, rel=0.15)


def test_more_developers_never_shorten_the_time() -> None:
    times = [run(TRACE, developers).outcome.percentile(90) for developers in (4, 40, 240)]
    assert times == sorted(times)
    assert times[-1] > 1.2 * times[0]


@pytest.mark.parametrize("developers", [10, 80])
def test_neither_cancellation_nor_a_prefix_cache_lengthens_the_time(developers: int) -> None:
    best = run(TRACE, developers).outcome
    assert best.percentile(90) <= run(TRACE, developers, cancellation=False).outcome.percentile(90)
    assert best.percentile(90) <= run(TRACE, developers, prefix_caching=False).outcome.percentile(90)
    assert best.hit_tokens > 0.9 * best.prompt_tokens


def test_a_cache_that_is_too_small_for_all_hits_less() -> None:
    small = run(TRACE, 100, replace(FAST, cache_tokens=6_000)).outcome
    large = run(TRACE, 100).outcome
    assert small.hit_tokens / small.prompt_tokens < 0.7 < 0.9 < large.hit_tokens / large.prompt_tokens


def test_what_is_typed_through_asks_for_nothing() -> None:
    silent, right = typed("abcdefgh" * 4), typed("abcdefgh" * 4, shown=8)
    assert len(sent(silent, 0.05)) == 32
    assert len(sent(right, 0.05)) < 10
    assert all(request.cancelled == pytest.approx(0.12) for request in sent(right, 0.2))
    assert len(sent(right, 0.2)) == 32


def test_the_same_seed_gives_the_same_table_and_another_seed_another(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Rates("a", "made up", ((1, 0.05), (200, 0.05), (8200, 1.0)), 1e-6, 20_000)
    for name, value in {"TEAMS": (2, 9), "GPUS": (1, 2), "_DEVELOPER_SECONDS": 300, "_ALONE_SECONDS": 60}.items():
        monkeypatch.setattr(table, name, value)

    def lines(seed: int) -> list[str]:
        said: list[str] = []
        table.report(TRACE[:2], slow, Conditions(seconds=60, seed=seed), said.append)
        return said

    assert lines(1) == lines(1) != lines(2)


def test_a_hash_fills_some_cards_more_than_others() -> None:
    assert table.fullest(100, 1, 1) == 100
    assert 100 / 4 < table.fullest(100, 4, 1) < 100 / 2


def test_slots_of_llama_server_keep_the_last_prompt_token_by_token() -> None:
    slots, tokens = Slots(), tuple(range(40))

    def job(prompt: tuple[int, ...], slot: int = 0) -> Job:
        return Job(1, slot, chain(prompt, 1), len(prompt), 1)

    first = job(tokens)
    assert slots.hit(first) == 0
    first.computed = 40
    slots.add(first)
    assert [slots.hit(job(prompt)) for prompt in (tokens, tokens[:7], (*tokens[:9], 99))] == [39, 6, 9]
    assert slots.hit(job(tokens, slot=1)) == 0


@pytest.mark.parametrize("name", known_rates.CARDS)
def test_shipped_rates_are_what_the_data_sheet_gives_and_say_that_they_are_estimated(name: str) -> None:
    rates = known_rates.read(name)
    assert rates == known_rates.estimated(*known_rates.CARDS[name])
    assert "not measured" in rates.source


def test_rates_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There are no rates a100: name a JSON file, or one of h100, l40s"):
        known_rates.read("a100")
    file = tmp_path / "mine.json"
    file.write_text('{"steps": [[1, 0.1]]}')
    with pytest.raises(ValueError, match=r"mine.json holds no rates; they have the fields batch_tokens"):
        known_rates.read(str(file))
    FAST.write(file)
    assert known_rates.read(str(file)) == FAST


@pytest.fixture(scope="module")
def recorded(model_cache: Path) -> list[Typed]:
    """The first characters of a function of the standard library, with the real model; there is no project."""
    function = next(functions_of(Path(difflib.__file__).read_text(encoding="utf-8"), path="difflib.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(model_cache))
        return list(record([replace(function, text=function.text[:24])], 512, lambda said: None))


def test_a_recorded_trace_is_written_and_read_whole(recorded: list[Typed], tmp_path: Path) -> None:
    trace.write(recorded, tmp_path / "trace.jsonl")
    assert trace.read(tmp_path / "trace.jsonl") == recorded
    assert len(recorded[0].places) == len(recorded[0].text) == 24
    assert "1 functions, 24 places" in trace.summary(recorded)
    (tmp_path / "other").write_text("{}\n")
    with pytest.raises(ValueError, match="is no trace; make one"):
        trace.read(tmp_path / "other")


def test_the_recorded_prompts_are_the_engines_and_typing_keeps_their_blocks(
    recorded: list[Typed], model_cache: Path
) -> None:
    folder = model_cache / "models" / DEFAULT_MODEL
    tokenizer, style = Tokenizer(folder / TOKENIZER_FILE), read_manifest(folder).prompt
    known = layouts(tokenizer, style, Budget(512))
    for written, place in enumerate(recorded[0].places):
        assert known["as it is"](recorded[0], written) == place.prompt
        assert sorted(known["suffix last"](recorded[0], written)) == sorted(place.prompt)
    shares = {name: measure(Prompts(recorded, known[name]), latency=None, users=1, cache=1 << 20) for name in known}
    first, others = recorded[0].places[0].prompt, [place.prompt for place in recorded[0].places[1:]]
    present = shares["as it is"]
    assert present.hit <= sum(map(len, others)) <= present.tokens - len(first)
    assert present.hit > 0.9 * sum(map(len, others))
    assert present.computed <= shares["suffix last"].computed
    assert present.tokens - present.hit == present.missed.total()
