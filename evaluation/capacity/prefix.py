"""Which share of prompt tokens a prefix cache hits while functions are typed, why the rest is missed, and by layout."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.runtime.kv_shift import common_prefix
from evaluation.capacity.blocks import BLOCK, BlockCache, chain
from evaluation.capacity.layouts import Layout
from evaluation.capacity.trace import Tokens, Typed
from evaluation.capacity.typist import sent

_NEAR_THE_END = 2 * BLOCK  # tokens: what a key changes


@dataclass(slots=True)
class Share:
    """Prompt tokens of all requests, and what became of them."""

    requests: int = 0
    tokens: int = 0
    hit: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    """Tokens by why they were missed."""

    @property
    def share(self) -> float:
        """Of all prompt tokens, those that were cached."""
        return self.hit / max(self.tokens, 1)

    @property
    def computed(self) -> float:
        """Tokens that a request computes, on average."""
        return (self.tokens - self.hit) / max(self.requests, 1)


def walk(typed: Typed, latency: float | None) -> list[int]:
    """Where requests are made: at each character, or as a typist sends them where an answer takes `latency` seconds."""
    if latency is None:
        return list(range(len(typed.places)))
    return [request.written for request in sent(typed, latency)]


class Prompts:
    """All prompts of a trace in one layout, with their blocks."""

    def __init__(self, trace: Sequence[Typed], layout: Layout, block: int = BLOCK) -> None:
        self.trace, self.block = trace, block
        self.tokens = [[layout(typed, written) for written in range(len(typed.places))] for typed in trace]
        self.chains = [[chain(prompt, block) for prompt in of_one] for of_one in self.tokens]


def measure(
    prompts: Prompts,
    *,
    latency: float | None,
    users: int,
    cache: int,
) -> Share:
    """Let `users` type at once, each all functions in an order of its own, into one cache of `cache` tokens.

    Users share no block: each types into a project of its own. Their requests take turns.
    """
    walks = [[(index, place) for place in walk(typed, latency)] for index, typed in enumerate(prompts.trace)]
    orders = [walks[user % len(walks) :] + walks[: user % len(walks)] for user in range(users)]
    queues = [[key for of_one in order for key in of_one] for order in orders]
    store, share = BlockCache(cache, prompts.block), Share()
    last: list[tuple[int, Tokens]] = [(-1, ())] * users
    for turn in range(max(map(len, queues))):
        for user, queue in enumerate(queues):
            if turn >= len(queue):
                continue
            function, written = queue[turn]
            tokens, blocks = prompts.tokens[function][written], prompts.chains[function][written]
            owner = hash((user, function))
            hit = store.hit(blocks, len(tokens), owner)
            store.add(blocks, len(tokens), owner)
            share.requests += 1
            share.tokens += len(tokens)
            share.hit += hit
            _explain(share.missed, tokens, hit, last[user][1] if last[user][0] == function else None)
            last[user] = function, tokens
    return share


def _explain(missed: Counter[str], tokens: Tokens, hit: int, before: Tokens | None) -> None:
    """Say why tokens were missed, by what the prompt shares with the one before it in the same function."""
    if before is None:
        missed["a new place"] += len(tokens) - hit
        return
    common = common_prefix(before, tokens)
    missed["evicted, or the rest of a block"] += max(common - hit, 0)
    new = len(tokens) - max(common, hit)
    missed["typed" if new <= _NEAR_THE_END else "the window moved, or the snippets or the suffix changed"] += new


def table(
    trace: Sequence[Typed], layouts: dict[str, Layout], *, latency: float, cache: int, say: Callable[[str], None]
) -> None:
    """Print the share for each layout: at every key, as sent, and with many users in one cache."""
    say(f"| layout | tokens a prompt | hit, at every key | hit, as sent | computed a request | {cache} tokens, users |")
    say("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, layout in layouts.items():
        prompts = Prompts(trace, layout)
        every = measure(prompts, latency=None, users=1, cache=cache)
        as_sent = measure(prompts, latency=latency, users=1, cache=cache)
        crowd = {users: measure(prompts, latency=latency, users=users, cache=cache) for users in (16, 64, 128, 256)}
        shared = ", ".join(f"{users}: {one.share:.1%}" for users, one in crowd.items())
        say(
            f"| {name} | {every.tokens / every.requests:.0f} | {every.share:.1%} | {as_sent.share:.1%} | "
            f"{as_sent.computed:.0f} | {shared} |"
        )
        for why, tokens in as_sent.missed.most_common():
            say(f"|   missed, as sent: {why} | | | {tokens / as_sent.tokens:.1%} | {tokens / as_sent.requests:.0f} | |")


def lines_of_requests(trace: Sequence[Typed], latency: float, block: int = BLOCK) -> Iterator[dict[str, Any]]:
    """The requests of one user who types all functions, one after the other, with an unlimited cache."""
    store, begun = BlockCache(1 << 40, block), 0.0
    for number, typed in enumerate(trace):
        for request in sent(typed, latency):
            place = typed.places[request.written]
            blocks = chain(place.prompt, block)
            hit = store.hit(blocks, len(place.prompt), number)
            store.add(blocks, len(place.prompt), number)
            yield {
                "at": round(begun + request.at, 3),
                "function": typed.name,
                "written": request.written,
                "prompt": len(place.prompt),
                "hit": hit,
                "decoded": place.decoded,
                "cancelled": None if math.isinf(request.cancelled) else round(request.cancelled, 3),
            }
        begun += sum(typed.pauses)
