"""Developers at one server, event by event: keys, requests, steps of the server, answers, and connections that close.

Each developer types functions of a trace in an order of their own, and rests between two so that typing takes a given
share of the time. Nothing is random but the orders and the starts, which the seed decides.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from evaluation.capacity.blocks import chain
from evaluation.capacity.rates import Rates
from evaluation.capacity.server import Job, NoCache, Server, SharedBlocks
from evaluation.capacity.trace import Typed
from evaluation.capacity.typist import Typist


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for all developers."""

    typing: float = 0.2
    """The share of the time in which a developer types."""
    network: float = 0.02
    """Seconds of a round trip between developer and server."""
    prefix_caching: bool = True
    cancellation: bool = True
    """Whether the next key closes the connection of a request; else it is computed to its end."""
    seconds: float = 90.0
    """How long is simulated."""
    settled: float = 30.0
    """Requests before this time are not counted: the cache fills."""
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What became of the requests."""

    times: list[tuple[float, bool]] = field(default_factory=list)
    """Of each request: seconds until its answer or until it was cancelled, and whether it was answered."""
    in_time: int = 0
    """Answers that came before the next key."""
    prompt_tokens: int = 0
    hit_tokens: int = 0
    computed_tokens: int = 0
    decoded_tokens: int = 0
    busy: float = 0.0
    """Seconds in which the server computed."""
    seconds: float = 0.0

    @property
    def shown(self) -> float:
        """The share of requests that were answered before the next key."""
        return self.in_time / max(len(self.times), 1)

    def percentile(self, percent: float) -> float:
        """The time within which so many percent of requests are answered, or would be: see `time_within`."""
        return time_within(self.times, percent / 100)


def time_within(times: Sequence[tuple[float, bool]], share: float) -> float:
    """The time within which this share of requests is answered, where some were cancelled before (Kaplan-Meier).

    A cancelled request says that its answer would have taken longer than it waited. Infinite where the share is not
    reached: nothing waited for long enough.
    """
    waiting, left = len(times), 1.0
    for seconds, answered in sorted(times, key=lambda one: (one[0], not one[1])):
        if answered:
            left *= 1 - 1 / waiting
            if left <= 1 - share + 1e-12:
                return seconds
        waiting -= 1
    return float("inf")


class Simulation:
    """One server and its developers. `server`: another than the one that the conditions describe."""

    def __init__(
        self,
        trace: Sequence[Typed],
        developers: int,
        rates: Rates,
        conditions: Conditions,
        server: Server | None = None,
    ) -> None:
        self.trace, self.conditions = trace, conditions
        self.chains = [[chain(place.prompt, rates.block) for place in typed.places] for typed in trace]
        self.outcome = Outcome(seconds=conditions.seconds)
        self._server = server or Server(rates, SharedBlocks(rates) if conditions.prefix_caching else NoCache())
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._is_busy = False
        chance = random.Random(conditions.seed)
        self._developers = [Developer(number, random.Random(chance.random()), self) for number in range(developers)]

    def at(self, time: float, act: Callable[[float], None]) -> None:
        """Let something happen; what is to happen at the same time does so in the order in which it was said."""
        heapq.heappush(self._events, (time, next(self._order), act))

    def run(self) -> Outcome:
        """Simulate until the time is over; requests that wait then count as cancelled."""
        while self._events and self._events[0][0] <= self.conditions.seconds:
            now, _, act = heapq.heappop(self._events)
            act(now)
        for developer in self._developers:
            developer.give_up(self.conditions.seconds)
        server, outcome = self._server, self.outcome
        outcome.prompt_tokens, outcome.hit_tokens = server.prompt_tokens, server.hit_tokens
        outcome.computed_tokens, outcome.decoded_tokens = server.computed_tokens, server.decoded_tokens
        return outcome

    def send(self, job: Job, now: float) -> None:
        """Send a request; it arrives half a round trip later."""

        def arrive(now: float) -> None:
            self._server.arrive(job)
            self._step(now)

        self.at(now + self.conditions.network / 2, arrive)

    def close(self, job: Job, now: float) -> None:
        """Close a request's connection; the server sees it half a round trip later, between two steps."""
        if self.conditions.network == 0:
            self._server.leave(job)
        else:
            self.at(now + self.conditions.network / 2, lambda now: self._server.leave(job))

    def _step(self, now: float) -> None:
        if self._is_busy or (seconds := self._server.begin_step()) is None:
            return
        self._is_busy = True
        self.outcome.busy += seconds

        def end(now: float) -> None:
            self._is_busy = False
            for job in self._server.end_step():
                self.at(now + self.conditions.network / 2, partial(self._developers[job.slot].answered, job))
            self.at(now, self._step)  # after what happens at this moment

        self.at(now + seconds, end)


