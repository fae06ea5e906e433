"""What a user sees by confidence, and which brings most: `python -m training.fitting.eagerness MODEL --sources FOLDER`.

At points in functions of packages that are not held out (`--held-out`: of those that are), MODEL writes its likeliest
text, with prompts that hold what the index finds. Prints, by confidence: how often something is shown, how often that
is right, how often wrong from its first word, and how many keys it saves; then the keys saved less those that wrong
suggestions cost, for several prices of a wrong one. `lsp_server.configuration.settings` has the best of them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

import numpy as np

from engine import Engine
from engine.fitting.answers import PROMPT_TOKENS, Answer, answer_of
from engine.model_folders.locations import find_model
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, Point, function_points
from training.data.sources import add_code, code_of

_CONFIDENCES = tuple(round(0.3 + step * 0.05, 2) for step in range(13))
_PRICES = (5, 10, 15, 20, 30)
"""What a wrong suggestion may cost, in keys."""
_INDENTATION = re.compile(r"\n[ \t]*")  # written by the editor
_WORD = re.compile(r"\s*(\w+|\W)")

Pairs = Sequence[tuple[Point, Answer]]


def outcomes_at(pairs: Pairs, confidence: float) -> np.ndarray:
    """What a user sees at each point: [points, 4], of shown, right, wrong from its first word, and keys saved.

    Any beginning of the rest of the function is right.
    """
    rows = []
    for point, answer in pairs:
        text = answer.shown_at(confidence)
        is_shown = bool(text.strip())
        is_right = is_shown and point.truth.startswith(text)
        misleads = is_shown and not point.truth.startswith(first_word(text))
        rows.append((is_shown, is_right, misleads, saved(text) if is_right else 0))
    return np.array(rows, float).reshape(-1, 4)


def saved(text: str) -> int:
    """How many keys a text saves: its characters without indentation and the space at its end."""
    return len(_INDENTATION.sub("\n", text.rstrip()))


def first_word(text: str) -> str:
    """The first word or character, with the space before it."""
    word = _WORD.match(text)
    return word[0] if word is not None else text


def table(pairs: Pairs) -> Iterator[str]:
    """A line for each confidence."""
    prices = "".join(f"{price:>8}" for price in _PRICES)
    yield f"{'confidence':>10}{'shown':>8}{'right':>8}{'misleads':>10}{'keys saved':>18}{'at a price of:':>24}{prices}"
    for confidence in _CONFIDENCES:
        each = outcomes_at(pairs, confidence)
        shown, right, misleads, keys = each.mean(axis=0)
        error = each[:, 3].std() / len(each) ** 0.5
        worth = "".join(f"{keys - price * (shown - right):>8.2f}" for price in _PRICES)
        shares = f"{shown:>8.1%}{right / max(shown, 1e-9):>8.1%}{misleads / max(shown, 1e-9):>10.1%}"
        yield f"{confidence:>10.2f}{shares}{keys:>10.2f} ({error:.2f})" + " " * 24 + worth


def main() -> None:
    """Ask at many points, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--held-out", action="store_true", help="confirm it at packages that are held out")
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    files = code_of(arguments, held_out=arguments.held_out)
    engine = Engine.load(find_model(arguments.model), threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)
    near = Neighbourhoods(code_of(arguments) if arguments.workspace else files)
    teacher = Teacher(files, engine.tokenizer, engine.manifest.prompt)
    pairs: list[tuple[Point, Answer]] = []
    for point in function_points(files, arguments.points, arguments.seed):
        print(f"{len(pairs) + 1} of {arguments.points}   ", end="\r", flush=True)
        snippets = teacher.snippets(point, point.text, point.offset)
        pairs.append((point, answer_of(engine, point, near.of(point), snippets)))
    print(*table(pairs), sep="\n")


if __name__ == "__main__":
    main()
