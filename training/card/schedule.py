"""The learning rate by the clock: a run ends when its time is up, at a rate of zero, on a machine of any speed."""

from __future__ import annotations

import time
from dataclasses import dataclass

WARM_UP = 0.02
"""Share of the time over which the rate rises."""
DECAY = 0.6
"""Share of the time over which it falls to zero, at the end."""


def rate_at(progress: float, rate: float, fresh: float = 0.0) -> float:
    """The learning rate when a share of the time is over: a rise, a plateau, a straight fall.

    The optimizer began when `fresh` of it was over: the rise is its own.
    """
    rise = min((progress - fresh + 0.1 * WARM_UP) / WARM_UP, 1.0)
    return rate * max(min(rise, (1 - progress) / DECAY), 0.0)


@dataclass(slots=True)
class Clock:
    """How much of the time of a run is over, those parts included that ran before it was stopped."""

    seconds: float
    """In all."""
    before: float = 0.0
    """Of them those that were over when this part began."""
    lead: float = 0.0
    """Of them those that were over before the first step."""
    ending: float = 0.0
    """Of them those that what comes after the last step takes."""
    began: float = 0.0

    def begin(self) -> None:
        """Count from now on."""
        self.began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds that are over."""
        return self.before + time.monotonic() - self.began

    @property
    def progress(self) -> float:
        """The share of the time for steps that is over; 1 and more when there is none left."""
        return (self.elapsed - self.lead) / max(self.seconds - self.ending - self.lead, 1e-9)
