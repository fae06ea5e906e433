"""Pairs of a better and a worse answer, made of what the tuned model itself writes.

`python -m training.pairs MODEL --examples FOLDER --out FOLDER`, where MODEL is a folder of `python -m training.merge`.
For each of the last `--count` training examples the model's likeliest answer and a few random ones are taken; where one
of them is wrong, broken or does not end, it is paired with what should have been written: the shortest whole answer of
its own that the truth begins with, or else the truth.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.decoding.decode import prefill
from engine.decoding.pickers import pick
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from training.data.example import Example
from training.data.examples import read_examples, write_examples

_SAMPLES = 2  # besides the likeliest answer
_TEMPERATURE = 0.8
_LONGEST = 160  # tokens of an answer; one that has not ended by then rambles
_BRACKETS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote at a place."""

    text: str
    ended: bool
    """Whether it said so itself."""


def preference(truth: str, answers: Sequence[Answer]) -> tuple[Answer, Answer] | None:
    """The answer to prefer and the one to avoid; None where there is nothing to learn.

    To prefer: the shortest own answer that ended, is whole, and with which the truth begins; else the truth. To avoid:
    one that never ended, before one that is wrong; of several the longest.
    """
    right = [one for one in answers if one.ended and is_whole_part(one.text, truth)]
    avoided = [one for one in answers if one not in right and one.text != truth]
    if not avoided:
        return None
    preferred = min(right, key=lambda one: len(one.text), default=Answer(truth, ended=True))
    return preferred, max(avoided, key=lambda one: (not one.ended, len(one.text)))


def is_whole_part(text: str, truth: str) -> bool:
    """Whether the truth begins with a text that ends where a line of it does, with no bracket open."""
    if text == truth:
        return True
    return bool(text.strip()) and truth.startswith(text) and truth[len(text)] == "\n" and _is_balanced(text)


def _is_balanced(text: str) -> bool:
    opened: list[str] = []
    for character in text:
        if character in _BRACKETS.values():
            opened.append(character)
        elif character in _BRACKETS and opened and opened[-1] == _BRACKETS[character]:
            opened.pop()
    return not opened


def written(model: Model, prompt: Sequence[int], stop: Sequence[int], chance: random.Random | None) -> list[int]:
    """Let the model write: its likeliest tokens, or random ones. The last token is one of `stop` where it ended."""
    slot = model.new_slot(len(prompt) + _LONGEST + 1)
    pending = prefill(model, slot, list(prompt), chunk=512, is_cancelled=lambda: False)
    tokens: list[int] = []
    while len(tokens) < _LONGEST and (not tokens or tokens[-1] not in stop):
        logits = model.run(slot, pending, [len(pending) - 1])[0]
        if chance is None:
            token, _ = pick(logits)
        else:
            noise = np.random.default_rng(chance.getrandbits(32)).gumbel(size=len(logits))
            token = int((logits / _TEMPERATURE + noise).argmax())  # a draw from the softmax (Gumbel's trick)
        tokens.append(token)
        pending = [token]
    return tokens


def pair_of(
    model: Model, tokenizer: Tokenizer, stop: Sequence[int], example: Example, seed: int
) -> tuple[Example, Example] | None:
    """The preferred and the avoided example at an example's place."""
    prompt = [int(token) for token in example.tokens[: example.prompt]]
    truth = tokenizer.decode([int(token) for token in example.tokens[example.prompt : -1]])
    answers: dict[Answer, list[int]] = {}
    for index in range(_SAMPLES + 1):
        tokens = written(model, prompt, stop, random.Random(f"{seed} {index}") if index else None)
        ended = tokens[-1] in stop
        answers.setdefault(Answer(tokenizer.decode(tokens[:-1] if ended else tokens), ended), tokens)
    found = preference(truth, list(answers))
    if found is None:
        return None
    preferred, avoided = (
        Example(
            example.tokens if one.text == truth else np.array([*prompt, *answers[one]], np.uint32),
            example.prompt,
            example.kind,
            example.language,
        )
        for one in found
    )
    return preferred, avoided


class Writer:
    """A model that writes answers, in one process."""

    def __init__(self, folder: Path) -> None:
        self._manifest = read_manifest(folder)
        self._model = Model(folder, self._manifest, threads=1)
        self._tokenizer = Tokenizer(folder / TOKENIZER_FILE)

    def pair(self, example: Example, seed: int) -> tuple[Example, Example] | None:
        """The pair at one example's place; the same in whichever process."""
        return pair_of(self._model, self._tokenizer, self._manifest.prompt.stop, example, seed)


_writer: Writer  # of a process that writes


def _begin(folder: Path) -> None:
    global _writer
    _writer = Writer(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says when to stop


def _pair(example: Example, seed: int) -> tuple[Example, Example] | None:
    return _writer.pair(example, seed)


def main() -> None:
    """Write `preferred.npz` and `avoided.npz`; stopped before its end, of what it has until then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the tuned model's folder")
    parser.add_argument("--examples", type=Path, required=True, help="what `python -m training.data.examples` wrote")
    parser.add_argument("--out", type=Path, required=True, help="where the pairs are written")
    parser.add_argument("--count", type=int, default=1000, help="of how many examples, from the end")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that write, with a core each")
    arguments = parser.parse_args()
    read_manifest(arguments.model)  # says what is wrong before any process begins
    arguments.out.mkdir(parents=True, exist_ok=True)
    examples = read_examples(arguments.examples / "train.npz")[-arguments.count :]
    pairs: list[tuple[Example, Example]] = []
    spawn = multiprocessing.get_context("spawn")  # a session of the runtime does not survive a fork
    pool = ProcessPoolExecutor(arguments.processes, spawn, _begin, (arguments.model,))
    try:
        for done, pair in enumerate(pool.map(_pair, examples, range(len(examples))), start=1):
            pairs += [pair] if pair else []
            print(f"{done} of {len(examples)}, {len(pairs)} pairs   ", end="\r", flush=True)
    except KeyboardInterrupt:
        print("\nStopped; what there is until here is written")
    finally:
        pool.shutdown(cancel_futures=True)
    if not pairs:
        parser.exit(1, f"No pair in {len(examples)} examples: give more of them (--count)\n")
    for name, side in zip(("preferred", "avoided"), zip(*pairs, strict=True), strict=True):
        write_examples(arguments.out / f"{name}.npz", side)
    print(f"{len(pairs)} pairs from {len(examples)} examples")


if __name__ == "__main__":
    main()
