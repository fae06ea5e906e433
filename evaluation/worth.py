"""What the lines below and other files are worth to a model: `python -m evaluation.worth MODEL --sources FOLDER`.

At middles of held-out packages, cut as those of the training are, the model is shown the lines above only, these and
the lines below, these and what the index chooses of other files, and everything, in prompts of `--tokens`. Prints how
many nats a token of the truth it loses each time, and the difference to the lines above alone with its standard error:
a likelihood moves where exact matches, of which a hundred places hold ten, do not. Twice: over all places, and over
those where a word of the truth stands elsewhere in the prompt and not in the lines above. `--sizes 256 512 768`: the
same for prompts of several lengths with everything in them, each against the first, at cursors below `--above` code
points. `--shares`: the same for prompts of `--tokens` that leave other files more or less room than as served.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine import CompletionRequest
from engine.decoding.decode import prefill
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.layout import Budget, Prompt, lay_out
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from training.data.example import told_elsewhere
from training.data.examples import Teacher
from training.data.middles import choose_middle, outline_of
from training.data.sources import add_code, code_of


@dataclass(frozen=True, slots=True)
class Room(Budget):
    """Leaves snippets what stands here instead, without regard to how much stands above the cursor."""

    share: float = 0.375

    def context_at(self, offset: int) -> int:
        """For snippets of other files."""
        return round(self.prompt * self.share)


@dataclass(frozen=True, slots=True)
class Column:
    """What the model is shown."""

    budget: Budget
    suffix: bool = True
    """Whether the prompt holds what stands below."""
    files: int | None = None
    """How many snippets of other files there are, the most relevant ones; None: as many as there is room for."""


Columns = Mapping[str, Column]
SIDES = {"lines above": (False, 0), "and below": (True, 0), "and files": (False, None), "all": (True, None)}
"""What to compare, as `Column` has it."""
_SHARES = (0.125, 0.25, 0.375, 0.5)
_LONGEST = 64  # tokens of a middle that count
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class MiddleLoss:
    """A middle, and what the model loses at it."""

    language: str
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
    snippets = teacher.snippets(file, file.text[: middle.start] + file.text[middle.end :], middle.start)
    prompts = dict[str, Prompt]()
    for name, column in columns.items():
        text = file.text[: middle.start] + (file.text[middle.end :] if column.suffix else "")
        shown = snippets if column.files is None else snippets[len(snippets) - column.files :]
        request = CompletionRequest(file.path, file.language, text, middle.start, shown)
        prompts[name] = lay_out(request, tokenizer, teacher.style, column.budget)
    tokens = {name: tokenizer.encode(prompt.last_word + truth)[:_LONGEST] for name, prompt in prompts.items()}
    last = list(columns)[-1]
    return MiddleLoss(
        file.language,
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


def shares(served: Budget) -> dict[str, Column]:
    """Prompts without other files, with as much of them as is served, with one of them, and with fixed shares."""
    columns = {"no files": Column(served, files=0), "as served": Column(served), "one snippet": Column(served, files=1)}
    return columns | {f"{share:.1%} files": Column(Room(served.prompt, share)) for share in _SHARES}


def main() -> None:
    """Score one model after the other at the same places."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=512, help="of a prompt")
    parser.add_argument("--sizes", type=int, nargs="+", help="compare prompts of so many tokens instead")
    parser.add_argument("--shares", action="store_true", help="compare how much room other files have instead")
    parser.add_argument("--above", type=int, default=2500, help="code points above the cursor, with these two")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="add a line for each place to this file")
    arguments = parser.parse_args()
    served = Budget(arguments.tokens)
    columns, above = {side: Column(served, *parts) for side, parts in SIDES.items()}, 0
    if arguments.sizes:
        columns, above = {f"{tokens} tokens": Column(Budget(tokens)) for tokens in arguments.sizes}, arguments.above
    if arguments.shares:
        columns, above = shares(served), arguments.above
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
                if arguments.json:
                    with arguments.json.open("a", encoding="utf-8") as kept:
                        kept.write(json.dumps({"model": name, **asdict(found)}) + "\n")
        print(table(f"{name}: all", places))
        print(table(f"{name}: a word is told elsewhere", [one for one in places if one.told_elsewhere]), flush=True)


if __name__ == "__main__":
    main()
