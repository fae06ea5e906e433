"""llama.cpp's server as a model: a slot for each developer, which keeps the last prompt there, token by token."""

from __future__ import annotations

from evaluation.capacity.blocks import Chain
from evaluation.capacity.rates import Rates
from evaluation.capacity.server import Job, Server

_NOTHING: tuple[int, Chain] = (0, ())


class Slots:
    """What each slot holds. Prompts must be known by blocks of one token."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[int, Chain]] = {}

    def hit(self, job: Job) -> int:
        """What the prompt has in common with the one before in its slot."""
        owner, held = self._held.get(job.slot, _NOTHING)
        most = min(len(held), job.length - 1) if owner == job.owner else 0
        low, high = 0, most  # a token's name stands for all before it, too
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if held[middle - 1] == job.blocks[middle - 1] else (low, middle - 1)
        return low

    def add(self, job: Job) -> None:
        """Keep what is computed of it, in place of what was there."""
        self._held[job.slot] = job.owner, job.blocks[: job.computed]


class SlotServer(Server):
    """A request waits for its own slot, and a closed connection is seen when a token cannot be sent.

    That is the second one: the first is what lets the other side say that it has closed.
    """

    def __init__(self, rates: Rates) -> None:
        super().__init__(rates, Slots())
        self._closed: dict[Job, int] = {}
        """Requests whose connection is closed, with the tokens that were sent since then."""
        self.tokens_until_seen = 2

    def may_start(self, job: Job, running: list[Job]) -> bool:
        """Whether its slot is free."""
        return all(other.slot != job.slot for other in running)

    def leave(self, job: Job) -> None:
        """Remember that the connection is closed."""
        self._closed[job] = 0

    def end_step(self) -> list[Job]:
        """Take over what was computed; requests with all tokens leave, and those that could not send one."""
        before = {job: job.decoded for job, _ in self._planned}
        finished = super().end_step()
        is_closed = set(self._closed)
        for job, decoded in before.items():
            if job in self._closed and job.decoded > decoded:
                self._closed[job] += 1
            if job.decoded == job.wanted or self._closed.get(job) == self.tokens_until_seen:
                job.is_cancelled = True
                self._closed.pop(job, None)
        return [job for job in finished if job not in is_closed]
