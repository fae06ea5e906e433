"""Which of the known models to take on this machine, and why not a better one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.runtime.thread_count import READ, Measurement
from export.architecture import Architecture
from export.known_models.machine import Machine
from export.known_models.predictions import Prediction, predict
from export.known_models.shape_costs import ServedFormat, ShapeCosts, layer_bytes, weight_bytes
from export.known_models.table import KnownModel

Measure = Callable[[Architecture, ServedFormat], ShapeCosts]
_VERIFY, _LOAD_BYTE = 2.2, 1.5e-9  # of the default model on two cores with AVX2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a recommended model takes at most."""

    typing: float = 0.5
    """Seconds to a suggestion while typing, for nine in ten: JetBrains' target for Mellum."""
    jump: float = 1.5
    """Seconds at a new place, where one looks around before one types."""
    share_of_memory: float = 0.5
    """Of all memory: the editor, the browser and the project need the rest."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A model in the format that it would use, and what speaks against it; an empty text: nothing."""

    model: KnownModel
    prediction: Prediction
    against: str
    why_format: str


@dataclass(frozen=True, slots=True)
class Advice:
    """All estimates in the table's order, the recommended one, and why it is recommended."""

    estimates: tuple[Estimate, ...]
    chosen: Estimate
    why: str


def advise(
    models: Sequence[KnownModel], machine: Machine, measure: Measure, *, limits: Limits, language: str = ""
) -> Advice:
    """Estimate every model; take the last that keeps the limits, else the first, which is the smallest.

    int8 loses less than int4, so int4 is used only where it keeps a limit that int8 does not: of memory, or while
    typing; it reads prompts more slowly. `language`: an LSP language id; models that were tuned for another language
    alone are not recommended.
    """
    estimates = tuple(_estimate(model, machine, measure, limits, language) for model in models)
    able = [one for one in estimates if not one.against]
    chosen = able[-1] if able else estimates[0]
    after = estimates[estimates.index(chosen) + 1 :]
    better = [one for one in after if one.model.quality and _is_for(one.model, language)]
    if not able:
        why = "nothing here keeps all limits, and it is the smallest"
    elif not better:
        why = "it is the most preferred of those that are known here, and this machine is fast enough for it"
    else:
        why = f"it is the most preferred that keeps the limits; {better[0].model.name} does not: {better[0].against}"
    return Advice(estimates, chosen, why)


def scaled(model: KnownModel, measured: Measurement) -> Measure:
    """Costs of other shapes by what a whole model took here, int8, in proportion to their weights.

    Needs no time, and is too careful for large models, whose larger products are faster by the byte.
    """
    byte = measured.step / weight_bytes(model.shape, "int8")
    read = measured.prefill / READ / layer_bytes(model.shape, "int8") / model.shape.layers

    def measure(shape: Architecture, format: ServedFormat) -> ShapeCosts:
        layer = layer_bytes(shape, "int8")
        return ShapeCosts(format, read * layer, byte * layer, _VERIFY, _LOAD_BYTE, byte)

    return measure


def _estimate(model: KnownModel, machine: Machine, measure: Measure, limits: Limits, language: str) -> Estimate:
    prediction = predict(model.shape, measure(model.shape, "int8"), machine)
    against = _against(model, prediction, machine, limits)
    why_format = "it loses least" + ("" if against else ", and this machine is fast enough for it")
    if against and prediction.jump <= limits.jump:
        smaller = predict(model.shape, measure(model.shape, "int4"), machine)
        against_smaller = _against(model, smaller, machine, limits)
        if not against_smaller:
            why_format, prediction, against = f"as int8, {against}", smaller, ""
    if not against and not _is_for(model, language):
        against = f"it is tuned for {model.languages} alone (--language {model.only_for} takes it into account)"
    if not against and not model.quality:
        against = "how good it is was not measured"
    return Estimate(model, prediction, against, why_format)


def _is_for(model: KnownModel, language: str) -> bool:
    return model.only_for in ("", language)


def _against(model: KnownModel, prediction: Prediction, machine: Machine, limits: Limits) -> str:
    """The first limit that a model breaks."""
    memory, disk = limits.share_of_memory * machine.memory, machine.free_disk
    needed = prediction.disk + (0 if model.is_embedded else model.download_megabytes * 1e6)
    if prediction.memory > memory:
        return f"it takes {prediction.memory / 1e9:.1f} GB of memory, and half of this machine's is {memory / 1e9:.1f}"
    if prediction.typing_slow > limits.typing:
        return f"one suggestion in ten takes {prediction.typing_slow:.1f} s while typing, more than {limits.typing:g} s"
    if prediction.jump > limits.jump:
        return f"a suggestion at a new place takes {prediction.jump:.1f} s, more than {limits.jump:g} s"
    if needed > disk:
        return f"it needs {needed / 1e9:.1f} GB of disk, and {disk / 1e9:.1f} are free"
    return ""
