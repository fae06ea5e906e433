"""How fast models run on a card, beside what its memory allows: reading, writing, verifying, and loading."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx

from engine.decoding.pickers import pick
from engine.devices import cuda as nvidia
from engine.devices.providers import try_provider
from engine.model_folders.manifest import GRAPH_FILE, MANIFEST_FILE, TOKENIZER_FILE, Manifest
from engine.runtime.benchmark import benchmark
from engine.runtime.session import PICKED, PICKED_SURELY, Model, Slot
from evaluation.gpu.models import LARGE
from evaluation.gpu.records import Recorder, read
from evaluation.gpu.workplace import Workplace, filled, load, median_seconds, seconds, tokens
from export.graph.writer import DATA_FILE

CARD = "the card"
COMPUTES = "CUDA computes"
BANDWIDTH = "a copy on the card, bytes read and written"
_GIGABYTE, _MEGABYTE = 1e9, 1e6
_COPIED = 2 << 30  # bytes
_GOALS = {"fp16": 1.5, "int4": 2.5}  # a decoded token, in times of the bandwidth bound
_READING, _VERIFYING = 20_000, 1.3
_AT = 2048


def describe_card(workplace: Workplace, record: Recorder) -> None:
    """Which card, driver and libraries there are, whether CUDA computes, and how fast its memory is."""
    card = nvidia.card()
    record.add(CARD, "name", card.name if card else "no NVIDIA card")
    if card is not None:
        record.add(CARD, "driver, and the CUDA that it runs", f"{card.driver}, {card.cuda}")
        record.add(CARD, "memory", card.memory / _GIGABYTE, "GB")
        record.add(CARD, "memory that is free", card.free / _GIGABYTE, "GB")
    record.add(CARD, "CUDA that ONNX Runtime was built for", nvidia.wanted())
    for library in nvidia.load_libraries():
        record.add(CARD, library.name, str(library.path or ("by the system" if library.loaded else "not found")))
    attempt = try_provider("cuda")
    record.add(CARD, COMPUTES, attempt.failure or "yes", passed=None if workplace.dry else not attempt.failure)
    if attempt.failure and not workplace.dry:
        record.add(CARD, "what its libraries say", attempt.output[:1000])
    _bandwidth(record)


def _bandwidth(record: Recorder) -> None:
    try:
        import torch
    except ImportError:
        record.add(CARD, BANDWIDTH, "not measured: torch is not installed")
        return
    record.add(CARD, "torch, and its CUDA", f"{torch.__version__}, {torch.version.cuda}")
    if not torch.cuda.is_available():
        record.add(CARD, BANDWIDTH, "not measured: torch finds no card")
        return
    source = torch.randint(0, 255, (_COPIED,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    for _ in range(3):
        target.copy_(source)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(10):
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    record.add(CARD, BANDWIDTH, 2 * _COPIED / float(np.median(times)) / _GIGABYTE, "GB/s")


def measure_rates(workplace: Workplace, record: Recorder, title: str) -> None:
    """Load, memory, prefill, decode and verification of a model."""
    loaded = workplace.loaded(title)
    model, before = loaded.model, loaded.free_before
    record.add(title, "load", loaded.seconds, "s")
    sizes = workplace.sizes
    longest = max(*sizes.prefill, *sizes.decode) + max(sizes.widths) + sizes.steps + 2
    slot = model.new_slot(min(longest, model.manifest.context))
    text = tokens(model, longest)
    model.run(slot, text[:8], [7])
    for count in sizes.prefill:
        slot.keep(0)
        model.run(slot, text[:count], [count - 1])
        slot.keep(0)
        rate = count / seconds(lambda count=count: model.run(slot, text[:count], [count - 1]))  # type: ignore[misc]
        if title == f"{LARGE} fp16" and count == _AT:
            record.at_least(title, f"prefill of {count} tokens at once", rate, _READING, "tokens/s", speed=True)
        else:
            record.add(title, f"prefill of {count} tokens at once", rate, "tokens/s")
    after = nvidia.free_memory()
    if before is not None and after is not None and not workplace.dry:
        record.add(title, "memory on the card after reading and what came before", (before - after) / _GIGABYTE, "GB")
    weights = read_bytes(workplace, title, model.manifest)
    record.add(title, "weights that a token reads", weights / _GIGABYTE, "GB")
    for count in sizes.decode:
        filled(model, slot, count)
        _decode(workplace, record, title, model, slot_length=count, weights=weights, slot=slot)
    if model.on_card:
        rates = benchmark(model)
        record.add(title, "prefill as measured at every load", rates.prefill, "tokens/s")
    row = np.array(model.run(slot, [text[0]], [0])[0])
    scratch = np.empty_like(row)
    record.add(
        title, "finding the likeliest token in Python", median_seconds(lambda: pick(row, scratch), 20) * 1e3, "ms"
    )


def _decode(
    workplace: Workplace, record: Recorder, title: str, model: Model, *, slot: Slot, slot_length: int, weights: int
) -> None:
    """Steps of several widths after so many tokens, against the bandwidth bound."""
    text = tokens(model, max(workplace.sizes.widths))
    times: dict[int, float] = {}
    for width in workplace.sizes.widths:
        times[width] = median_seconds(
            lambda width=width: _step(model, slot, slot_length, text[:width]),  # type: ignore[misc]
            workplace.sizes.steps,
        )
    record.add(title, f"decode after {slot_length} tokens", times[1] * 1e3, "ms")
    bandwidth = next((one.value for one in read(workplace.out) if one.what == BANDWIDTH), None)
    if isinstance(bandwidth, float):
        bound = (weights + slot_length * model.manifest.kv_bytes_per_token) / (bandwidth * _GIGABYTE)
        record.add(title, f"the same, if memory alone counted ({slot_length})", bound * 1e3, "ms")
        times_bound = times[1] / bound
        goal = _GOALS[model.manifest.quantization] if title.startswith(LARGE) else None
        if goal is not None and slot_length == min(workplace.sizes.decode):
            record.at_most(title, f"decode after {slot_length}, in times of that", times_bound, goal, speed=True)
        else:
            record.add(title, f"decode after {slot_length}, in times of that", times_bound)
    if model.picks:
        model.picks = False
        for width in (1, 8):
            took = median_seconds(
                lambda width=width: _step(model, slot, slot_length, text[:width]),  # type: ignore[misc]
                workplace.sizes.steps,
            )
            what = f"a step of {width} after {slot_length}, all logits searched on the processor, in times of that"
            record.add(title, what, took / times[width])
        model.picks = True
    for width in workplace.sizes.widths[1:]:
        what, cost = f"a step of {width} tokens after {slot_length}, in steps of one", times[width] / times[1]
        if width == 8 and title.startswith(LARGE):
            record.at_most(title, what, cost, _VERIFYING, speed=True)
        else:
            record.add(title, what, cost)


def measure_without_picks(workplace: Workplace, record: Recorder, title: str) -> None:
    """The same graph without what picks tokens on the card: what that costs there, and what it saves."""
    folder = without_picks(workplace.folder(title))
    model = load(folder, workplace.provider).model
    count = min(workplace.sizes.decode)
    slot = model.new_slot(count + max(workplace.sizes.widths) + 2)
    filled(model, slot, count)
    text = tokens(model, max(workplace.sizes.widths))
    for width in workplace.sizes.widths:
        took = median_seconds(
            lambda width=width: _step(model, slot, count, text[:width]),  # type: ignore[misc]
            workplace.sizes.steps,
        )
        record.add(title, f"a step of {width} after {count}, of a graph that picks nothing", took * 1e3, "ms")


def without_picks(folder: Path) -> Path:
    """A copy of a model's folder, with the same weights, whose graph ends with logits."""
    place = folder.with_name(f"{folder.name}-logits-only")
    if (place / MANIFEST_FILE).is_file():
        return place
    place.mkdir(exist_ok=True)
    for name in (DATA_FILE, TOKENIZER_FILE, MANIFEST_FILE):
        (place / name).unlink(missing_ok=True)
        os.link(folder / name, place / name)
    model = onnx.load(str(folder / GRAPH_FILE), load_external_data=False)
    for values in (model.graph.node, model.graph.output):
        kept = [one for one in values if not {PICKED, PICKED_SURELY, "log_probabilities"} & _names(one)]
        del values[:]
        values.extend(kept)
    (place / GRAPH_FILE).write_bytes(model.SerializeToString())
    return place


def _names(part: onnx.NodeProto | onnx.ValueInfoProto) -> set[str]:
    return set(part.output) if isinstance(part, onnx.NodeProto) else {part.name}


def _step(model: Model, slot: Slot, length: int, tokens: list[int]) -> None:
    """Run some tokens after so many others, and find the likeliest next one after each, as the engine does."""
    slot.keep(length)
    predictions = model.predict(slot, tokens, range(len(tokens)))
    for row in range(len(tokens)):
        if predictions.likeliest(row) is None:
            pick(predictions.logits[row])


def read_bytes(workplace: Workplace, title: str, manifest: Manifest) -> int:
    """Bytes of weights that every token reads: all but the embeddings, of which it reads one row."""
    embeddings = manifest.vocabulary * manifest.hidden * 2
    return (workplace.folder(title) / DATA_FILE).stat().st_size - embeddings
