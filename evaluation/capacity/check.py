"""The simulation beside llama.cpp's server on this machine, with the rates that were measured right before."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from engine.model_folders.locations import DEFAULT_MODEL, find_model
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.layout import Budget
from engine.prompt.tokenizer import Tokenizer
from evaluation.capacity.layouts import layouts
from evaluation.capacity.rates import Rates
from evaluation.capacity.simulation import Conditions, Outcome, Simulation
from evaluation.capacity.slots import SlotServer
from evaluation.capacity.trace import Typed
from evaluation.capacity.typing_for_real import completion, type_together
from evaluation.harness.llama import LlamaServer, llama_server, weights
from export.default_model import ADAPTER

TYPISTS = {1: 1.0, 4: 0.5, 16: 0.2}
"""Developers, and the share of the time in which each types: one, two and three type at once, on average."""
AGREES = 0.25
_PROMPT = 512  # tokens of the longest prompt: a processor reads a longer one for seconds
_SLOTS, _READ, _WRITTEN, _ROUNDS = 16, (32, 96, 320), 16, 3
_SHORT, _LONG = 48, 432  # tokens of a prompt after which steps are measured
_PAUSE = 1.5  # a typist's mean pause, in times of what a request takes alone: else a slow machine answers nothing


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure, simulated and measured."""

    developers: int
    what: str
    simulated: float
    measured: float

    @property
    def ratio(self) -> float:
        """Simulated over measured; 1 where neither is reached."""
        if math.isinf(self.simulated) and math.isinf(self.measured):
            return 1.0
        return self.simulated / self.measured if self.measured else float("inf")


async def check(trace: Sequence[Typed], *, seconds: float, seed: int, say: Callable[[str], None]) -> list[Compared]:
    """Measure the rates, let 1, 4 and 16 type for so many seconds each, simulate the same, and print both.

    Rates are measured before each number of typists and once more at the end, and the simulation of a run has the mean
    of those around it: where the machine's speed changes meanwhile, the difference is printed.
    """
    manifest = read_manifest(find_model())
    if manifest.name != DEFAULT_MODEL:
        raise ValueError(f"The check has the default model's weights for llama.cpp; select {DEFAULT_MODEL} for it")
    tokenizer = Tokenizer(find_model() / TOKENIZER_FILE)
    short = [shortened(typed, layouts(tokenizer, manifest.prompt, Budget(_PROMPT))["as it is"]) for typed in trace]
    compared: list[Compared] = []
    # one thread: several wait for each other in every step, and on a busy machine steps then take any time
    more = ("--threads", "1", "--cache-reuse", "0", "--cache-ram", "0", "--no-kv-unified")
    async with AsyncExitStack() as running:
        files = running.enter_context(weights(("Q8_0",), None, ADAPTER))
        server = await running.enter_async_context(
            llama_server(files["Q8_0"], context=_SLOTS * 1024, parallel=_SLOTS, more=more)
        )
        text = tokenizer.encode("".join(typed.before + typed.text for typed in trace))
        say("llama-server is ready")
        measured = [await rates_of(server, text)]
        short = slowed(short, *measured[0])
        pause = statistics.fmean(pause for typed in short for pause in typed.pauses)
        say(f"Rates are measured; the mean pause between two keys is {1e3 * pause:.0f} ms")
        runs: list[tuple[int, Conditions, Outcome]] = []
        for developers, typing in TYPISTS.items():
            conditions = Conditions(typing=typing, network=0.0, seconds=seconds, settled=seconds / 9, seed=seed)
            runs.append((developers, conditions, await type_together(short, developers, server, conditions)))
            say(f"{developers} have typed")
            measured.append(await rates_of(server, text))
    say("| developers | typing | | simulated | measured | ratio |")
    say("| ---: | ---: | --- | ---: | ---: | ---: |")
    for (developers, conditions, real), around in zip(runs, itertools.pairwise(measured), strict=True):
        rates, overhead = mean_of(around)
        there = replace(conditions, network=overhead)
        simulated = Simulation(short, developers, rates, there, SlotServer(rates)).run()
        rows = [
            Compared(developers, "p50, ms", 1e3 * simulated.percentile(50), 1e3 * real.percentile(50)),
            Compared(developers, "p90, ms", 1e3 * simulated.percentile(90), 1e3 * real.percentile(90)),
            Compared(developers, "answered before the next key, %", 100 * simulated.shown, 100 * real.shown),
            Compared(developers, "requests", len(simulated.times), len(real.times)),
        ]
        for row in rows:
            say(
                f"| {developers} | {conditions.typing:.0%} | {row.what} | {row.simulated:.0f} | {row.measured:.0f} "
                f"| {row.ratio:.2f}{'' if abs(row.ratio - 1) <= AGREES else ' (differs)'} |"
            )
        compared += rows
    for (rates, overhead), when in zip(measured, ("at first", "after 1", "after 4", "after 16"), strict=True):
        steps = ", ".join(f"{tokens}: {1e3 * seconds:.1f}" for tokens, seconds in rates.steps)
        say(f"Rates {when}: ms a step by tokens {steps}; {1e3 * overhead:.1f} ms a request besides")
    return compared


