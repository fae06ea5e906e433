"""What the lines below and other files are worth to a model: `python -m evaluation.worth MODEL --sources FOLDER`.

At middles of held-out packages, cut as those of the training are, the model is shown the lines above only, these and
the lines below, these and what the index chooses of other files, and everything, in prompts of `--tokens`. Prints how
many nats a token of the truth it loses each time, and the difference to the lines above alone with its standard error:
a likelihood moves where exact matches, of which a hundred places hold ten, do not. Twice: over all places, and over
those where a word of the truth stands elsewhere in the prompt and not in the lines above. `--sizes 256 512 768`: the
same for prompts of several lengths with everything in them, each against the first, at cursors below `--above` code
points.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.decoding.decode import prefill
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.layout import Prompt
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from training.data.example import told_elsewhere
from training.data.examples import Teacher
from training.data.middles import choose_middle, outline_of
from training.data.sources import add_code, code_of

SIDES = {"lines above": (False, False), "and below": (True, False), "and files": (False, True), "all": (True, True)}
"""Whether the prompt holds what stands below, and other files."""
Columns = Mapping[str, tuple[bool, bool, int]]
"""The same, and how many tokens it has at most, by a name."""
_LONGEST = 64  # tokens of a middle that count
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class MiddleLoss:
    """A middle, and what the model loses at it."""

    told_elsewhere: bool
    tokens: int
    nats: dict[str, float]
    """A token, by side."""


def lost(model: Model, prompt: Prompt, tokens: list[int]) -> float:
    """The nats a token that the model loses where `tokens` follow the prompt."""
    slot = model.new_slot(len(prompt.tokens) + len(tokens))
    pending = list(prefill(model, slot, prompt.tokens, chunk=_CHUNK, is_cancelled=lambda: False))
    wanted = range(len(pending) - 1, len(pending) - 1 + len(tokens))
    logits = model.run(slot, [*pending, *tokens[:-1]], list(wanted)).astype(np.float64)
    highest = logits.max(axis=-1, keepdims=True)
    totals = np.log(np.exp(logits - highest).sum(axis=-1)) + highest[:, 0]
    return float(np.mean(totals - logits[np.arange(len(tokens)), tokens]))


def place(
    model: Model, tokenizer: Tokenizer, teacher: Teacher, chance: random.Random, columns: Columns, above: int
) -> MiddleLoss | None:
    """Draw a file and a middle of it; None where it has none, or nothing is missing, or little stands above it."""
    file = teacher.file(chance)
    middle = choose_middle(file.text, outline_of(file.text, file.language), chance)
    if middle is None or middle.kind == "nothing" or middle.start < above:
        return None
    truth = file.text[middle.start : middle.end]
    prompts = {
        name: teacher.prompt(file, middle, suffix=suffix, context=context, tokens=tokens)
        for name, (suffix, context, tokens) in columns.items()
    }
    tokens = {name: tokenizer.encode(prompt.last_word + truth)[:_LONGEST] for name, prompt in prompts.items()}
    last = list(columns)[-1]
    return MiddleLoss(
        bool(told_elsewhere(prompts[last], truth, tokenizer)),
        len(tokens[last]),
        {name: lost(model, prompts[name], tokens[name]) for name in columns},
    )


def table(name: str, places: list[MiddleLoss]) -> str:
    """A line for each column."""
    lines = [f"{name}, {len(places)} places"]
    if len(places) < 2:
        return lines[0]
    first = next(iter(places[0].nats))
    for column in places[0].nats:
        nats = statistics.mean(one.nats[column] for one in places)
        gained = [one.nats[column] - one.nats[first] for one in places]
        error = statistics.stdev(gained) / len(gained) ** 0.5
        change = "" if column == first else f"{statistics.mean(gained):+.3f} ({error:.3f})"
        lines.append(f"  {column:12} {nats:.3f} nats a token  {change}")
    return "\n".join(lines)


def main() -> None:
    """Score one model after the other at the same places."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=512, help="of a prompt")
    parser.add_argument("--sizes", type=int, nargs="+", help="compare prompts of so many tokens instead")
    parser.add_argument("--above", type=int, default=2500, help="code points above the cursor, with --sizes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    columns: Columns = {side: (*parts, arguments.tokens) for side, parts in SIDES.items()}
    above = 0
    if arguments.sizes:
        columns, above = {f"{tokens} tokens": (True, True, tokens) for tokens in arguments.sizes}, arguments.above
    files = code_of(arguments, held_out=True)
    for name in arguments.models:
        folder = find_model(name)
        manifest, tokenizer = read_manifest(folder), Tokenizer(folder / TOKENIZER_FILE)
        model = Model(folder, manifest, threads=arguments.threads)
        teacher, chance = Teacher(files, tokenizer, manifest.prompt), random.Random(arguments.seed)
        places: list[MiddleLoss] = []
        while len(places) < arguments.places:
            print(f"{len(places) + 1} of {arguments.places}   ", end="\r", flush=True)
            if found := place(model, tokenizer, teacher, chance, columns, above):
                places.append(found)
        print(table(f"{name}: all", places))
        print(table(f"{name}: a word is told elsewhere", [one for one in places if one.told_elsewhere]), flush=True)


if __name__ == "__main__":
    main()
