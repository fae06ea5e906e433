"""How n-grams of the project are mixed in: `python -m evaluation.ngrams MODEL --sources FOLDER [--out ADAPTER]`.

At places in packages that are not held out, a MODEL folder says how likely it holds each token that really follows, and
the engine's own look-up what followed the last tokens elsewhere. The numbers of the mixture (`engine.decoding.ngrams`)
are those under which the truth is likeliest. They are written to MODEL's manifest, and to the adapter's folder as
`ngrams.json`, which the export takes into the manifest of the next one. Calibrate afterwards: `python -m
evaluation.confidence`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import CompletionRequest
from engine.decoding.decode import prefill
from engine.decoding.ngrams import LEVELS, SMALLEST_DOUBT, SOURCES, Ngrams, NgramWeights
from engine.decoding.passages import Lookup
from engine.decoding.pickers import log_sum_exp
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest, write_manifest
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from evaluation.harness.points import Neighbourhoods, Point, function_points, middle_points
from export.sources.adapter import NGRAMS_FILE
from training.data.sources import add_code, code_of

_PROMPTS = (256, 384, 512, 1024)  # tokens, in turn
_LONGEST = 40  # tokens of the truth at one place
_CANDIDATES = 8
_LEVELS = int(LEVELS.max()) + 1
_START = NgramWeights(above=0, below=0, elsewhere=0, growth=1, bias=-2, doubt=1, agreement=1, evidence=0)
_CHUNK = 512

Counts = NDArray[np.float32]
"""How many places there are, by source and by level of their match: [3, 8]."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A token of the truth, what the model says, and what was looked up."""

    truth: float
    """Its log probability by the model."""
    likeliest: float
    """That of the model's likeliest token."""
    all: Counts
    right: Counts
    """Of the places that it follows."""
    candidates: Counts
    """Of the tokens with the longest matches: [8, 3, 8]."""


def counted(ngrams: Ngrams, truth: int, among: NDArray[np.int64] | None) -> tuple[Counts, Counts, Counts]:
    """Count places by source and level: all, those that the truth follows, those of the likeliest followers."""
    by_token: dict[int, Counts] = {}
    for source, followers, lengths in ngrams.followers():
        agreeing = slice(None) if among is None else np.isin(followers, among)
        pairs = np.stack([followers[agreeing], LEVELS[lengths[agreeing]]])
        for (token, level), count in zip(*_unique(pairs), strict=True):
            by_token.setdefault(int(token), np.zeros((len(SOURCES), _LEVELS), np.float32))[source, level] += count
    nothing = np.zeros((len(SOURCES), _LEVELS), np.float32)
    best = sorted(by_token.values(), key=lambda counts: tuple(counts.sum(axis=0)[::-1]), reverse=True)[:_CANDIDATES]
    candidates = [*best, *itertools.repeat(nothing, _CANDIDATES - len(best))]
    return sum(by_token.values(), nothing), by_token.get(truth, nothing), np.stack(candidates)


