"""Developers a GPU at a given time to suggestion, and that time for teams of all sizes on one to 32 GPUs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from evaluation.capacity.rates import Rates
from evaluation.capacity.simulation import Conditions, Outcome, Simulation
from evaluation.capacity.trace import Typed

TEAMS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
GPUS = (1, 2, 4, 8, 16, 32)
LIMIT, PERCENT = 0.5, 90.0
SHOWN = (0.5, 0.9)
"""Of the answers that come before the next key for a developer alone: what has to come so for a team, at least."""
_DEVELOPER_SECONDS = 4000.0  # are simulated at least: few developers send few requests
_ALONE_SECONDS = 600.0
_PRECISION = 0.04  # of a number of developers

Say = Callable[[str], None]


class Capacity:
    """Runs simulations of one GPU, each once."""

    def __init__(self, trace: Sequence[Typed], rates: Rates, conditions: Conditions) -> None:
        self._trace, self._rates, self.conditions = trace, rates, conditions
        self._known: dict[int, Outcome] = {}

    def at(self, developers: int) -> Outcome:
        """What becomes of the requests of so many developers."""
        if developers not in self._known:
            longer = max(self.conditions.seconds, self.conditions.settled + _DEVELOPER_SECONDS / developers)
            conditions = replace(self.conditions, seconds=longer)
            self._known[developers] = Simulation(self._trace, developers, self._rates, conditions).run()
        return self._known[developers]

    @cached_property
    def _shown_alone(self) -> float:
        alone = replace(self.conditions, typing=1.0, seconds=_ALONE_SECONDS)
        return Simulation(self._trace, 1, self._rates, alone).run().shown

    def serves(self, developers: int, share: float) -> bool:
        """Whether this share of what a developer alone is shown is shown: answers that come before the next key.

        Where keys cancel what waits, a server that is overloaded answers the few requests that are left in good time.
        """
        return self.at(developers).shown >= share * self._shown_alone

    def most(self, share: float, limit: float = LIMIT, most: int = 5000) -> int:
        """How many developers one GPU serves so well, 90% of requests within the limit, to 4%; 0: not even one."""

        def holds(developers: int) -> bool:
            return self.at(developers).percentile(PERCENT) <= limit and self.serves(developers, share)

        low, high = 0, 1
        while high < most and holds(high):
            low, high = high, min(high * 2, most)
        if low == 0 or (high == most and holds(most)):
            return high if low else 0
        while high - low > max(1, low * _PRECISION):
            middle = (low + high) // 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low


def fullest(developers: int, gpus: int, seed: int) -> int:
    """How many developers the fullest GPU has, where a hash sends each developer to one GPU."""
    chance = random.Random(seed)
    return max(Counter(chance.randrange(gpus) for _ in range(developers)).values())


def report(trace: Sequence[Typed], rates: Rates, conditions: Conditions, say: Say) -> None:
    """Print both tables, with what was assumed."""
    say(f"{rates.name}: {rates.source}.")
    say(
        f"A developer types {conditions.typing:.0%} of the time; a round trip takes {1e3 * conditions.network:g} ms; "
        f"nothing is cached of a function that is begun; seed {conditions.seed}.\n"
    )
    half, most_of = (f"developers a GPU, {share:.0%} shown" for share in SHOWN)
    say(f"| prefix cache | cancellation | {half} | {most_of} | p90 there | hit | computed a request | GPU busy |")
    say("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    best = Capacity(trace, rates, conditions)
    for prefix_caching in (True, False):
        for cancellation in (True, False):
            chosen = replace(conditions, prefix_caching=prefix_caching, cancellation=cancellation)
            capacity = best if chosen == conditions else Capacity(trace, rates, chosen)
            counts = [capacity.most(share) for share in SHOWN]
            found = capacity.at(max(counts[-1], 1))
            say(
                f"| {'yes' if prefix_caching else 'no'} | {'yes' if cancellation else 'no'} "
                f"| {counts[0]} | {counts[1]} | {1e3 * found.percentile(PERCENT):.0f} ms "
                f"| {found.hit_tokens / max(found.prompt_tokens, 1):.1%} "
                f"| {found.computed_tokens / max(len(found.times), 1):.0f} tokens "
                f"| {found.busy / found.seconds:.0%} |"
            )
    most = best.most(SHOWN[0])
    say(
        "\np90 in ms at the fullest GPU, with prefix cache and cancellation "
        f"(-: fewer than {SHOWN[0]:.0%} of the answers that a developer alone gets come before the next key):\n"
    )
    say("| developers |" + "".join(f" {gpus} GPU{'s' * (gpus > 1)} |" for gpus in GPUS))
    say("| ---: |" + " ---: |" * len(GPUS))
    for team in TEAMS:
        cells = []
        for gpus in GPUS:
            there = fullest(team, gpus, conditions.seed)
            is_served = there <= 2 * most and best.serves(there, SHOWN[0])
            cells.append(f"{1e3 * best.at(there).percentile(PERCENT):.0f}" if is_served else "-")
        say(f"| {team} | " + " | ".join(cells) + " |")
