"""Whether a card computes what it should: logits, text, and the states that the engine keeps there."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine import Cancelled, CompletionRequest, Engine, Suggestion
from engine.decoding.draft import Speculation
from engine.decoding.pickers import pick
from engine.devices import cuda as nvidia
from engine.devices.onnx_runtime import onnxruntime
from engine.devices.providers import captured_output
from engine.model_folders.manifest import GRAPH_FILE, TOKENIZER_FILE
from engine.prompt.tokenizer import Tokenizer as EngineTokenizer
from engine.runtime.session import Model
from evaluation.engine import points
from evaluation.gpu.models import DEFAULT
from evaluation.gpu.records import Recorder
from evaluation.gpu.workplace import Workplace, filled, seconds, tokens
from export.quantization.gptq_data import code_tokens
from export.verify import MODULES, graph_logits, losses

_HALF = 5e-3  # relative error of logits that arithmetic with 16 bits may make
_FOUR_BITS = 0.3  # and that plain rounding to 4 bits may make, random weights included
_FEW = 16  # tokens, of a model that takes the processor a second each
_INTERRUPTIONS = 20
_SOON = 20.0  # milliseconds
_MEGABYTE = 1e6


def check_arithmetic(workplace: Workplace, record: Recorder, title: str) -> None:
    """Every node on the card; logits and greedy text against float32 and against the same graph on the processor."""
    folder = workplace.folder(title)
    record.add(title, *_every_node_on_the_card(str(folder / GRAPH_FILE), workplace), passed=None)
    model = workplace.load(title)
    text = code_tokens(Tokenizer.from_file(str(folder / TOKENIZER_FILE)), MODULES[:1], workplace.sizes.compared)[0]
    got = np.array(graph_logits(model, text))
    references = {"the same graph on the processor": workplace.load(title, "cpu")}
    if title.startswith(f"{DEFAULT} "):
        references["float32 on the processor"] = workplace.load(f"{DEFAULT} fp32", "cpu")
    for name, reference in references.items():
        expected = graph_logits(reference, text)
        error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        quantized = name.startswith("float32") and title.endswith("int4")
        record.at_most(title, f"relative error of logits against {name}", error, _FOUR_BITS if quantized else _HALF)
        same = float((got.argmax(axis=1) == expected.argmax(axis=1)).mean())
        record.add(title, f"the same likeliest token as {name}", same * 100, "%")
        lost = float((losses(got, text) - losses(expected, text)).mean())
        record.add(title, f"nats a token lost against {name}", lost, "nats")
    if len(references) > 1:
        del references["the same graph on the processor"]  # which is the slowest of all
    count = workplace.sizes.greedy if title.startswith(f"{DEFAULT} ") else _FEW
    mine = _greedy(model, text.tolist(), count)
    for name, reference in references.items():
        _compare_text(record, title, name, mine, _greedy(reference, text.tolist(), count))


def check_states(workplace: Workplace, record: Recorder, title: str) -> None:
    """States in place; rewinding; copying a slot; what a step leaves in memory."""
    model = workplace.load(title)
    length = max(workplace.sizes.decode)
    text = tokens(model, length)
    before = nvidia.free_memory()
    slot = model.new_slot(length + 64)
    allocated = nvidia.free_memory()
    filled(model, slot, length)
    first = nvidia.free_memory()
    for step in range(workplace.sizes.steps):
        model.run(slot, [text[step]], [0])
    after = nvidia.free_memory()
    expected = model.manifest.kv_bytes_per_token * (slot.capacity + 1)
    record.add(title, f"state of {slot.capacity} tokens", expected / _MEGABYTE, "MB")
    if before is not None and allocated is not None and first is not None and after is not None:
        record.at_most(title, "memory that its slot takes, in sizes of it", (before - allocated) / expected, 1.3)
        record.add(title, "memory that reading took besides", (allocated - first) / _MEGABYTE, "MB")
        record.at_most(
            title, "memory that decoding took (0: states are in place)", (first - after) / _MEGABYTE, 1, "MB"
        )
    half = length // 2
    slot.keep(half)
    again = np.array(model.run(slot, text[half : half + 16], range(16)))
    fresh = model.new_slot(length + 64)
    filled(model, fresh, half)
    expected_logits = np.array(model.run(fresh, text[half : half + 16], range(16)))
    _same(record, title, "rewound", again, expected_logits)
    fresh.keep(half)
    other = model.new_slot(half + 100)
    took = seconds(lambda: other.copy(fresh, half))
    record.at_least(title, "tokens that a slot of another size takes over from one", float(len(other.tokens)), half)
    record.add(title, f"a copy of {half} tokens", took * 1e3, "ms")
    if len(other.tokens) == half:
        for what, one in (("copied", other), ("copied from, afterwards", fresh)):
            got = np.array(model.run(one, text[half : half + 16], range(16)))
            _same(record, title, what, got, expected_logits)


def check_engine(workplace: Workplace, record: Recorder, title: str) -> None:
    """The whole engine: the same text with drafts as without, and how soon an interruption frees it."""
    folder = workplace.folder(title)
    model = workplace.load(title)
    engine = Engine(model, EngineTokenizer(folder / TOKENIZER_FILE))
    rates = engine.rates
    record.add(title, "measured when loaded: prefill", rates.prefill, "tokens/s")
    record.add(title, "measured when loaded: decode", rates.decode, "tokens/s")
    record.add(title, "longest prompt that it chooses", float(engine.budget.prompt), "tokens")
    requests = list(points(workplace.sizes.points))
    found: dict[bool, list[Suggestion]] = {True: [], False: []}
    took = dict.fromkeys(found, 0.0)
    for index, request in enumerate(requests):
        engine.warm_up(request)
        for drafted in (True, False) if index % 2 else (False, True):
            with _drafts(engine, drafted):
                started = time.perf_counter()
                found[drafted].append(engine.complete(request))
                took[drafted] += time.perf_counter() - started
    same = statistics.mean(a.text == b.text for a, b in zip(found[True], found[False], strict=True))
    record.at_least(title, f"the same text with drafts as without, of {len(requests)} places", same * 100, 90, "%")
    rate = {way: sum(len(one.tokens) for one in found[way]) / took[way] for way in found}
    record.add(title, "tokens a second with drafts, against without", rate[True] / rate[False], "times")
    steps = sum(one.steps for one in found[True])
    record.add(title, "tokens a step with drafts", sum(len(one.tokens) for one in found[True]) / max(steps, 1))
    waits = sorted(_interrupted(engine, requests[index % len(requests)], index) for index in range(_INTERRUPTIONS))
    waits = [wait for wait in waits if wait is not None] or [0.0]
    record.at_most(
        title, f"interrupted to free, p50 of {len(waits)}", statistics.median(waits), _SOON, "ms", speed=True
    )
    record.at_most(title, "interrupted to free, longest", waits[-1], _SOON, "ms", speed=True)


def _every_node_on_the_card(graph: str, workplace: Workplace) -> tuple[str, str]:
    """Open a graph where no node may run on the processor."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    what = "a session in which no node may run on the processor"
    if workplace.dry:
        return what, "not measured: a dry run"
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    with captured_output() as said:
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CUDAExecutionProvider"])
            return what, "opens" if session.get_providers()[0] == "CUDAExecutionProvider" else "opens elsewhere"
        except Exception as error:  # the runtime's own exception classes share no base
            problem = str(error)
    return what, f"does not open: {problem[:300]} {''.join(said)[:300]}"


