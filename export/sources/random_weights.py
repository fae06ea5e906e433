"""Random weights in the shape of a model: for measurements of speed and memory without a download."""

from __future__ import annotations

import statistics
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from export.architecture import Architecture, ExportError, tensor_shapes
from export.config import architecture_of, read_config
from export.sources.files.tokenizer_file import read_tokenizer
from export.sources.slices import on_slices
from export.sources.source import Floats, span

PREFIX = "random:"
_SEED = 20251005
_BLOCK_ROWS = 256  # rows of one generator: a slice has the same numbers as the whole tensor
_SPECIAL = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<reponame>")

SHAPES = {
    "mellum-4b": Architecture("LlamaForCausalLM", 30, 3072, 8256, 24, 24, 128, 98304, 8192, 500000.0, 1e-6, False),
    "smollm2-135m": Architecture("LlamaForCausalLM", 30, 576, 1536, 9, 3, 64, 49152, 8192, 100000.0, 1e-5, True),
}


class RandomSource:
    """Numbers that depend on the tensor's name and the row only; their variance keeps activations in bounds."""

    license = "none"
    revision: str | None = None

    def __init__(self, name: str | Architecture, *, layers: int | None = None) -> None:
        """Take a shape, a known one's name, or the path of a `config.json`; `layers`: only so many of its layers."""
        self._beside: Path | None = None
        if isinstance(name, Architecture):
            self.architecture, name = name, name.name
        elif name in SHAPES:
            self.architecture = SHAPES[name]
        elif Path(name).is_file():
            self.architecture = architecture_of(read_config(Path(name)))
            self._beside = Path(name).with_name("tokenizer.json")
        else:
            raise ExportError(f"There is no shape {name!r:.80}; give {', '.join(SHAPES)}, or the path of a config.json")
        self.description = f"random weights in the shape of {self.architecture.name if self._beside else name}"
        if layers is not None:
            self.architecture = replace(self.architecture, layers=layers)
        self._shapes = dict(tensor_shapes(self.architecture))

    def tensor(self, name: str, rows: slice = slice(None)) -> Floats:
        """Make rows of a tensor; see `Source`."""
        if name == "lm_head.weight" and self.architecture.tied_embeddings:
            name = "model.embed_tokens.weight"
        shape = self._shapes[name]
        start, stop = span(rows, shape[0])
        if "norm" in name:
            return np.ones(stop - start, np.float32)
        width = shape[1] if len(shape) == 2 else 1
        scale = np.float32(width**-0.5 if len(shape) == 2 else 0.02)
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            scale /= np.float32((2 * self.architecture.layers) ** 0.5)
        values, seed = np.empty((stop - start, width), np.float32), zlib.crc32(name.encode())
        before = start // _BLOCK_ROWS

        def make(blocks: slice) -> None:
            for block in range(before + blocks.start, before + blocks.stop):
                first = block * _BLOCK_ROWS
                low, high = max(start, first), min(stop, first + _BLOCK_ROWS)
                generator = np.random.Generator(np.random.SFC64([_SEED, seed, block]))
                numbers = generator.integers(0, 1 << 16, (high - first, width), np.uint16)[low - first :]
                np.multiply(_normal()[numbers], scale, out=values[low - start : high - start])

        on_slices(make, -(-stop // _BLOCK_ROWS) - before, 4 * _BLOCK_ROWS * width)
        return values.reshape(stop - start, *shape[1:])

    def tokenizer(self) -> Tokenizer:
        """The `tokenizer.json` beside the `config.json`, else one token for each byte and made-up words."""
        if self._beside is not None and self._beside.is_file():
            return read_tokenizer(self._beside)
        return synthetic_tokenizer(self.architecture.vocabulary)


def synthetic_tokenizer(vocabulary: int) -> Tokenizer:
    """Make a byte-level tokenizer of that many tokens, Mellum's special ones among them; a byte of text is a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocabulary < len(_SPECIAL) + len(letters):
        raise ExportError(f"A vocabulary of {vocabulary} holds no byte-level tokenizer; put a tokenizer.json beside it")
    known = [*_SPECIAL, *letters]
    words = (f"Ġw{index}" for index in range(vocabulary - len(known)))
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate([*known, *words])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    return tokenizer


@cache
def _normal() -> Floats:
    """A normal distribution's values at 65536 equal steps of probability: four times as fast as drawing them."""
    distribution = statistics.NormalDist()
    return np.array([distribution.inv_cdf((step + 0.5) / (1 << 16)) for step in range(1 << 16)], np.float32)
