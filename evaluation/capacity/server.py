"""A server with continuous batching, as a model: what it computes in each step, and what its prefix cache keeps.

A step has a token of each request that writes, and chunks of prompts up to a number of tokens. Requests are admitted in
the order in which they came; what the prefix cache has of a prompt is looked up then. Cancelled requests leave between
two steps, and what was computed of their prompts stays cached.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from evaluation.capacity.blocks import BlockCache, Chain
from evaluation.capacity.rates import Rates


@dataclass(slots=True, eq=False)
class Job:
    """A request at the server."""

    owner: int
    """Whose prompt it is: those of different owners share nothing."""
    slot: int
    """Which developer sent it."""
    blocks: Chain
    length: int
    """Tokens of its prompt."""
    wanted: int
    """Tokens to be decoded."""
    hit: int = 0
    computed: int = 0
    """Tokens of the prompt whose state is there."""
    decoded: int = 0
    is_cancelled: bool = False
    """Whether the server computes no more of it."""


class Cache(Protocol):
    """What a server keeps of earlier prompts."""

    def hit(self, job: Job) -> int:
        """How many tokens of the job's prompt are there; its last one never is."""

    def add(self, job: Job) -> None:
        """Keep what is computed of it."""


class NoCache:
    """Every prompt is computed whole."""

    def hit(self, job: Job) -> int:
        """Nothing."""
        return 0

    def add(self, job: Job) -> None:
        """Nothing."""


class SharedBlocks:
    """vLLM's: blocks in one memory for all."""

    def __init__(self, rates: Rates) -> None:
        self._blocks = BlockCache(rates.cache_tokens, rates.block)

    def hit(self, job: Job) -> int:
        """The blocks from the prompt's start that are there."""
        return self._blocks.hit(job.blocks, job.length, job.owner)

    def add(self, job: Job) -> None:
        """Its whole blocks."""
        self._blocks.add(job.blocks, job.computed, job.owner)


class Server:
    """The state between two steps. `cache`: what it keeps; `rates`: its limits, and what a step costs."""

    def __init__(self, rates: Rates, cache: Cache) -> None:
        self._rates, self._cache = rates, cache
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._planned: list[tuple[Job, int]] = []
        self.prompt_tokens = self.hit_tokens = self.computed_tokens = self.decoded_tokens = 0

    def arrive(self, job: Job) -> None:
        """Queue a request."""
        self._waiting.append(job)

    def begin_step(self) -> float | None:
        """Plan the next step; returns its seconds, or None where there is nothing to compute."""
        if any(job.is_cancelled for job in self._running):
            self._running = [job for job in self._running if not job.is_cancelled]
        writing = [job for job in self._running if job.computed == job.length]
        reading = [job for job in self._running if job.computed < job.length]
        plan = [(job, 1) for job in writing]
        left = self._rates.batch_tokens - len(plan)
        for job in reading:
            left -= self._read(job, left, plan)
        passed_over: list[Job] = []
        while self._waiting and left > 0 and len(self._running) < self._rates.sequences:
            job = self._waiting.popleft()
            if job.is_cancelled:
                continue
            if not self.may_start(job, self._running):
                passed_over.append(job)
                continue
            job.hit = job.computed = self._cache.hit(job)
            self.prompt_tokens += job.length
            self.hit_tokens += job.hit
            self._running.append(job)
            left -= self._read(job, left, plan)
        self._waiting.extendleft(reversed(passed_over))
        self._planned = plan
        if not plan:
            return None
        context = sum(job.computed + job.decoded for job, _ in plan)
        return self._rates.seconds(sum(count for _, count in plan), context)

    def end_step(self) -> list[Job]:
        """Take over what the step has computed; returns the requests that got their last token."""
        finished = []
        for job, count in self._planned:
            if job.computed < job.length:
                job.computed += count
                self.computed_tokens += count
                self._cache.add(job)
            if job.computed == job.length:
                job.decoded += 1
                self.decoded_tokens += 1
                if job.decoded == job.wanted:
                    finished.append(job)
        return finished

    def leave(self, job: Job) -> None:
        """Take a request out: its connection is closed."""
        job.is_cancelled = True

    def may_start(self, job: Job, running: list[Job]) -> bool:
        """Whether a request may be computed beside those that are."""
        return True

    @staticmethod
    def _read(job: Job, left: int, plan: list[tuple[Job, int]]) -> int:
        count = min(job.length - job.computed, left)
        if count > 0:
            plan.append((job, count))
        return max(count, 0)
