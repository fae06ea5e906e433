"""What moving KV states to new positions saves, and what it costs in likelihood: `python -m evaluation.kv_shift`.

At places in the standard library, the cursor comes from some lines away, or a line is added above or below it. The
state for the new place is made twice: from the state of the old place, and from nothing. Prints, by kind of change: the
median ratio of the two times, tokens that are computed of those of the prompt, and how many nats a token the true rest
of the line is less likely after moved states (mean, with its standard error). `--chain 10`: the same after so many
moves of a few lines in a row, each from the state before. Imports the engine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine import CompletionRequest, Engine
from engine.decoding.decode import prefill
from engine.model_folders.locations import find_model
from engine.runtime.kv_slots import MOST_SHIFTS, Slots
from evaluation.latency import source_files

_MOVES = (1, 3, 10, 40, -3)  # lines
_NEW_LINE = "    total = compute(value)\n"
_LONGEST = 16  # tokens of a truth that count


@dataclass(frozen=True, slots=True)
class CutLine:
    """A cursor in a file from which the rest of the cursor's line was cut."""

    name: str
    text: str
    offset: int
    truth: str

    def request(self, text: str, offset: int) -> CompletionRequest:
        """A request elsewhere in the file, or in a changed text of it."""
        return CompletionRequest(f"lib/{self.name}", "python", text, offset, max_tokens=1)

    def moved(self, lines: int) -> int:
        """The start of the line so many lines above the cursor; below for negative numbers."""
        offset = self.text.rfind("\n", 0, self.offset) + 1
        for _ in range(abs(lines)):
            offset = self.text.rfind("\n", 0, offset - 1) + 1 if lines > 0 else self.text.find("\n", offset) + 1
        return offset


@dataclass(frozen=True, slots=True)
class Outcome:
    """What making one state took, and what it says."""

    seconds: float
    computed: int
    prompt: int
    nats: float


def places(count: int, seed: int) -> list[CutLine]:
    """Lines of code inside of functions, with 40 lines and more on each side."""
    chance = random.Random(seed)
    texts = {file.name: text for file in source_files() if len(text := file.read_bytes().decode()) > 12_000}
    found: list[CutLine] = []
    while len(found) < count:
        name, text = chance.choice(list(texts.items()))
        start = text.find("\n", chance.randrange(5000, len(text) - 5000)) + 1
        line = text[start : text.find("\n", start)]
        code = line.lstrip()
        if len(code) > 15 and line.startswith("    ") and not code.startswith(("#", '"', "'")):
            offset = start + len(line) - len(code) + chance.randrange(len(code) // 2)
            end = start + len(line)
            found.append(CutLine(name, text[:offset] + text[end:], offset, text[offset:end]))
    return found


def outcome(engine: Engine, place: CutLine, *, most_shifts: int) -> Outcome:
    """Make the state for a place, and score the truth there."""
    prompt = engine.lay_out(place.request(place.text, place.offset))
    truth = engine.tokenizer.encode(prompt.last_word + place.truth)[:_LONGEST]
    started = time.perf_counter()
    slot = engine._slots.take(prompt.tokens, most_shifts=most_shifts)
    computed = len(prompt.tokens) - len(slot.tokens) - sum(len(move.tokens) for move in slot.moves)
    pending = prefill(engine._model, slot, prompt.tokens, chunk=engine._chunk, is_cancelled=lambda: False)
    first = engine._model.run(slot, pending, [len(pending) - 1])
    seconds = time.perf_counter() - started
    rest = engine._model.run(slot, truth[:-1], range(len(truth) - 1)) if len(truth) > 1 else first[:0]
    logits = np.concatenate([first, rest]).astype(np.float64)
    highest = logits.max(axis=-1)
    totals = np.log(np.exp(logits - highest[:, None]).sum(axis=-1)) + highest
    nats = float(np.mean(totals - logits[np.arange(len(truth)), truth]))
    return Outcome(seconds, computed, len(prompt.tokens), nats)


def _forget(engine: Engine) -> None:
    memory = engine.manifest.kv_bytes_per_token * 40_000
    engine._slots = Slots(engine._model, capacity=2 * engine.budget.prompt + 256, memory=memory)


def _changes(chain: int) -> dict[str, Callable[[CutLine], Sequence[CompletionRequest]]]:
    """What was asked for before the place itself, by the name of the change."""

    def edited(place: CutLine, at: int) -> list[CompletionRequest]:
        text = place.text[:at] + _NEW_LINE + place.text[at:]
        return [place.request(text, place.offset + (len(_NEW_LINE) if at < place.offset else 0))]

    if chain:
        return {
            f"{chain} moves": lambda place: [
                place.request(place.text, place.moved(2 * lines)) for lines in range(chain, 0, -1)
            ]
        }
    changes: dict[str, Callable[[CutLine], Sequence[CompletionRequest]]] = {
        f"{abs(lines)} lines {'down' if lines > 0 else 'up'}": lambda place, lines=lines: [  # type: ignore[misc]
            place.request(place.text, place.moved(lines))
        ]
        for lines in _MOVES
    }
    changes["a line less above"] = lambda place: edited(place, place.moved(12))
    changes["a line less below"] = lambda place: edited(place, place.moved(-2))
    return changes


def main() -> None:
    """Print a line for each kind of change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's name or folder")
    parser.add_argument("--places", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=1024, help="of a prompt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chain", type=int, default=0, help=f"moves in a row, at most {MOST_SHIFTS}")
    arguments = parser.parse_args()
    engine = Engine.load(find_model(arguments.model), prompt_tokens=arguments.tokens)
    changes = _changes(min(arguments.chain, MOST_SHIFTS))
    pairs: dict[str, list[tuple[Outcome, Outcome]]] = {name: [] for name in changes}
    for index, place in enumerate(places(arguments.places, arguments.seed)):
        print(f"{index + 1} of {arguments.places}   ", end="\r", flush=True)
        _forget(engine)
        computed = outcome(engine, place, most_shifts=0)
        for name, before in changes.items():
            _forget(engine)
            for request in before(place):
                engine.complete(request)
            pairs[name].append((computed, outcome(engine, place, most_shifts=MOST_SHIFTS)))
    print(f"{'change':20} {'time':>6} {'computed':>9} {'of':>5} {'nats lost':>10} {'error':>7}")
    for name, found in pairs.items():
        lost = [moved.nats - whole.nats for whole, moved in found]
        error = statistics.stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else 0.0
        ratio = statistics.median(moved.seconds / whole.seconds for whole, moved in found)
        tokens = statistics.mean(moved.computed for _, moved in found)
        whole = statistics.mean(one.prompt for one, _ in found)
        print(f"{name:20} {ratio:6.2f} {tokens:9.0f} {whole:5.0f} {statistics.mean(lost):+10.4f} {error:7.4f}")


if __name__ == "__main__":
    main()
