"""What slots, drafts, cancellation and the gate are worth, as ratios of one run: `python -m evaluation.engine`.

Prints: what a step of 8 tokens costs against one, and one after a long prompt against a short one, and copying a
token's state against computing it; a jump back to a place seen before against a keystroke; milliseconds from a
cancellation to a free engine; tokens a second with drafts against without, and at how many places text and
probabilities are the same; Python's share of a step; and what each eagerness shows. The points are the ends of random
words in functions of the standard library. `--model` names another model; `--drafts --points 500` compares with and
without drafts at 500 places, and measures nothing else. Imports the engine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from engine import Cancelled, CompletionRequest, Engine, Suggestion
from engine.decoding.draft import Speculation
from engine.model_folders.locations import find_model
from engine.runtime.kv_slots import Slots
from evaluation.latency import source_files
from lsp_server.configuration.settings import CONFIDENCES

_JUMPS, _CANCELLATIONS = 24, 40


def main() -> None:
    """Measure one after the other, each against its like in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's name or folder")
    parser.add_argument("--points", type=int, default=100, help="how many places to complete with and without drafts")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the longest prompt")
    parser.add_argument("--drafts", action="store_true", help="only complete with and without drafts")
    arguments = parser.parse_args()
    engine = Engine.load(find_model(arguments.model), prompt_tokens=arguments.prompt)
    requests = list(points(arguments.points))
    if arguments.drafts:
        _speculation(engine, requests)
        return
    _steps(engine)
    _jumps(engine, requests[:_JUMPS])
    _cancellations(engine, requests)
    plain = _speculation(engine, requests)
    _overhead(engine, requests[: len(requests) // 4])
    _eagerness(engine, requests, plain)


def points(count: int) -> Iterator[CompletionRequest]:
    """Places after random words of code, indented as function bodies are, in files of the standard library.

    What stood after the cursor on its line is gone, as if it were still to be written.
    """
    chance = random.Random(5)
    texts = {file.name: file.read_bytes().decode() for file in source_files()}
    while count:
        name, text = chance.choice(list(texts.items()))
        offset = text.find(" ", chance.randrange(len(text))) + 1
        end = text.find("\n", offset)
        line = text[text.rfind("\n", 0, offset) + 1 : end]
        if 0 < offset < end and line.startswith("        ") and not line.lstrip().startswith(("#", '"', "'")):
            count -= 1
            yield CompletionRequest(f"lib/{name}", "python", text[:offset] + text[end:], offset, max_tokens=48)


def _milliseconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1e3


def _show(what: str, value: float, unit: str = "") -> None:
    print(f"{what:66} {value:8.2f} {unit}", flush=True)


def _steps(engine: Engine) -> None:
    """Steps of one token alone, of one as the engine runs it, and of eight, in turns, after 400 others; and a copy."""
    model = engine._model
    slot, copy = model.new_slot(512), model.new_slot(512)
    tokens = list(range(1000, 1400))
    prefill = _milliseconds(lambda: model.run(slot, tokens, [0]))

    def step(count: int) -> float:
        slot.keep(400)
        return _milliseconds(lambda: model.run(slot, tokens[:count], range(count)))

    def alone() -> float:
        with _alone(engine):
            return step(1)

    bare, one, eight = zip(*((alone(), step(1), step(8)) for _ in range(30)), strict=True)
    _show("a step of one token, against one that runs alone", statistics.median(one) / statistics.median(bare))
    _show("a step of 8 tokens, against a step of one", statistics.median(eight) / statistics.median(one))
    _after_prompts(engine)
    _show("computing a token's state, against copying it", prefill / _milliseconds(lambda: copy.copy(slot, 400)))


def _after_prompts(engine: Engine) -> None:
    """Steps of two tokens after prompts of several lengths, in turns."""
    model, tokens = engine._model, list(range(1000, 1256))
    slots = {length: model.new_slot(length + 2) for length in (256, 512, 768, 1024)}
    for length, slot in slots.items():
        for _ in range(length // len(tokens)):
            model.run(slot, tokens, [0])
    seconds: dict[int, list[float]] = {length: [] for length in slots}
    for _ in range(30):
        for length, slot in slots.items():
            slot.keep(length)
            seconds[length].append(_milliseconds(lambda slot=slot: model.run(slot, tokens[:2], [0, 1])))  # type: ignore[misc]
    for length in list(slots)[1:]:
        ratio = statistics.median(seconds[length]) / statistics.median(seconds[256])
        _show(f"a step after {length:,} tokens, against one after 256", ratio)


def _jumps(engine: Engine, requests: list[CompletionRequest]) -> None:
    """One token at each place: new, with one more character typed, and back again after all the others."""
    engine._slots = Slots(
        engine._model, capacity=4 * engine.budget.prompt, memory=engine.manifest.kv_bytes_per_token * 100_000
    )
    requests = [replace(request, max_tokens=1) for request in requests[:12]]
    new = [_milliseconds(lambda one=one: engine.complete(one)) for one in requests]  # type: ignore[misc]
    back = [_milliseconds(lambda one=one: engine.complete(one)) for one in requests]  # type: ignore[misc]
    # typed, not only moved: what stands after the cursor is at the prompt's start, and has to stay the same
    typed = [
        replace(one, text=f"{one.text[: one.offset]}x{one.text[one.offset :]}", offset=one.offset + 1)
        for one in requests
    ]
    keystroke = [_milliseconds(lambda one=one: engine.complete(one)) for one in typed]  # type: ignore[misc]
    _show("a jump to a new place, against a keystroke", statistics.median(new) / statistics.median(keystroke))
    _show(
        "a jump back to a place seen before, against a keystroke",
        statistics.median(back) / statistics.median(keystroke),
    )


def _cancellations(engine: Engine, requests: list[CompletionRequest]) -> None:
    """Interrupt a completion at a random moment of its first half second."""
    chance, waits = random.Random(3), []
    for request in requests[:_CANCELLATIONS]:
        engine._slots = Slots(engine._model, capacity=4 * engine.budget.prompt, memory=0)
        cancelled, ended = threading.Event(), 0.0

        def work(request: CompletionRequest = request, cancelled: threading.Event = cancelled) -> None:
            nonlocal ended
            try:
                engine.complete(request, cancelled.is_set)
            except Cancelled:
                ended = time.perf_counter()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(chance.uniform(0, 0.5))
        started = time.perf_counter()
        cancelled.set()
        engine.interrupt()
        thread.join()
        if ended:
            waits.append((ended - started) * 1e3)
    waits.sort()
    _show(f"cancelled to free, p50 of {len(waits)}", statistics.median(waits), "ms")
    _show("cancelled to free, p95", waits[len(waits) * 95 // 100], "ms")


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Let a step of one token run alone, as it is fastest (see `Model.narrowest`)."""
    before, engine._model.narrowest = engine._model.narrowest, 1
    yield
    engine._model.narrowest = before


@contextmanager
def _undrafted(engine: Engine) -> Iterator[None]:
    before, engine._speculation = engine._speculation, Speculation((1.0,))
    yield
    engine._speculation = before


@contextmanager
def _undrafted_alone(engine: Engine) -> Iterator[None]:
    with _undrafted(engine), _alone(engine):
        yield


def _speculation(engine: Engine, requests: list[CompletionRequest]) -> list[Suggestion]:
    """Complete each point with drafts, without, and in steps of one token alone, in turns; returns those without.

    The state of each place is there.
    """
    ways: dict[str, Callable[[Engine], AbstractContextManager[None]]] = {
        "drafted": lambda engine: nullcontext(),
        "plain": _undrafted,
        "alone": _undrafted_alone,
    }
    found: dict[str, list[Suggestion]] = {way: [] for way in ways}
    computed = dict.fromkeys(ways, 0.0)
    for index, request in enumerate(requests):
        engine.warm_up(request)
        for turn in range(len(ways)):
            way = list(ways)[(index + turn) % len(ways)]
            started = time.process_time()
            with ways[way](engine):
                found[way].append(engine.complete(request))
            computed[way] += time.process_time() - started
    tokens = {way: sum(len(one.tokens) for one in suggestions) for way, suggestions in found.items()}
    seconds = {way: sum(one.timings["prefill"] + one.timings["decode"] for one in found[way]) for way in ways}
    speed = {way: tokens[way] / seconds[way] for way in ways}
    economy = {way: tokens[way] / computed[way] for way in ways}
    _show("tokens a second with drafts, against without", speed["drafted"] / speed["plain"])
    _show("tokens a second with drafts, against steps of one token alone", speed["drafted"] / speed["alone"])
    _show("the same, of a second of processor time", economy["drafted"] / economy["alone"])
    _show("tokens a step with drafts", tokens["drafted"] / sum(suggestion.steps for suggestion in found["drafted"]))
    pairs = list(zip(found["drafted"], found["plain"], strict=True))
    same = statistics.mean(a.text == b.text for a, b in pairs)
    _show(f"the same text with and without drafts, of {len(requests)} points", same * 100, "%")
    same = statistics.mean((a.tokens, a.log_probabilities) == (b.tokens, b.log_probabilities) for a, b in pairs)
    _show("the same tokens and probabilities to the last bit", same * 100, "%")
    _ties("with and without drafts", pairs)
    pairs = list(zip(found["drafted"], found["alone"], strict=True))
    same = statistics.mean(a.text == b.text for a, b in pairs)
    _show("the same text with drafts and with steps of one token alone", same * 100, "%")
    _ties("with drafts and with steps of one token alone", pairs)
    return found["plain"]


def _ties(what: str, pairs: list[tuple[Suggestion, Suggestion]]) -> None:
    """How far apart the first two tokens are that differ, where some do."""
    gaps = sorted(
        abs(a.log_probabilities[first] - b.log_probabilities[first])
        for a, b in pairs
        if (first := next((at for at, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), None))
        is not None
    )
    if gaps:
        print(f"the first tokens that differ {what}, by how far their log probabilities are apart:")
        _show("    p50", statistics.median(gaps), "nats")
        _show("    most", gaps[-1], "nats")


@contextmanager
def _timed(engine: Engine) -> Iterator[list[float]]:
    """Note how long this thread computes in each run of the runtime."""
    session, seconds = engine._model._session, list[float]()

    class Timed:
        def __getattr__(self, name: str) -> Any:
            return getattr(session, name)

        def run_with_iobinding(self, *arguments: Any) -> None:
            started = time.thread_time()
            session.run_with_iobinding(*arguments)
            seconds.append(time.thread_time() - started)

    engine._model._session = Timed()
    engine._slots = Slots(engine._model, capacity=4 * engine.budget.prompt, memory=0)
    yield seconds
    engine._model._session = session


def _overhead(engine: Engine, requests: list[CompletionRequest]) -> None:
    """Processor time outside of the runtime: of decode steps; and of laying out the prompt, reading the place and
    trimming, once a request, one character after an earlier one.
    """
    once, whole, steps = 0.0, 0.0, 0
    with _timed(engine) as seconds:
        for request in requests:
            before = request.text[: request.offset - 1] + request.text[request.offset :]
            engine.complete(replace(request, text=before, offset=request.offset - 1, max_tokens=1))
            for few in (replace(request, max_tokens=1), request):  # the second finds the place read already
                seconds.clear()
                started = time.thread_time()
                suggestion = engine.complete(few)
                rest = time.thread_time() - started - sum(seconds)
                once, whole = (once + rest, whole) if few is not request else (once, whole + rest)
            steps += suggestion.steps
    _show("Python in a step", whole / steps * 1e3, "ms")
    _show("Python in a keystroke, to lay out the prompt and read the place", once / len(requests) * 1e3, "ms")


def _eagerness(engine: Engine, requests: list[CompletionRequest], everything: list[Suggestion]) -> None:
    """Of all points: at how many each eagerness shows something, how often that is what stood there, and how much."""
    texts = {f"lib/{file.name}": file.read_bytes().decode() for file in source_files()}
    print(f"\n{'eagerness':>10} {'shown':>8} {'right':>8} {'characters saved a point':>26} {'steps a point':>14}")
    for eagerness, confidence in CONFIDENCES.items():
        shown = right = characters = steps = 0
        for request, whole in zip(requests, everything, strict=True):
            suggestion = engine.complete(replace(request, confidence=confidence)) if confidence else whole
            steps += suggestion.steps
            shown += bool(suggestion.text)
            if suggestion.text and texts[request.path].startswith(suggestion.text, request.offset):
                right += 1
                characters += len(suggestion.text)
        print(
            f"{eagerness:>10} {shown / len(requests):8.0%} {right / max(shown, 1):8.0%} "
            f"{characters / len(requests):26.1f} {steps / len(requests):14.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