def shortened(typed: Typed, layout: Callable[[Typed, int], tuple[int, ...]]) -> Typed:
    """The same function, with prompts that are laid out anew."""
    places = (replace(place, prompt=layout(typed, written)) for written, place in enumerate(typed.places))
    return replace(typed, places=tuple(places))


def slowed(trace: Sequence[Typed], rates: Rates, besides: float) -> list[Typed]:
    """The same functions, typed so slowly that this machine can answer; as they are where it is fast enough."""
    places = [place for typed in trace for place in typed.places]
    decoded = statistics.fmean(place.decoded for place in places)
    context = int(statistics.fmean(len(place.prompt) for place in places))
    alone = besides + rates.seconds(4, context) + (decoded - 1) * rates.seconds(1, context)
    pause = statistics.fmean(pause for typed in trace for pause in typed.pauses)
    stretch = max(_PAUSE * alone / pause, 1.0)
    return [replace(typed, pauses=tuple(stretch * pause for pause in typed.pauses)) for typed in trace]


def mean_of(measured: Sequence[tuple[Rates, float]]) -> tuple[Rates, float]:
    """The mean of rates that were measured at several times."""
    first = measured[0][0]
    each = zip(*(rates.steps for rates, _ in measured), strict=True)
    steps = tuple((same[0][0], statistics.fmean(seconds for _, seconds in same)) for same in each)
    context = statistics.fmean(rates.context_seconds for rates, _ in measured)
    overhead = statistics.fmean(overhead for _, overhead in measured)
    return replace(first, steps=steps, context_seconds=context), overhead


async def rates_of(server: LlamaServer, text: Sequence[int]) -> tuple[Rates, float]:
    """Measure steps of one token, of one each of several requests, and of prompts; and what a request costs besides."""
    writing = {count: await _writing(server, text, count, _SHORT) for count in (1, 4, 16)}
    long = await _writing(server, text, 1, _LONG)
    context = max(long - writing[1], 0.0) / (_LONG - _SHORT)
    reading, besides = await _reading(server, text)
    steps = {count: seconds - context * count * (_SHORT + _WRITTEN / 2) for count, seconds in writing.items()}
    steps |= {count: seconds for count, seconds in reading.items() if count > max(steps)}
    rising = list(itertools.accumulate((seconds for _, seconds in sorted(steps.items())), max))
    rates = Rates(
        name="llama-server, default model, Q8_0",
        source="measured on this machine right before",
        steps=tuple(zip(sorted(steps), rising, strict=True)),
        context_seconds=context,
        cache_tokens=_SLOTS * 1024,
        block=1,
        sequences=_SLOTS,
        batch_tokens=1024,
    )
    return rates, besides


async def _writing(server: LlamaServer, text: Sequence[int], requests: int, length: int) -> float:
    """Seconds a step where so many requests write at once, after `length` tokens each; the median of rounds."""

    async def write(slot: int, count: int) -> None:
        async with completion(server, slot, text[slot * 8 : slot * 8 + length], count) as stream:
            await stream.end()

    seconds = []
    for _ in range(_ROUNDS):
        await asyncio.gather(*(write(slot, 1) for slot in range(requests)))  # so that the prompts are cached
        times = []
        for count in (1, 1 + _WRITTEN):
            began = time.perf_counter()
            await asyncio.gather(*(write(slot, count) for slot in range(requests)))
            times.append(time.perf_counter() - began)
        seconds.append((times[1] - times[0]) / _WRITTEN)
    return statistics.median(seconds)


async def _reading(server: LlamaServer, text: Sequence[int]) -> tuple[dict[int, float], float]:
    """Seconds of a step that reads a prompt, by its tokens; and seconds that a request takes besides its steps."""
    found: dict[int, float] = {}
    besides = []
    for count in _READ:
        seconds = []
        for turn in range(_ROUNDS):
            start = 1000 + turn * 37 + count * 3  # nothing of it is in the slot
            began = time.perf_counter()
            async with completion(server, 0, text[start : start + count], 1) as stream:
                timings = await stream.end()
            took = time.perf_counter() - began
            seconds.append(timings["prompt_ms"] / 1e3)
            besides.append(took - timings["prompt_ms"] / 1e3)
        found[count] = statistics.median(seconds)
    return found, statistics.median(besides)
