"""Pairs of a better and a worse answer, made of what a user took and did not take.

`python -m training.feedback MODEL SAMPLES --out FOLDER`: SAMPLES is the file that the server writes where the setting
`collectSamples` is true (`mellum-lsp stats` names it). Where a suggestion was not taken, it is paired with what was
written at its place, as many lines of it. `python -m training.preferences --from-feedback SAMPLES` makes the same pairs
and tunes by them; this command writes them to look at, or to mix them with those of `training.pairs`.
"""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from engine.model_folders.locations import find_model
from engine.model_folders.manifest import TOKENIZER_FILE, PromptFormat, read_manifest
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from engine.request import CompletionRequest
from training.data.example import Example, answered
from training.data.examples import write_examples
from training.data.middles import Kind

PROMPT_TOKENS = 768
NOTHING_IN = "All that was suggested was taken, or nothing was collected: there is no pair in"


@dataclass(frozen=True, slots=True)
class Taken:
    """What was suggested at a place, and what the user wrote there."""

    path: str
    language: str
    before: str
    after: str
    suggestion: str
    written: str


def read_samples(file: Path) -> Iterator[Taken]:
    """Read the samples in which something else than the suggestion was written. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
        for row in database.execute(
            "SELECT path, language, before, after, suggestion, written FROM samples ORDER BY id"
        ):
            if (taken := told(Taken(*row))) is not None:
                yield taken


def told(taken: Taken) -> Taken | None:
    """The sample with as many lines of what was written as were suggested; None where there is nothing to learn."""
    lines = taken.suggestion.count("\n") + 1
    written = "\n".join(taken.written.replace("\r\n", "\n").split("\n")[:lines]).rstrip()
    suggestion = taken.suggestion.replace("\r\n", "\n").rstrip()
    if not written.strip() or written.startswith(suggestion) or suggestion.startswith(written):
        return None
    return Taken(taken.path, taken.language, taken.before, taken.after, suggestion, written)


def pair_of(taken: Taken, tokenizer: Tokenizer, style: PromptFormat) -> tuple[Example, Example]:
    """The preferred and the avoided example at a sample's place."""
    text = taken.before + taken.after
    request = CompletionRequest(taken.path, taken.language, text, len(taken.before))
    prompt = lay_out(request, tokenizer, style, Budget(PROMPT_TOKENS))
    kind: Kind = "line" if "\n" not in taken.written else "block"
    preferred = answered(prompt, taken.written, tokenizer, style, kind, taken.language)
    return preferred, answered(prompt, taken.suggestion, tokenizer, style, kind, taken.language)


def read_feedback(file: Path, tokenizer: Tokenizer, style: PromptFormat) -> list[tuple[Example, Example]]:
    """The pairs of all samples in a file that teach something. Raises sqlite3.Error."""
    return [pair_of(taken, tokenizer, style) for taken in read_samples(file)]


def main() -> None:
    """Write `preferred.npz` and `avoided.npz`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the folder or name of the model whose prompts they are")
    parser.add_argument("samples", type=Path, help="the file of samples")
    parser.add_argument("--out", type=Path, required=True, help="where the pairs are written")
    arguments = parser.parse_args()
    folder = find_model(arguments.model)
    style, tokenizer = read_manifest(folder).prompt, Tokenizer(folder / TOKENIZER_FILE)
    pairs = read_feedback(arguments.samples, tokenizer, style)
    if not pairs:
        parser.exit(1, f"{NOTHING_IN} {arguments.samples}\n")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, side in zip(("preferred", "avoided"), zip(*pairs, strict=True), strict=True):
        write_examples(arguments.out / f"{name}.npz", side)
    print(f"{len(pairs)} pairs")


if __name__ == "__main__":
    main()
