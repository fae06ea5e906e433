"""What the learned gate is worth: `python -m evaluation.learned_gate [MODEL] --sources FOLDER`.

At functions of held-out packages, half of which teach the gate, and half of which measure it. Each suggestion that the
shipped gate shows is right or wrong, and a user takes all that is right, or a share of it: what is right and not taken
teaches the gate as well, and the most. Prints what is shown, saved and wrong with the shipped gate, with other fixed
ones, and after 500 and 5,000 suggestions.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence

from engine import Engine
from engine.fitting.answers import PROMPT_TOKENS, Answer, answer_of
from engine.model_folders.locations import DEFAULT_MODEL, find_model
from evaluation.replay import at_confidence
from evaluation.statistics import fit
from lsp_server.configuration.settings import CONFIDENCES, Settings
from training.data.points import Point, function_points
from training.data.sources import add_code, code_of

_SHIPPED = CONFIDENCES[Settings().eagerness]
_FIXED = (0.5, 0.7, 0.8, 0.9, 0.95)
_TAKEN = (1.0, 0.8, 0.5)
_EVENTS = (500, 5_000)


def taught(pairs: Sequence[tuple[Point, Answer]], events: int, taken: float, seed: int = 1) -> float:
    """The gate after so many suggestions at these points, for a user who takes this share of what is right."""
    chance, counts = random.Random(seed), Counter[tuple[float, bool]]()
    shown = [(point, answer, text) for point, answer in pairs if (text := answer.shown_at(_SHIPPED)).strip()]
    for _ in range(events):
        point, answer, text = chance.choice(shown)
        stated = max(stated for start, stated in answer.beginnings if start.rstrip() == text)
        counts[round(stated, 2), point.truth.startswith(text) and chance.random() < taken] += 1
    return fit(counts).gate(_SHIPPED)


def main() -> None:
    """Ask at many points, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="a model folder or a model's name")
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--threads", type=int)
    add_code(parser)
    arguments = parser.parse_args()
    engine = Engine.load(find_model(arguments.model), threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)
    pairs = []
    for point in function_points(code_of(arguments, held_out=True), arguments.points, seed=1):
        pairs.append((point, answer_of(engine, point)))
        print(f"{len(pairs)} of {arguments.points}   ", end="\r", flush=True)
    teaching, measured = pairs[::2], pairs[1::2]
    gates = {"shipped": _SHIPPED, **{f"fixed at {gate}": gate for gate in _FIXED}}
    for taken in _TAKEN:
        for events in _EVENTS:
            gates[f"after {events:,}, {taken:.0%} of what is right is taken"] = taught(teaching, events, taken)
    for name, gate in gates.items():
        found = "  ".join(f"{what} {value:.2f}" for what, value in at_confidence(measured, gate).items())
        print(f"{name:46} gate {gate:.2f}  {found}")


if __name__ == "__main__":
    main()
