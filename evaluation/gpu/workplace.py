"""What every step gets: the models, the provider that they run on, and the sizes."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.devices import cuda
from engine.devices.providers import Provider
from engine.model_folders.manifest import Manifest, read_manifest
from engine.runtime.session import Model, Slot
from evaluation.gpu.models import Planned, planned, wait_for

MODEL_WAIT = 60.0


class Missing(Exception):
    """Something that a step needs is not there; its text says what."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many tokens everything has."""

    prefill: tuple[int, ...]
    decode: tuple[int, ...]
    """How many tokens are there already where one more is decoded."""
    widths: tuple[int, ...]
    steps: int
    greedy: int
    """Tokens written one by one to compare the text."""
    compared: int
    """Tokens whose logits are compared."""
    points: int
    """Places that are completed."""
    keys: int
    jumps: int


FULL = Sizes((512, 2048, 8000), (1024, 8000), (1, 2, 4, 8, 16), 32, 256, 256, 24, 100, 30)
SMALL = Sizes((64, 128, 256), (128,), (1, 2, 4), 4, 16, 48, 2, 8, 2)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory."""

    model: Model
    seconds: float
    free_before: int | None
    """Bytes that were free on the card."""


@functools.cache
def load(folder: Path, provider: Provider) -> Loaded:
    """Load a model, once in a process. Raises Missing where it runs elsewhere than it should."""
    before, started = cuda.free_memory(), time.perf_counter()
    model = Model(folder, read_manifest(folder), provider=provider)
    if model.opened.fell_back:
        raise Missing(model.opened.reason)
    return Loaded(model, time.perf_counter() - started, before)


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a step works, and with what."""

    models: Path
    out: Path
    wheels: Path | None
    dry: bool
    """Everything is small, and runs on the processor."""

    @property
    def sizes(self) -> Sizes:
        """Full ones, or small ones for a dry run."""
        return SMALL if self.dry else FULL

    @property
    def provider(self) -> Provider:
        """What graphs for the card run on."""
        return "cpu" if self.dry else "cuda"

    def planned(self) -> dict[str, Planned]:
        """All models by their titles."""
        return planned(self.models, dry=self.dry)

    def folder(self, title: str, *, within: float = MODEL_WAIT) -> Path:
        """A model's folder, once it is made. Raises Missing."""
        place = self.models / self.planned()[title].folder_name
        if not wait_for(place, until=time.monotonic() + within):
            raise Missing(f"{title} was not made in time")
        return place

    def manifest(self, title: str) -> Manifest:
        """What a model says of itself."""
        return read_manifest(self.folder(title))

    def load(self, title: str, provider: Provider | None = None) -> Model:
        """Load a model where it is to be measured. Raises Missing where it runs elsewhere."""
        return self.loaded(title, provider).model

    def loaded(self, title: str, provider: Provider | None = None) -> Loaded:
        """The same, with what loading took; a process loads a model once."""
        return load(self.folder(title), provider or self.provider)


def tokens(model: Model, count: int) -> list[int]:
    """Some tokens of a model's vocabulary, none of them special."""
    return [300 + 7 * index % (model.manifest.vocabulary - 300) for index in range(count)]


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def median_seconds(function: Callable[[], object], times: int) -> float:
    """The median of some calls, after one that does not count."""
    function()
    return statistics.median(seconds(function) for _ in range(times))


def filled(model: Model, slot: Slot, count: int, chunk: int = 1024) -> None:
    """Let a slot hold `count` tokens."""
    slot.keep(0)
    text = tokens(model, count)
    for start in range(0, count, chunk):
        part = text[start : start + chunk]
        model.run(slot, part, [len(part) - 1])