def _greedy(model: Model, prompt: list[int], count: int) -> list[tuple[int, float, float]]:
    """Write `count` tokens: each with its log probability, and how far the second likeliest is from it, in nats."""
    slot = model.new_slot(len(prompt) + count + 2)
    written: list[tuple[int, float, float]] = []
    pending = prompt
    for _ in range(count):
        logits: NDArray[np.float32] = model.run(slot, pending, [len(pending) - 1])[0]
        second, first = np.partition(logits, -2)[-2:]
        token, log_probability = pick(logits)
        written.append((token, log_probability, float(first - second)))
        pending = [token]
    return written


def _compare_text(
    record: Recorder,
    title: str,
    name: str,
    mine: list[tuple[int, float, float]],
    theirs: list[tuple[int, float, float]],
) -> None:
    same = next((at for at, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a[0] != b[0]), len(mine))
    record.add(title, f"greedy tokens in a row that are those of {name}, of {len(mine)}", float(same), "tokens")
    if same < len(mine):
        gap = theirs[same][2]
        record.add(title, f"how far apart the two likeliest were where {name} differs first", gap, "nats")


def _same(record: Recorder, title: str, what: str, got: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    record.at_most(title, f"relative error of logits from a state that was {what}", error, _HALF)


@contextmanager
def _drafts(engine: Engine, wanted: bool) -> Iterator[None]:
    before = engine._speculation
    if not wanted:
        engine._speculation = Speculation((1.0,))
    try:
        yield
    finally:
        engine._speculation = before


def _interrupted(engine: Engine, request: CompletionRequest, index: int) -> float:
    """Milliseconds from an interruption, at some moment of a completion, until the engine is free."""
    engine._slots._slots.clear()  # nothing is there, so that most of the time it reads
    stop, ended = threading.Event(), [0.0]

    def work() -> None:
        try:
            engine.complete(request, stop.is_set)
        except Cancelled:
            ended[0] = time.perf_counter()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.002 * (index + 1))
    started = time.perf_counter()
    stop.set()
    engine.interrupt()
    thread.join()
    return (ended[0] - started) * 1e3 if ended[0] > started else 0.0