class Life:
    """What one developer does when: which functions, in which order, and for how long they rest between two."""

    def __init__(self, trace: Sequence[Typed], chance: random.Random, conditions: Conditions) -> None:
        self._trace, self._chance, self._typing = trace, chance, conditions.typing
        self._order = chance.sample(range(len(trace)), len(trace))
        mean = statistics.fmean(sum(typed.pauses) for typed in trace)
        at = chance.uniform(0, mean / conditions.typing)  # of typing and rest, as if all had begun long ago
        self.first = chance.uniform(0, 1) if at < mean else at - mean
        """When the first function is begun, or gone on with."""
        self._skipped = at / mean if at < mean else 0.0
        self.function = 0

    def begin(self) -> Typist:
        """Begin the next function."""
        self.function = self._order[0]
        self._order = [*self._order[1:], self.function]
        typist = Typist(self._trace[self.function])
        typist.written = int(self._skipped * len(typist.typed.text))
        return typist

    def rest(self, took: float) -> float:
        """Seconds of rest after a function that took so long."""
        whole, self._skipped = took / (1 - self._skipped), 0.0
        return whole * (1 - self._typing) / self._typing * self._chance.uniform(0.5, 1.5)


class Developer:
    """One who types and rests in turns, with one request at a time that matters."""

    def __init__(self, number: int, chance: random.Random, simulation: Simulation) -> None:
        self._number, self._simulation = number, simulation
        self._life = Life(simulation.trace, chance, simulation.conditions)
        self._typist: Typist | None = None
        self._asked: dict[Job, float] = {}
        """Requests without an answer, and when they were sent; the last one is the one that matters."""
        self._begun, self._began = 0, 0.0
        simulation.at(self._life.first, self._begin)

    def answered(self, job: Job, now: float) -> None:
        """See the last token of a request that is needed, and close its connection."""
        self._simulation.close(job, now)
        if (asked := self._asked.pop(job, None)) is None:
            return  # it was cancelled meanwhile
        self._count(asked, now, answered=True)
        if self._typist is not None and job is self._current:
            self._typist.answered(now)
            self._simulation.outcome.in_time += asked >= self._simulation.conditions.settled

    def give_up(self, now: float) -> None:
        """End: what waits is counted as cancelled."""
        for asked in self._asked.values():
            self._count(asked, now, answered=False)
        self._asked.clear()

    def _begin(self, now: float) -> None:
        self._typist, self._began = self._life.begin(), now
        self._begun += 1
        self._ask(now, self._typist)
        self._simulation.at(now + self._typist.pause, self._key)

    def _key(self, now: float) -> None:
        typist = self._typist
        assert typist is not None
        asks = typist.key(now)
        if self._simulation.conditions.cancellation and (asks or typist.is_done):
            for job in self._asked:
                self._simulation.close(job, now)
            self.give_up(now)
        if typist.is_done:
            self._typist = None
            self._simulation.at(now + self._life.rest(now - self._began), self._begin)
            return
        if asks:
            self._ask(now, typist)
        self._simulation.at(now + typist.pause, self._key)

    def _ask(self, now: float, typist: Typist) -> None:
        blocks = self._simulation.chains[self._life.function][typist.written]
        owner = hash((self._number, self._begun))  # of a function that is begun, nothing is cached
        place = typist.place
        self._current = Job(owner, self._number, blocks, len(place.prompt), max(place.decoded, 1))
        self._asked[self._current] = now
        self._simulation.send(self._current, now)

    def _count(self, asked: float, now: float, *, answered: bool) -> None:
        if asked >= self._simulation.conditions.settled:
            self._simulation.outcome.times.append((now - asked, answered))
