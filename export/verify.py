"""A model folder compared with float32: the cost of quantization, in nats a token and in changed predictions.

The reference is the forward pass in numpy over the source itself: it needs one layer in memory at a time, so that a
model can be verified where its float32 graph would not fit. `export.reference` compares that with transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.model_folders.manifest import TOKENIZER_FILE, Manifest, read_manifest, write_manifest
from engine.runtime.session import Model
from export.quantization.gptq_data import code_tokens
from export.sources import Floats, Source
from export.weights.forward import logits

MODULES = ("configparser", "difflib", "gettext", "shelve", "statistics", "textwrap", "tarfile", "zipfile")
"""Real code that quantization is not tuned on; `export.quantization.gptq_data.MODULES` is what it is tuned on."""

_LENGTH = 384


@dataclass(frozen=True, slots=True)
class Verification:
    """A model compared with float32, on the same tokens of real code."""

    reference_nats: float
    """Loss of the float32 model, in nats a token."""
    lost_nats: float
    """How much more the quantized model loses."""
    agreement: float
    """Share of the tokens after which both models have the same likeliest token."""
    largest_difference: float
    """Of any two logits."""
    tokens: int


def verify(folder: Path, source: Source) -> Manifest:
    """Run a folder's graph and the source's float32 forward pass over real code that no quantization was tuned on.

    The result is written into the manifest, which is returned.
    """
    return verify_against(folder, lambda tokens: logits(source, tokens))


def verify_against(folder: Path, reference: Callable[[NDArray[np.int64]], Iterable[Floats]]) -> Manifest:
    """The same against a reference that takes tokens `[sequences, length]` to logits `[length, vocabulary]` each."""
    tokens = code_tokens(Tokenizer.from_file(str(folder / TOKENIZER_FILE)), MODULES, _LENGTH)
    (verification,) = _compare([folder], reference(tokens), tokens)
    manifest = replace(read_manifest(folder), verification=asdict(verification))
    write_manifest(folder, manifest)
    return manifest


def verify_all(folders: Iterable[Path], source: Source, tokens: NDArray[np.int64]) -> list[Verification]:
    """Compare several folders with one forward pass over `tokens` `[sequences, length]`."""
    return _compare(folders, logits(source, tokens), tokens)


def _compare(folders: Iterable[Path], reference: Iterable[Floats], tokens: NDArray[np.int64]) -> list[Verification]:
    tallies = [(Model(folder, read_manifest(folder)), _Tally()) for folder in folders]
    for sequence, expected in zip(tokens, reference, strict=True):
        for model, tally in tallies:
            tally.add(sequence, expected, graph_logits(model, sequence))
    return [tally.verification() for _, tally in tallies]


class _Tally:
    """Sums over sequences, because the logits would take too much memory."""

    def __init__(self) -> None:
        self._expected: list[Floats] = []
        self._got: list[Floats] = []
        self._same: list[NDArray[np.bool_]] = []
        self._largest = 0.0

    def add(self, tokens: NDArray[np.int64], expected: Floats, got: Floats) -> None:
        self._expected.append(losses(expected, tokens))
        self._got.append(losses(got, tokens))
        self._same.append(got.argmax(axis=1) == expected.argmax(axis=1))
        self._largest = max(self._largest, float(np.abs(got - expected).max()))

    def verification(self) -> Verification:
        expected, got, same = np.concatenate(self._expected), np.concatenate(self._got), np.concatenate(self._same)
        return Verification(
            reference_nats=float(expected.mean()),
            lost_nats=float((got - expected).mean()),
            agreement=float(same.mean()),
            largest_difference=self._largest,
            tokens=len(same),
        )


def graph_logits(model: Model, tokens: NDArray[np.int64]) -> Floats:
    """Compute the logits `[length, vocabulary]` of one sequence in a fresh slot."""
    return model.run(model.new_slot(len(tokens)), tokens.tolist(), range(len(tokens)))


def losses(logits: Floats, tokens: NDArray[np.int64]) -> Floats:
    """Negative log probability of each next token, in nats: `[length - 1]`."""
    shifted = logits[:-1] - logits[:-1].max(axis=1, keepdims=True)
    expected = shifted[np.arange(len(tokens) - 1), tokens[1:]]
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - expected, np.float32)
