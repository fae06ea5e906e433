"""How long a step of a server takes, and how much it keeps: read from a JSON file, or estimated for a card."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from evaluation.capacity.blocks import BLOCK

FOLDER = Path(__file__).parent / "rates"
"""Rates that are shipped, by name."""

_PARAMETERS, _EMBEDDINGS = 4_019_248_128, 98_304 * 3_072  # Mellum-4b; a token reads one row of the embeddings
_KV_BYTES = 368_640  # of a token, at 16 bits
_BANDWIDTH_REACHED, _FLOPS_REACHED = 0.7, 0.5
_OVERHEAD = 0.002  # seconds of a step: scheduling, launches, sampling
_LEFT, _OTHER_BYTES = 0.9, 3e9  # of the card's memory: for the server; of that, for all but weights and cache


@dataclass(frozen=True, slots=True)
class Rates:
    """What is known of one server on one card."""

    name: str
    source: str
    """Whether this was measured, and how; or what was assumed."""
    steps: tuple[tuple[int, float], ...]
    """Seconds of a step by the number of tokens in it, of all requests together; between these, a straight line."""
    context_seconds: float
    """Seconds a step for each token that was computed before and is read by it."""
    cache_tokens: int
    """Tokens whose states fit into the server's memory."""
    block: int = BLOCK
    """Tokens that the prefix cache knows together."""
    sequences: int = 256
    """Requests that are computed at once at most."""
    batch_tokens: int = 2048
    """Tokens of a step at most: longer prompts are computed in chunks."""

    def seconds(self, tokens: int, context: int) -> float:
        """How long a step of `tokens` takes that reads `context` tokens computed before."""
        counts = [count for count, _ in self.steps]
        at = min(max(bisect_left(counts, tokens), 1), len(counts) - 1)
        (low, first), (high, second) = self.steps[at - 1], self.steps[at]
        return first + (second - first) * (tokens - low) / (high - low) + context * self.context_seconds

    def write(self, file: Path) -> None:
        """Write them as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read(named: str) -> Rates:
    """Rates from a file, or shipped ones by name. Raises ValueError with a sentence."""
    file = FOLDER / f"{named}.json" if not named.endswith(".json") else Path(named)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Rates)}
        rates = Rates(**{**found, "steps": tuple((int(count), float(seconds)) for count, seconds in found["steps"])})
    except OSError as error:
        shipped = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise ValueError(f"There are no rates {named}: name a JSON file, or one of {shipped}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{named} holds no rates; they have the fields {', '.join(sorted(known))}") from error
    counts = [count for count, _ in rates.steps]
    if len(counts) < 2 or counts != sorted(set(counts)):
        raise ValueError(f"{named}: steps must be at least two, by increasing numbers of tokens")
    return rates


def estimated(card: str, bandwidth: float, flops: float, memory: float) -> Rates:
    """Mellum-4b on a card, from its data sheet alone: bytes a second, operations a second at 16 bits, bytes of memory.

    A step reads all weights and all states that its requests have, and computes its tokens; the slower of weights and
    computing counts.
    """
    read_bytes = (_PARAMETERS - _EMBEDDINGS) * 2
    weights = read_bytes / (bandwidth * _BANDWIDTH_REACHED)
    a_token = read_bytes / (flops * _FLOPS_REACHED)  # two operations for a weight of two bytes
    balanced = int(weights / a_token)
    room = memory * _LEFT - _PARAMETERS * 2 - _OTHER_BYTES
    return Rates(
        name=f"Mellum-4b, bfloat16, {card}",
        source=(
            f"estimated from the bandwidth bound, not measured: {bandwidth / 1e12:.3g} TB/s of which "
            f"{_BANDWIDTH_REACHED:.0%} are reached, {flops / 1e12:.0f} TFLOPS of which {_FLOPS_REACHED:.0%}, "
            f"{_OVERHEAD * 1e3:g} ms a step for all else, {_LEFT:.0%} of {memory / 1e9:.0f} GB for the server"
        ),
        steps=(
            (1, round(_OVERHEAD + weights, 6)),
            (balanced, round(_OVERHEAD + weights, 6)),
            (8192, round(_OVERHEAD + 8192 * a_token, 6)),
        ),
        context_seconds=float(f"{_KV_BYTES / (bandwidth * _BANDWIDTH_REACHED):.4g}"),
        cache_tokens=int(room / _KV_BYTES) // BLOCK * BLOCK,
    )


CARDS = {
    "h100": ("H100 SXM 80 GB", 3.35e12, 989e12, 80e9),
    "l40s": ("L40S 48 GB", 0.864e12, 362e12, 48e9),
}
"""By name: card, bytes a second, dense operations a second at 16 bits, bytes of memory, as data sheets have them."""


def ship() -> None:
    """Write the estimates that lie in `rates/`."""
    FOLDER.mkdir(exist_ok=True)
    for name, card in CARDS.items():
        estimated(*card).write(FOLDER / f"{name}.json")