def _unique(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns, counts = np.unique(pairs, axis=1, return_counts=True)
    return columns.T, counts


class Observer:
    """Looks at what really follows, as the engine would see it."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._manifest, self._tokenizer = read_manifest(folder), Tokenizer(folder / TOKENIZER_FILE)
        self._model, self._lookup = Model(folder, self._manifest, threads=threads), Lookup(self._tokenizer)

    def moments(self, point: Point, neighbours: tuple[str, ...], prompt_tokens: int) -> Iterator[Moment]:
        """Every token of the truth at a place; of a middle, its end, too."""
        request = CompletionRequest(point.path, point.language, point.text, point.offset, neighbours=neighbours)
        prompt = lay_out(request, self._tokenizer, self._manifest.prompt, Budget(prompt_tokens))
        truth = self._tokenizer.encode(prompt.last_word + point.truth)
        if point.kind != "function":
            truth.append(self._manifest.prompt.stop[0])
        truth = truth[:_LONGEST]
        ngrams = self._lookup.ngrams(request, prompt.last_word, _START)
        required = prompt.last_word_spelled
        for token, logits in zip(truth, self._logits(prompt.tokens, truth), strict=True):
            among, begun = self._tokenizer.vocabulary.agreeing_with(required) if required else (None, dict[int, str]())
            if among is not None and token not in among:
                return
            values = logits if among is None else logits[among]
            largest = float(values.max())
            total = log_sum_exp(values, largest)
            yield Moment(float(logits[token]) - total, largest - total, *counted(ngrams, token, among))
            ngrams.take(token)
            required = begun.get(token, "")

    def _logits(self, prompt: Sequence[int], truth: Sequence[int]) -> NDArray[np.float32]:
        slot = self._model.new_slot(len(prompt) + len(truth))
        pending = prefill(self._model, slot, prompt, chunk=_CHUNK, is_cancelled=lambda: False)
        wanted = range(len(pending) - 1, len(pending) - 1 + len(truth))
        return self._model.run(slot, [*pending, *truth[:-1]], list(wanted))


class Moments:
    """Moments as tensors."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        stacked = (np.array([getattr(one, field.name) for one in moments]) for field in dataclasses.fields(Moment))
        self.truth, self.likeliest, self.all, self.right, self.candidates = (
            torch.from_numpy(values).double() for values in stacked
        )

    def gained(self, numbers: Tensor) -> Tensor:
        """By how much likelier the mixture holds each token of the truth, in nats; `numbers`: those of NgramWeights."""
        weights = (numbers[:3, None] + numbers[3] * torch.arange(_LEVELS)).exp()
        evidence = (self.all * weights).sum((1, 2))
        safe = evidence.clamp(min=1e-9)
        by_look_up = (self.right * weights).sum((1, 2)) / safe
        highest = ((self.candidates * weights).sum((2, 3)) / safe[:, None]).max(1).values
        doubt = (-torch.expm1(self.likeliest)).clamp(min=SMALLEST_DOUBT).log()
        at = numbers[4] + numbers[5] * doubt + numbers[6] * highest + numbers[7] * safe.log()
        share = torch.sigmoid(at) * (evidence > 0)
        return ((1 - share) * self.truth.exp() + share * by_look_up).clamp(min=1e-12).log() - self.truth


def fitted(moments: Moments) -> NgramWeights:
    """The numbers under which the truth is likeliest."""
    numbers = torch.tensor(dataclasses.astuple(_START), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=300, line_search_fn="strong_wolfe")

    def lost() -> Tensor:
        optimizer.zero_grad()
        loss = -moments.gained(numbers).mean() + 1e-4 * (numbers**2).mean()
        loss.backward()
        return loss

    optimizer.step(lost)
    return NgramWeights(*(round(number, 3) for number in numbers.tolist()))


def main() -> None:
    """Look at many places, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--out", type=Path, help="the folder of the adapter that the model was made with")
    parser.add_argument("--points", type=int, default=400, help="half in functions, half middles")
    parser.add_argument("--held-out", type=int, default=160, help="places of held-out packages, to say what it brings")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    folder = find_model(arguments.model)
    observer = Observer(folder, arguments.threads)
    seen: dict[bool, Moments] = {}
    for held_out, count in ((False, arguments.points), (True, arguments.held_out)):
        files = code_of(arguments, held_out=held_out)
        # packages are held out as a whole, a workspace is not
        neighbourhoods = Neighbourhoods(code_of(arguments) if arguments.workspace else files)
        points = [draw(files, count // 2, arguments.seed) for draw in (function_points, middle_points)]
        found: list[Moment] = []
        for index, (point, tokens) in enumerate(zip(itertools.chain(*points), itertools.cycle(_PROMPTS), strict=False)):
            print(f"{'held-out ' * held_out}place {index + 1} of {count}   ", end="\r", flush=True)
            found += observer.moments(point, neighbourhoods.of(point), tokens)
        seen[held_out] = Moments(found)
    weights = fitted(seen[False])
    numbers = dataclasses.asdict(weights)
    write_manifest(folder, dataclasses.replace(read_manifest(folder), ngrams=weights))
    if arguments.out:
        (arguments.out / NGRAMS_FILE).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(numbers))
    for held_out, moments in seen.items():
        gained = float(moments.gained(torch.tensor(list(numbers.values()), dtype=torch.float64)).mean())
        lost = -float(moments.truth.mean())
        print(f"{'held-out' if held_out else 'fitted on'}: {lost:.3f} -> {lost - gained:.3f} nats a token")


if __name__ == "__main__":
    main()
